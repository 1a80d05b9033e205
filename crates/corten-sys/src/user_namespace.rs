//! User namespaces that are held by a descriptor alone, network namespaces that belong to one, and files made in the
//! name of somebody else.

use crate::capability;
use crate::process::{self, CloneOptions, Fork, Namespaces};
use crate::socket;
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Makes a user namespace with these maps, each as the kernel reads it (`INSIDE OUTSIDE COUNT` lines).
///
/// # Errors
/// `ResourceBusy` where the caller has more than one thread; else what the kernel says, to a map too.
pub fn make(uid_map: &str, gid_map: &str) -> io::Result<OwnedFd> {
    let options = CloneOptions { namespaces: Namespaces::USER, cgroup: None, sibling: false };
    of_child(
        &options,
        || Ok(()),
        |pid| {
            write_maps(pid, uid_map, gid_map)?;
            open_of(pid, "user")
        },
    )
}

/// Makes a network namespace that belongs to a user namespace.
///
/// # Errors
/// As [`make`].
pub fn make_network(users: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let inside = || {
        process::enter_namespace(users, Namespaces::USER)?;
        process::unshare(Namespaces::NETWORK)
    };
    of_child(&CloneOptions::default(), inside, |pid| open_of(pid, "net"))
}

/// The maps of a user namespace, of users and of groups, as the caller's own namespace sees them.
///
/// # Errors
/// As [`make`]; and where the namespace cannot be entered, as the caller's own.
pub fn maps(users: BorrowedFd<'_>) -> io::Result<(String, String)> {
    let inside = || process::enter_namespace(users, Namespaces::USER);
    let read = |pid: i32, file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
    of_child(&CloneOptions::default(), inside, |pid| Ok((read(pid, "uid_map")?, read(pid, "gid_map")?)))
}

fn open_of(pid: i32, kind: &str) -> io::Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/{kind}");
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Gives a process's new user namespace its maps, which can be done once.
///
/// # Errors
/// What the kernel says to a map.
pub fn write_maps(pid: i32, uid_map: &str, gid_map: &str) -> io::Result<()> {
    for (file, map) in [("uid_map", uid_map), ("gid_map", gid_map)] {
        let file =
            rustix::fs::open(format!("/proc/{pid}/{file}"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        // The kernel takes a map in one write.
        rustix::io::write(&file, map.as_bytes())?;
    }
    Ok(())
}

/// What is seen from outside of a child that does something first and then waits until it is no longer needed.
fn of_child<T>(
    options: &CloneOptions<'_>,
    inside: impl FnOnce() -> io::Result<()>,
    outside: impl FnOnce(i32) -> io::Result<T>,
) -> io::Result<T> {
    let (ours, theirs) = socket::seqpacket_pair()?;
    match process::clone_process(options)? {
        Fork::Child => {
            drop(ours);
            let error = inside().err().and_then(|error| error.raw_os_error()).unwrap_or(0);
            let _ = rustix::io::write(&theirs, &error.to_ne_bytes());
            // Until the caller has what it wants, or is gone.
            let _ = rustix::io::read(&theirs, &mut [0; 1]);
            process::exit_now(0)
        }
        Fork::Parent(child) => {
            drop(theirs);
            let get = || {
                let mut answer = [0; 4];
                if rustix::io::read(&ours, &mut answer)? != answer.len() {
                    return Err(io::Error::other("the process that makes the user namespace ended early"));
                }
                match i32::from_ne_bytes(answer) {
                    0 => outside(child.pid),
                    error => Err(io::Error::from_raw_os_error(error)),
                }
            };
            let seen = get();
            drop(ours);
            let _ = process::wait(child.pid);
            seen
        }
    }
}

/// The user namespace that another namespace belongs to.
///
/// # Errors
/// `EPERM` where it is none of the caller's, or below.
pub fn owner_of(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const NS_GET_USERNS: libc::c_ulong = 0xb701;
    // SAFETY: the request takes no argument and gives a new descriptor.
    let descriptor = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS as _) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Whether two descriptors are of one namespace.
pub fn is_same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<bool> {
    let (one, other) = (rustix::fs::fstat(one)?, rustix::fs::fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// Does something on the calling thread that makes files as `uid` and `gid` do, with every capability that the thread
/// has. For mounts whose ids are mapped: through one nobody can make files whose own number has no place on the disk.
///
/// # Errors
/// Where the kernel does not let the thread be somebody else, or be itself again.
pub fn with_file_owner<T>(uid: u32, gid: u32, work: impl FnOnce() -> T) -> io::Result<T> {
    let before = Identity::become_owner(uid, gid)?;
    let result = work();
    drop(before);
    Ok(result)
}

/// Whose files a thread made before; it is so again when this is dropped.
struct Identity {
    uid: u32,
    gid: u32,
    effective: capability::Capabilities,
}

impl Identity {
    fn become_owner(uid: u32, gid: u32) -> io::Result<Self> {
        let effective = capability::effective()?;
        // The raw system calls, as each concerns the calling thread alone. They give the former number, and no error.
        // SAFETY: plain numbers.
        let (old_gid, old_uid) =
            unsafe { (libc::syscall(libc::SYS_setfsgid, gid), libc::syscall(libc::SYS_setfsuid, uid)) };
        let before = Self { uid: old_uid as u32, gid: old_gid as u32, effective };
        // SAFETY: a number that nobody has changes nothing.
        let now = unsafe { libc::syscall(libc::SYS_setfsuid, u32::MAX) } as u32;
        if now != uid {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        // Who is no longer root in this respect has lost what root may do with files.
        before.raise()?;
        Ok(before)
    }

    fn raise(&self) -> io::Result<()> {
        let now = rustix::thread::capabilities(None)?;
        let bits = |set: rustix::thread::CapabilitySet| capability::Capabilities::from_bits(set.bits());
        capability::set(self.effective, bits(now.permitted), bits(now.inheritable))
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        // SAFETY: plain numbers.
        unsafe {
            libc::syscall(libc::SYS_setfsuid, self.uid);
            libc::syscall(libc::SYS_setfsgid, self.gid);
        }
        let _ = self.raise();
        // A change of that kind makes a process unreadable to others of its user, for which there is no reason here.
        let _ = process::set_dumpable(true);
    }
}
