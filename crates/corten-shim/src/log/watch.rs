//! Tells followers that a log has grown or was rotated.
//!
//! One inotify instance serves all of them: a user has 128 on most machines, and a log may have more followers.

use corten_std::PathError;
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch};
use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// All watched logs of one daemon.
#[derive(Debug, Default)]
pub struct LogWatches {
    /// Made with the first follower: most daemons of short life have none.
    shared: Mutex<Option<Arc<Shared>>>,
}

#[derive(Debug)]
struct Shared {
    inotify: AsyncFd<OwnedFd>,
    /// By watch descriptor. Held while one is added, so that no event comes between the kernel's list and this one.
    folders: Mutex<HashMap<i32, Folder>>,
}

#[derive(Debug)]
struct Folder {
    changes: watch::Sender<()>,
    followers: usize,
}

/// Watches the folder of a log (not the file: it is renamed at each rotation).
#[derive(Debug)]
pub struct LogWatch {
    shared: Arc<Shared>,
    descriptor: i32,
    changes: watch::Receiver<()>,
}

impl LogWatches {
    /// Begins to watch. Do it before reading to the present end, or a change between both is missed. Must be called
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// Where the folder is missing, or the user's number of inotify instances or watches is used up.
    pub fn watch(&self, log: &Path) -> Result<LogWatch, PathError> {
        let folder = log.parent().unwrap_or_else(|| Path::new("."));
        let failed = |source: io::Error| PathError::new("watch", folder, source);
        let shared = self.shared().map_err(failed)?;
        let what = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        let mut folders = shared.folders();
        let descriptor = add_watch(shared.inotify.get_ref().as_fd(), folder, what)
            .map_err(|error| failed(error.into()))?;
        let entry = folders
            .entry(descriptor)
            .or_insert_with(|| Folder { changes: watch::Sender::new(()), followers: 0 });
        entry.followers += 1;
        let changes = entry.changes.subscribe();
        drop(folders);
        Ok(LogWatch { shared, descriptor, changes })
    }

    fn shared(&self) -> io::Result<Arc<Shared>> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = &*shared {
            return Ok(Arc::clone(shared));
        }
        let inotify = crate::client::watched(init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?)?;
        let made = Arc::new(Shared { inotify, folders: Mutex::default() });
        tokio::spawn(tell(Arc::clone(&made)));
        *shared = Some(Arc::clone(&made));
        Ok(made)
    }
}

impl Shared {
    fn folders(&self) -> MutexGuard<'_, HashMap<i32, Folder>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads all that is waiting and tells the followers.
    fn read(&self) -> Result<(), rustix::io::Errno> {
        let mut space = [MaybeUninit::<u8>::uninit(); 4096];
        let mut events = Reader::new(self.inotify.get_ref().as_fd(), &mut space);
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            let folders = self.folders();
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                for folder in folders.values() {
                    folder.changes.send_replace(());
                }
            } else if let Some(folder) = folders.get(&event.wd()) {
                folder.changes.send_replace(());
            }
        }
    }
}

/// Reads the kernel's events for as long as the runtime lives.
async fn tell(shared: Arc<Shared>) {
    while let Ok(mut guard) = shared.inotify.readable().await {
        match shared.read() {
            Err(rustix::io::Errno::AGAIN) => guard.clear_ready(),
            // Nothing else is left to be told: followers read once more and see it, and end with their container.
            Err(_) => return,
            Ok(()) => {}
        }
    }
}

impl LogWatch {
    /// Waits until something changed since the last call.
    ///
    /// # Errors
    /// Where the watch is gone.
    pub async fn changed(&mut self) -> io::Result<()> {
        self.changes.changed().await.map_err(io::Error::other)
    }
}

impl Drop for LogWatch {
    fn drop(&mut self) {
        let mut folders = self.shared.folders();
        let Some(folder) = folders.get_mut(&self.descriptor) else { return };
        folder.followers -= 1;
        if folder.followers == 0 {
            folders.remove(&self.descriptor);
            // A folder that is gone has taken its watch along.
            let _ = remove_watch(self.shared.inotify.get_ref().as_fd(), self.descriptor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn more_followers_than_a_user_has_instances() {
        let scratch = corten_testing::Scratch::new("watches");
        let watches = LogWatches::default();
        let one = scratch.path().join("one");
        let other = scratch.path().join("other");
        std::fs::create_dir(&one).unwrap();
        std::fs::create_dir(&other).unwrap();
        let mut followers: Vec<LogWatch> =
            (0..300).map(|_| watches.watch(&one.join("log")).unwrap()).collect();
        let mut apart = watches.watch(&other.join("log")).unwrap();
        std::fs::write(one.join("log"), "x").unwrap();
        for follower in &mut followers {
            tokio::time::timeout(Duration::from_secs(10), follower.changed()).await.unwrap().unwrap();
        }
        assert!(tokio::time::timeout(Duration::from_millis(50), apart.changed()).await.is_err());
        drop(followers);
        let shared = watches.shared().unwrap();
        assert_eq!(shared.folders().len(), 1);
        let mut again = watches.watch(&one.join("log")).unwrap();
        std::fs::write(one.join("log"), "y").unwrap();
        tokio::time::timeout(Duration::from_secs(10), again.changed()).await.unwrap().unwrap();
    }
}
