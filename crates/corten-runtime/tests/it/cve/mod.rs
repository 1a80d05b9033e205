//! Published ways out of containers, by number. Each is shown to work where the step that stops it is left out, and to
//! fail with all of them.

pub(crate) mod apparmor;
pub(crate) mod capabilities;
pub(crate) mod descriptors;
pub(crate) mod mounts;
pub(crate) mod proc;
pub(crate) mod program;

use std::os::fd::OwnedFd;

use corten_sys::process::{self, Fork};
use rustix::fs::RenameFlags;

use crate::Test;

pub(crate) const TESTS: &[&[Test]] =
    &[apparmor::TESTS, capabilities::TESTS, descriptors::TESTS, mounts::TESTS, proc::TESTS, program::TESTS];

/// A process that exchanges two names in a container's root as fast as it can, as another container that shares a volume
/// would. It ends when this is dropped.
struct Swapper(i32);

impl Swapper {
    fn start(root: &OwnedFd, one: &str, other: &str) -> Self {
        match process::fork().expect("a process") {
            Fork::Child => loop {
                let _ = rustix::fs::renameat_with(root, one, root, other, RenameFlags::EXCHANGE);
                if rustix::process::getppid().is_none_or(rustix::process::Pid::is_init) {
                    process::exit_now(0);
                }
            },
            Fork::Parent(child) => Self(child.pid),
        }
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        let _ = process::kill(self.0, rustix::process::Signal::KILL.as_raw());
        let _ = process::wait(self.0);
    }
}
