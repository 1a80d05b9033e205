//! How the C library's allocator keeps what was freed.

/// At most so many arenas, whatever the number of threads and processors: each keeps the most that was ever used in it
/// at once, so that a daemon whose requests go through many threads would hold that many times over. To be called
/// before other threads are started; other C libraries than glibc have no arenas, and nothing is done there.
pub fn limit_arenas(most: u16) {
    #[cfg(target_env = "gnu")]
    {
        /// `M_ARENA_MAX` of malloc.h.
        const ARENA_MAX: libc::c_int = -8;
        // SAFETY: sets one number of the allocator's; no memory is touched.
        unsafe { libc::mallopt(ARENA_MAX, libc::c_int::from(most)) };
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = most;
}

/// Gives the kernel back the pages of freed memory that the allocator keeps. Takes some milliseconds, during which threads
/// that allocate may wait. Other C libraries than glibc are left to do as they do.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: takes no pointers, and changes only what the allocator keeps for itself (malloc_trim(3): MT-Safe).
        unsafe { libc::malloc_trim(0) };
    }
}
