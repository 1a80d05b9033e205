//! Any system call with any arguments, tried in a process of its own: what tests ask a filter and the kernel with.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};

use crate::process;

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It returned, with a value that is no error.
    Done,
    /// It returned this error.
    Error(i32),
    /// It did not return: it ended the process, went on waiting, or left it without memory or descriptors.
    Gone,
}

/// Tries a system call in a child that ends right after it, and at the latest after a fifth of a second.
///
/// Arguments that are addresses may point into the caller's memory, of which the child has a copy. What the call does to
/// files, other processes and the machine is the caller's business.
///
/// # Errors
/// Where no child can be made; the caller must have one thread.
pub fn attempt(number: i64, arguments: [i64; 6]) -> io::Result<Answer> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let Some(child) = process::fork_inside()? else { call(number, arguments, &write) };
    drop(write);
    let mut errno = [0; 4];
    let answer = match std::fs::File::from(read).read_exact(&mut errno) {
        Ok(()) => match i32::from_ne_bytes(errno) {
            0 => Answer::Done,
            errno => Answer::Error(errno),
        },
        Err(_) => Answer::Gone,
    };
    // A call may have made the child the parent of others, or of nobody.
    let _ = process::kill(child, libc::SIGKILL);
    let _ = process::wait(child);
    Ok(answer)
}

fn call(number: i64, arguments: [i64; 6], result: &OwnedFd) -> ! {
    let timer = libc::itimerval {
        it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 },
        it_value: libc::timeval { tv_sec: 0, tv_usec: 200_000 },
    };
    let [first, second, third, fourth, fifth, sixth] = arguments;
    // SAFETY: this process is a copy that nobody else has memory in common with, and it executes nothing but the lines
    // below: whatever the call does to its memory or registers ends with it. The kernel checks addresses that it is
    // given. The timer's structure outlives its call.
    let errno = unsafe {
        libc::syscall(libc::SYS_setitimer, libc::ITIMER_REAL, std::ptr::from_ref(&timer), 0);
        if libc::syscall(number as libc::c_long, first, second, third, fourth, fifth, sixth) == -1 {
            *libc::__errno_location()
        } else {
            0
        }
    };
    let bytes = errno.to_ne_bytes();
    // SAFETY: the buffer is ours and as long as told; after it the process ends without running anything of the caller's.
    unsafe {
        libc::write(result.as_raw_fd(), bytes.as_ptr().cast(), bytes.len());
        libc::_exit(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The test program has threads, and so cannot try anything; that is said instead of done.
    #[test]
    fn a_caller_with_threads_is_refused() {
        assert!(attempt(libc::SYS_getpid, [0; 6]).is_err());
    }
}
