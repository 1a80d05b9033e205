//! What a process is: its namespaces, who it is, its limits and names.

use super::Namespaces;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Enters one namespace, given by a descriptor of its `/proc/PID/ns/…` file. `kind` is checked by the kernel.
pub fn enter_namespace(namespace: BorrowedFd<'_>, kind: Namespaces) -> io::Result<()> {
    // SAFETY: plain numbers.
    let result = unsafe { libc::setns(namespace.as_raw_fd(), kind.bits() as i32) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Enters several namespaces of a process at once, given by its handle (Linux 5.8). The new pid namespace is
/// that of children made afterwards.
pub fn enter_process_namespaces(pidfd: BorrowedFd<'_>, kinds: Namespaces) -> io::Result<()> {
    enter_namespace(pidfd, kinds)
}

/// Leaves shared namespaces for new ones of the calling thread (`unshare`).
pub fn unshare(kinds: Namespaces) -> io::Result<()> {
    // SAFETY: only CLONE_NEW* bits can be in `kinds`; none of them shares or unshares memory or descriptors.
    let result = unsafe { libc::unshare(kinds.bits() as i32) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets who the process is: groups first, then group, then user. Without capability to do so it fails.
pub fn set_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // The raw system calls act on the calling thread; the C library's functions would act on all, and their
    // bookkeeping of threads is not valid in the child of a clone.
    // SAFETY: the pointer and the count describe `groups`; the rest are plain numbers.
    unsafe {
        match check(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr())) {
            // In a user namespace that its maker gave no right to: what groups there are stay.
            Err(error) if groups.is_empty() && error.kind() == io::ErrorKind::PermissionDenied => {}
            done => done?,
        }
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))
    }
}

pub(super) fn check(result: libc::c_long) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn prctl(option: i32, second: u64, third: u64) -> io::Result<()> {
    // SAFETY: only options whose arguments are plain numbers are passed here.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, second, third, 0, 0) })
}

/// From here on no exec gives more rights (`PR_SET_NO_NEW_PRIVS`).
pub fn set_no_new_privileges() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)
}

/// The kernel sends this signal when the parent thread ends; 0 switches it off. It is also switched off by a
/// change of user.
pub fn set_parent_death_signal(signal: i32) -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, signal as u64, 0)
}

/// Whether others of the same user may look into this process, and its `/proc` files belong to that user.
pub fn set_dumpable(dumpable: bool) -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, u64::from(dumpable), 0)
}

/// Whether capabilities stay permitted over the coming change of user.
pub fn set_keep_capabilities(keep: bool) -> io::Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, u64::from(keep), 0)
}

/// Orphans below this process become its children.
pub fn set_child_subreaper(reaper: bool) -> io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, u64::from(reaper), 0)
}

/// The name that `ps` shows for the calling thread, at most 15 bytes.
pub fn set_name(name: &CStr) -> io::Result<()> {
    // SAFETY: the string is null-terminated; the kernel reads at most 16 bytes of it.
    check(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) })
}

/// Gives the process an empty session keyring of its own, so that it sees none of the host's keys.
pub fn join_new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, ptr::null::<u8>(), 0, 0, 0) })
}

/// Sets a resource limit of the calling process by its kernel number (`RLIMIT_*`).
pub fn set_resource_limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    set_resource_limit_of(0, resource, soft, hard)
}

/// As [`set_resource_limit`] for another process; 0 is the calling one.
pub fn set_resource_limit_of(pid: i32, resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the structure outlives the call; the old value is not asked for.
    check(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid,
            resource,
            ptr::from_ref(&limit),
            ptr::null_mut::<libc::rlimit64>(),
        )
    })
}

/// Sets the host name of this UTS namespace.
pub fn set_host_name(name: &[u8]) -> io::Result<()> {
    // SAFETY: pointer and length describe `name`.
    check(libc::c_long::from(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }))
}

/// Sets the domain name of this UTS namespace.
pub fn set_domain_name(name: &[u8]) -> io::Result<()> {
    // SAFETY: pointer and length describe `name`.
    check(libc::c_long::from(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }))
}
