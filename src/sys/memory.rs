//! The daemon's own memory: how glibc keeps its heap (mallopt(3), `malloc_trim(3)`), and how much of
//! its code is mapped (madvise(2)). Where there is no glibc the heap is left alone.
#![allow(unsafe_code)]

use std::{
    ffi::{c_int, c_void},
    ptr, slice,
};

/// One heap for all threads. Each would get one of its own, of which little is ever used; the threads
/// beside the daemon's only busy one do not contend for it. Call it before there is another thread.
pub fn share_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a parameter, while no other thread allocates.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives the system back what is not used: coming up takes more than staying up, of the heap and of
/// the program itself. What of the program is used again is found in the page cache.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes the heap's own lock and moves nothing that is used.
    unsafe {
        libc::malloc_trim(0);
    }
    // SAFETY: `unmap_program` keeps to what dl_iterate_phdr(3) asks of a callback.
    unsafe {
        libc::dl_iterate_phdr(Some(unmap_program), ptr::null_mut());
    }
}

/// Unmaps what the program maps of its file and cannot write to. Ends the iteration: the program
/// comes first, and libraries are shared with others.
unsafe extern "C" fn unmap_program(
    program: *mut libc::dl_phdr_info,
    _size: usize,
    _data: *mut c_void,
) -> c_int {
    let page = rustix::param::page_size();
    // SAFETY: it is valid for this call, and so is the array that it names.
    let (base, segments) = unsafe {
        let program = &*program;
        (program.dlpi_addr, slice::from_raw_parts(program.dlpi_phdr, program.dlpi_phnum.into()))
    };
    for segment in segments {
        if segment.p_type != libc::PT_LOAD || segment.p_flags & libc::PF_W != 0 {
            continue;
        }
        let begin = usize::try_from(base + segment.p_vaddr).unwrap_or_default();
        let end = begin + usize::try_from(segment.p_memsz).unwrap_or_default();
        let begin = begin / page * page;
        // SAFETY: nothing in there was ever written, so that whoever uses it next, on any thread,
        // finds the same bytes in the file (MADV_DONTNEED of madvise(2)).
        unsafe {
            libc::madvise(
                ptr::with_exposed_provenance_mut(begin),
                end - begin,
                libc::MADV_DONTNEED,
            );
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_there_when_it_is_used_again() {
        let heap = vec![7_u8; 1 << 20];
        for _ in 0..3 {
            give_back();
            assert!(heap.iter().all(|byte| *byte == 7));
        }
    }
}
