//! A view of the file system of the child's own: `mount_namespaces(7)`.
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, CString, c_int, c_uint},
    ptr,
};

use super::{Stage, child::Step};
use crate::sys::confine::MOST_PATHS;

/// Room for what is writable in any case.
const MOST_WRITABLE: usize = MOST_PATHS + 3;

/// From the kernel's `mount.h`; libc has no `struct mount_attr`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// What is mounted over the host's view. Needs `CAP_SYS_ADMIN`, and Linux 5.12 for what is
/// read-only.
#[derive(Debug, Default)]
pub struct Mounts {
    /// Read-only with all below.
    pub read_only: Vec<CString>,
    /// What of that stays as it is, parents first; at most [`MOST_PATHS`] and three.
    pub writable: Vec<CString>,
    /// Directories over which an empty one in memory is mounted.
    pub empty: Vec<CString>,
}

impl Mounts {
    /// Makes the namespace, from which nothing goes back to the host's.
    pub(super) unsafe fn unshare() -> bool {
        let none = ptr::null();
        // SAFETY: system calls on integers and static strings.
        unsafe {
            libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(
                    none,
                    c"/".as_ptr(),
                    none,
                    libc::MS_REC | libc::MS_SLAVE,
                    ptr::null(),
                ) == 0
        }
    }

    /// Mounts everything, in the namespace that [`Mounts::unshare`] made. `asked` decides whether to
    /// go on after a refusal.
    pub(super) unsafe fn apply(
        &self,
        mut asked: impl FnMut(Step, bool) -> Result<(), Step>,
    ) -> Result<(), Step> {
        let mut kept = [-1; MOST_WRITABLE];
        // SAFETY: system calls on strings that outlive them.
        unsafe {
            // Copies from before they become read-only: they have the flags of the host.
            for (i, (path, fd)) in (0..).zip(self.writable.iter().zip(&mut kept)) {
                *fd = copy(path);
                asked(Step(Stage::Writable, i), *fd >= 0)?;
            }
            for (i, path) in (0..).zip(&self.read_only) {
                asked(Step(Stage::ReadOnly, i), make_read_only(path))?;
            }
            for (i, (path, fd)) in (0..).zip(self.writable.iter().zip(&kept)) {
                if *fd >= 0 {
                    asked(Step(Stage::Writable, i), put(*fd, path))?;
                }
            }
            for (i, path) in (0..).zip(&self.empty) {
                asked(Step(Stage::PrivateTmp, i), mount_empty(path))?;
            }
        }
        Ok(())
    }
}

/// `open_tree(2)`: a copy of the mounts at and below `path`, attached nowhere.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // kernel ABI
unsafe fn copy(path: &CStr) -> c_int {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE as c_uint;
    // SAFETY: the string outlives the call.
    unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) as c_int }
}

/// `move_mount(2)` onto `path`.
unsafe fn put(copy: c_int, path: &CStr) -> bool {
    let (cwd, empty, flags) = (libc::AT_FDCWD, c"".as_ptr(), libc::MOVE_MOUNT_F_EMPTY_PATH);
    // SAFETY: the strings outlive the call.
    unsafe { libc::syscall(libc::SYS_move_mount, copy, empty, cwd, path.as_ptr(), flags) == 0 }
}

/// Makes a mount of `path`, which only a mount can be made read-only; `/` is one.
unsafe fn make_read_only(path: &CStr) -> bool {
    let attr = MountAttr { set: libc::MOUNT_ATTR_RDONLY, clear: 0, propagation: 0, userns: 0 };
    let (bind, none) = (libc::MS_BIND | libc::MS_REC, ptr::null());
    // SAFETY: the string and the struct outlive the calls.
    unsafe {
        (path == c"/" || libc::mount(path.as_ptr(), path.as_ptr(), none, bind, ptr::null()) == 0)
            && libc::syscall(
                libc::SYS_mount_setattr,
                libc::AT_FDCWD,
                path.as_ptr(),
                libc::AT_RECURSIVE,
                &raw const attr,
                size_of::<MountAttr>(),
            ) == 0
    }
}

/// A new tmpfs(5) that everybody may write to, as `/tmp` is.
unsafe fn mount_empty(path: &CStr) -> bool {
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    let (name, options) = (c"tmpfs".as_ptr(), c"mode=1777".as_ptr().cast());
    // SAFETY: the strings outlive the call.
    unsafe { libc::mount(name, path.as_ptr(), name, flags, options) == 0 }
}
