//! The virtual environment with uvicorn in it.

use std::{env, path::PathBuf};

/// Where `tests/run` made it.
pub fn venv() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| root().join("target"));
    let venv = env::var_os("TEST_VENV").map_or_else(|| target.join("test-venv"), PathBuf::from);
    assert!(
        venv.join("bin/uvicorn").exists(),
        "there is no uvicorn in {}: run tests/run once, it makes this environment",
        venv.display()
    );
    venv
}

/// The checkout.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
