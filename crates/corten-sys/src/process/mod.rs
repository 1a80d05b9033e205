//! Processes: clone, exec, wait, namespaces and the per-process switches of `prctl`.
//!
//! [`clone_process`] has the semantics of `fork`: the child gets a copy of the memory and returns from the
//! same call. That is sound only where the caller has a single thread (a lock held by another thread would
//! stay locked for ever in the child), so the call refuses to work in a process with several.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::process::{Pid, WaitOptions, WaitStatus};

mod attributes;
mod scheduling;
mod signals;

use attributes::check;
pub use attributes::*;
pub use scheduling::*;
pub use signals::*;

/// Kinds of namespaces as a set of the kernel's `CLONE_NEW*` bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces(u32);

impl Namespaces {
    /// No namespace.
    pub const NONE: Self = Self(0);
    /// Mounts.
    pub const MOUNT: Self = Self(libc::CLONE_NEWNS as u32);
    /// Process ids.
    pub const PID: Self = Self(libc::CLONE_NEWPID as u32);
    /// Network.
    pub const NETWORK: Self = Self(libc::CLONE_NEWNET as u32);
    /// Host and domain name.
    pub const UTS: Self = Self(libc::CLONE_NEWUTS as u32);
    /// System V objects and POSIX message queues.
    pub const IPC: Self = Self(libc::CLONE_NEWIPC as u32);
    /// The root of the cgroup tree.
    pub const CGROUP: Self = Self(libc::CLONE_NEWCGROUP as u32);
    /// Users and capabilities.
    pub const USER: Self = Self(libc::CLONE_NEWUSER as u32);
    /// Clocks.
    pub const TIME: Self = Self(0x80);

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set but for what is in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` is in here.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kernel's bits.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

/// How [`clone_process`] makes the child.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneOptions<'fd> {
    /// Namespaces that are made new for the child.
    pub namespaces: Namespaces,
    /// A folder of the cgroup v2 tree into which the child is born.
    pub cgroup: Option<BorrowedFd<'fd>>,
    /// The child becomes a sibling: its parent is the caller's parent.
    pub sibling: bool,
}

/// Which side of a clone we are on.
#[derive(Debug)]
pub enum Fork {
    /// The caller, with a handle to the new process.
    Parent(Child),
    /// The new process.
    Child,
}

/// A process just made.
#[derive(Debug)]
pub struct Child {
    /// Its id in the caller's pid namespace.
    pub pid: i32,
    /// A handle that never names another process, close-on-exec.
    pub pidfd: OwnedFd,
}

/// `struct clone_args` of the kernel, version 2 (88 bytes).
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_PIDFD: u64 = 0x1000;
const CLONE_PARENT: u64 = 0x8000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Makes a process as `fork` does, with namespaces and cgroup in the same step (`clone3`).
///
/// # Errors
/// `ResourceBusy` where the caller has more than one thread; else what the kernel says.
pub fn clone_process(options: &CloneOptions<'_>) -> io::Result<Fork> {
    if thread_count()? != 1 {
        return Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "a process with several threads cannot be cloned",
        ));
    }
    let mut pidfd: RawFd = -1;
    let mut arguments = CloneArguments {
        flags: u64::from(options.namespaces.bits()) | CLONE_PIDFD,
        pidfd: ptr::from_mut(&mut pidfd) as u64,
        // The kernel refuses an exit signal beside CLONE_PARENT: the sibling inherits ours.
        exit_signal: if options.sibling { 0 } else { libc::SIGCHLD as u64 },
        ..CloneArguments::default()
    };
    if options.sibling {
        arguments.flags |= CLONE_PARENT;
    }
    if let Some(cgroup) = options.cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: the structure is the kernel's, its size is given, `pidfd` outlives the call. There is neither
    // CLONE_VM nor a stack of its own, so the child runs on a copy of this stack; there is one thread, so no
    // lock of the C library or of ours can be held by somebody who does not exist in the child.
    let result = unsafe {
        libc::syscall(libc::SYS_clone3, ptr::from_mut(&mut arguments), size_of::<CloneArguments>())
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => {
            // SAFETY: CLONE_PIDFD stored a new descriptor that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Fork::Parent(Child { pid: pid as i32, pidfd }))
        }
    }
}

/// `fork` with a handle: [`clone_process`] without namespaces.
///
/// # Errors
/// As [`clone_process`].
pub fn fork() -> io::Result<Fork> {
    clone_process(&CloneOptions::default())
}

/// A process whose parent is the caller's parent. For a process that [`clone_process`] made, also where there is no
/// `/proc` of its own any more. The new process's id, or `None` in the new process.
///
/// # Errors
/// `ResourceBusy` where the caller has more than one thread; else what the kernel says.
pub fn fork_sibling() -> io::Result<Option<i32>> {
    // Made by a clone it has one thread, and what it does starts none.
    if thread_count().is_ok_and(|count| count != 1) {
        return Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "a process with several threads cannot be cloned",
        ));
    }
    let mut arguments = CloneArguments { flags: CLONE_PARENT, ..CloneArguments::default() };
    // SAFETY: as in `clone_process`: the structure is the kernel's, there is neither CLONE_VM nor a stack of its own, and
    // there is one thread, so no lock can be held by somebody who does not exist in the child.
    let result = unsafe {
        libc::syscall(libc::SYS_clone3, ptr::from_mut(&mut arguments), size_of::<CloneArguments>())
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid as i32)),
    }
}

/// The C library's `fork`, for places where `clone3` is refused by a filter: inside a container. The new
/// process's id, or
/// `None` in the new process.
///
/// # Errors
/// `ResourceBusy` where the caller has more than one thread; else what the kernel says.
pub fn fork_inside() -> io::Result<Option<i32>> {
    // A container may have no `/proc`; the program's role there starts no threads.
    if thread_count().is_ok_and(|count| count != 1) {
        return Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "a process with several threads cannot be forked",
        ));
    }
    // SAFETY: there is one thread, so no lock can be held by somebody who does not exist in the child. Where
    // that could not be asked, the C library's own locks are still made usable by its `fork`.
    unsafe { fork_with_threads() }
}

/// The C library's `fork` for a process with threads: the child has the calling thread only.
///
/// # Safety
/// The C library makes its own locks (allocation, streams) usable in the child. The caller answers for all
/// others: the child must touch no lock that another thread of the parent may hold at this moment.
pub unsafe fn fork_with_threads() -> io::Result<Option<i32>> {
    // SAFETY: `fork` itself has no precondition; what the child may do is the caller's promise.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid)),
    }
}

/// How many threads this process has.
pub fn thread_count() -> io::Result<u64> {
    // The link count of the folder is two and one more per thread; cheaper than reading a file.
    let stat = rustix::fs::stat("/proc/self/task")?;
    #[allow(clippy::useless_conversion, reason = "the field is 32 bits wide on some machines")]
    Ok(u64::from(stat.st_nlink).saturating_sub(2))
}

/// Ends this process at once: no destructors, no buffers flushed, no handlers. For children of a clone.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no precondition and does not return.
    unsafe { libc::_exit(code) }
}

/// A null-terminated vector of strings for `execve`.
#[derive(Debug)]
pub struct StringVector {
    /// Owns what `pointers` point into.
    _strings: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl StringVector {
    /// Takes the strings over.
    pub fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        Self { _strings: strings, pointers }
    }
}

/// Replaces the program of this process; returns only where that failed.
pub fn execute(path: &CStr, arguments: &StringVector, environment: &StringVector) -> io::Error {
    // SAFETY: the path and both vectors are null-terminated and live until the call is over.
    unsafe { libc::execve(path.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr()) };
    io::Error::last_os_error()
}

/// As [`execute`], after every descriptor from `first` (3 or above) up but one was really closed, and not only marked so: while an
/// exec looks for its program, marked ones are still there, and `/proc/self/fd/7/../../bin/sh` as the command
/// (or behind the `#!` of a script) would lead out of the container's root by any folder among them
/// (CVE-2024-21626). `keep` closes with the exec.
///
/// Where the exec fails, `failed` is called, then the process ends with the code 255.
pub fn execute_alone(
    first: RawFd,
    keep: BorrowedFd<'_>,
    path: &CStr,
    arguments: &StringVector,
    environment: &StringVector,
    failed: fn(&CStr, &io::Error),
) -> ! {
    /// More than any of our processes has open.
    const LIMIT: RawFd = 1 << 16;
    let keep = keep.as_raw_fd();
    let first = first.max(3);
    // SAFETY: nobody uses or drops an owner of a closed number: this function does not return, what it was
    // given owns no descriptor, and `failed` captures nothing.
    unsafe {
        if crate::descriptor::close_from_but(first, &[keep]).is_err() {
            // A filter may refuse that call; closing one by one it lets through, or no program would run.
            for number in (first..LIMIT).filter(|number| *number != keep) {
                libc::close(number);
            }
        }
    }
    let error = execute(path, arguments, environment);
    failed(path, &error);
    exit_now(255)
}

/// As [`execute`], with the program given by an open descriptor (`execveat`). A script cannot be run this way
/// when the descriptor is close-on-exec.
pub fn execute_descriptor(
    program: BorrowedFd<'_>,
    arguments: &StringVector,
    environment: &StringVector,
) -> io::Error {
    // SAFETY: as in `execute`; the empty path with AT_EMPTY_PATH names the descriptor itself.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            arguments.pointers.as_ptr(),
            environment.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// A handle to a process of this pid namespace, close-on-exec.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?)
}

/// Sends a signal by number (0 only asks whether the process is there, and whether we may).
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: plain numbers and a null pointer, which the call allows for the optional information.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends a signal by number to a process or, with a negative id, to a process group (`kill`).
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: plain numbers.
    if unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It returned this code, 0 to 255.
    Code(i32),
    /// It was killed by this signal.
    Signal(i32),
}

