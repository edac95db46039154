//! `aibkctl`: sees and steers what aibkd keeps running.

use std::process::ExitCode;

fn main() -> ExitCode {
    aibk::cli::main(std::env::args_os())
}
