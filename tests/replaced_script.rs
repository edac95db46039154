//! What the script that aibk replaces gets wrong, each as a test of what aibk does there.

mod code;
mod data;
