//! Tells a follower that the log has grown or was rotated.

use corten_std::PathError;
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use tokio::io::unix::AsyncFd;

/// Watches the folder of a log (not the file: it is renamed at each rotation).
#[derive(Debug)]
pub struct LogWatch {
    inotify: AsyncFd<OwnedFd>,
}

impl LogWatch {
    /// Begins to watch. Do it before reading to the present end, or a change between both is missed. Must be called
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// Where the folder is missing, or the user's number of inotify instances is used up.
    pub fn new(log: &Path) -> Result<Self, PathError> {
        let folder = log.parent().unwrap_or_else(|| Path::new("."));
        let failed = |source: io::Error| PathError::new("watch", folder, source);
        let inotify =
            init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(|error| failed(error.into()))?;
        let what = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        add_watch(&inotify, folder, what | WatchFlags::ONLYDIR).map_err(|error| failed(error.into()))?;
        Ok(Self { inotify: crate::client::watched(inotify).map_err(failed)? })
    }

    /// Waits until something changed since the last call.
    ///
    /// # Errors
    /// Those of reading from inotify.
    pub async fn changed(&self) -> io::Result<()> {
        let mut space = [MaybeUninit::<u8>::uninit(); 4096];
        let mut any = false;
        loop {
            // All that is waiting is one change.
            while let Ok((read, _)) = rustix::io::read(self.inotify.get_ref().as_fd(), &mut space[..]) {
                any |= !read.is_empty();
            }
            if any {
                return Ok(());
            }
            let mut guard = self.inotify.readable().await?;
            match rustix::io::read(self.inotify.get_ref().as_fd(), &mut space[..]) {
                Ok((read, _)) => any |= !read.is_empty(),
                Err(rustix::io::Errno::AGAIN) => guard.clear_ready(),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
