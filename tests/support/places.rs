//! Where things are: the checkout, what is built, and the environment with uvicorn in it.

use std::{env, path::PathBuf};

/// The checkout.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The virtual environment that `tests/run` made.
pub fn venv() -> PathBuf {
    let named = env::var_os("TEST_VENV").map(PathBuf::from);
    let venv = named.unwrap_or_else(|| target().join("test-venv"));
    assert!(
        venv.join("bin/uvicorn").exists(),
        "there is no uvicorn in {}: run tests/run once, it makes this environment",
        venv.display()
    );
    venv
}