impl Exit {
    /// The code as shells and Docker tell it: 128 + the signal where it was killed.
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }

    fn from_status(status: WaitStatus) -> Option<Self> {
        status.exit_status().map(Self::Code).or_else(|| status.terminating_signal().map(Self::Signal))
    }
}

/// Waits for one child to end.
pub fn wait(pid: i32) -> io::Result<Exit> {
    let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    loop {
        match rustix::process::waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => {
                if let Some(exit) = Exit::from_status(status) {
                    return Ok(exit);
                }
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reaps one child without waiting; `None` where it has not ended.
pub fn reap(pid: i32) -> io::Result<Option<Exit>> {
    let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let reaped = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG)?;
    Ok(reaped.and_then(|(_, status)| Exit::from_status(status)))
}

/// Reaps one ended child, whichever, without waiting: its id and how it ended. `None` where no child has
/// ended or there are none.
pub fn reap_any() -> io::Result<Option<(i32, Exit)>> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(None),
            Ok(Some((pid, status))) => {
                if let Some(exit) = Exit::from_status(status) {
                    return Ok(Some((pid.as_raw_nonzero().get(), exit)));
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits for any child to end. `None` where there is none.
pub fn wait_any() -> io::Result<Option<(i32, Exit)>> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) => {
                if let Some(exit) = Exit::from_status(status) {
                    return Ok(Some((pid.as_raw_nonzero().get(), exit)));
                }
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CHILD) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// `struct pidfd_info` of the kernel, first version (64 bytes).
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup_id: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ruid: u32,
    rgid: u32,
    euid: u32,
    egid: u32,
    suid: u32,
    sgid: u32,
    fsuid: u32,
    fsgid: u32,
    exit_code: i32,
}

/// How the process behind a handle ended, although we are not its parent and it may be reaped already. `None`
/// where it still runs, or is not reaped yet.
///
/// # Errors
/// `Unsupported` below Linux 6.15.
pub fn pidfd_exit(pidfd: BorrowedFd<'_>) -> io::Result<Option<Exit>> {
    // _IOWR(0xFF, 11, 64 bytes)
    const PIDFD_GET_INFO: libc::c_ulong = 0xC040_FF0B;
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the structure has the size that the request number carries and outlives the call.
    let result =
        unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO as libc::Ioctl, ptr::from_mut(&mut info)) };
    if result != 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ENOTTY | libc::EINVAL) => Err(io::ErrorKind::Unsupported.into()),
            _ => Err(error),
        };
    }
    if info.mask & PIDFD_INFO_EXIT == 0 {
        return Ok(None);
    }
    let signal = info.exit_code & 0x7f;
    Ok(Some(if signal == 0 { Exit::Code((info.exit_code >> 8) & 0xff) } else { Exit::Signal(signal) }))
}

/// When a process was started, in clock ticks since boot (field 22 of `/proc/PID/stat`). With the pid it
/// names a process for ever.
pub fn start_time(pid: i32) -> io::Result<u64> {
    let text = std::fs::read(format!("/proc/{pid}/stat"))?;
    // The name may hold spaces and brackets; the fields after it start behind the last bracket.
    let after = text.iter().rposition(|byte| *byte == b')').map_or(&text[..], |at| &text[at + 1..]);
    std::str::from_utf8(after)
        .ok()
        .and_then(|fields| fields.split_ascii_whitespace().nth(19)?.parse().ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_not_cloned() {
        let other = std::thread::spawn(|| std::thread::sleep(std::time::Duration::from_millis(200)));
        assert_eq!(fork().unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        other.join().unwrap();
    }

    #[test]
    fn the_start_time_of_this_process_is_known() {
        assert!(start_time(std::process::id() as i32).unwrap() > 0);
    }

    #[test]
    fn exits_are_told_as_shells_do() {
        assert_eq!(Exit::Signal(9).shell_code(), 137);
        assert_eq!(Exit::Code(3).shell_code(), 3);
    }
}
