//! New folders below `tmp/`, and removal of what is not needed any more: out of its place by a rename, then
//! file by file in a thread of its own, so that nobody waits for a large tree.

use crate::Result;
use crate::database::lock;
use crate::nursery::Nursery;
use corten_std::{PathError, file};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// Names temporary files and removes trees; ends its thread, with all work done, when dropped.
#[derive(Debug)]
pub(crate) struct Reaper {
    /// Differs from those of earlier openings, whose leftovers may be there still.
    generation: u64,
    counter: AtomicU64,
    nursery: Nursery,
    worker: Mutex<Option<(Sender<PathBuf>, JoinHandle<()>)>>,
}

impl Reaper {
    /// One that keeps what it makes and removes below `temporary`, which is there, or `birthplaces`.
    pub(crate) fn new(temporary: PathBuf, birthplaces: PathBuf) -> Self {
        let generation = corten_std::Timestamp::now().unix_nanos() as u64;
        Self {
            generation,
            counter: AtomicU64::new(0),
            nursery: Nursery::open(temporary, birthplaces),
            worker: Mutex::new(None),
        }
    }

    /// Where everything lies that is being made or removed: `tmp/`.
    pub(crate) fn temporary(&self) -> &Path {
        self.nursery.temporary()
    }

    /// Removes what an earlier opening left.
    pub(crate) fn sweep(&self) -> Result<()> {
        for path in self.nursery.leftovers()? {
            self.remove(path)?;
        }
        Ok(())
    }

    /// A name below `tmp/` that nobody has used.
    pub(crate) fn new_name(&self) -> PathBuf {
        self.temporary().join(self.next_name())
    }

    fn next_name(&self) -> String {
        format!("{:x}-{}", self.generation, self.counter.fetch_add(1, Ordering::Relaxed))
    }

    /// A new, empty folder to be filled and renamed into place, for this user alone.
    pub(crate) fn new_folder(&self) -> Result<PathBuf> {
        let folder = self.nursery.place()?.join(self.next_name());
        file::create_dir(&folder, 0o700)?;
        Ok(folder)
    }

    /// Takes a file or folder out of its place in one step and removes it later. A missing one is fine.
    pub(crate) fn take_away(&self, path: &Path) -> Result<()> {
        let name = self.new_name();
        match std::fs::rename(path, &name) {
            Ok(()) => self.remove(name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(PathError::new("rename", path, source).into()),
        }
    }

    /// Removes a file or folder later.
    pub(crate) fn remove(&self, path: PathBuf) -> Result<()> {
        let mut worker = lock(&self.worker);
        if worker.is_none() {
            let (sender, receiver) = channel::<PathBuf>();
            let thread = std::thread::Builder::new()
                .name("store-reaper".to_owned())
                .stack_size(256 * 1024)
                .spawn(move || receiver.iter().for_each(|path| remove_any(&path)));
            match thread {
                Ok(thread) => *worker = Some((sender, thread)),
                // Want of memory or processes: the caller waits then.
                Err(_) => remove_any(&path),
            }
        }
        if let Some((sender, _)) = &*worker {
            let _ = sender.send(path);
        }
        Ok(())
    }

    /// Waits until everything is removed.
    pub(crate) fn finish(&self) {
        let worker = lock(&self.worker).take();
        if let Some((sender, thread)) = worker {
            drop(sender);
            let _ = thread.join();
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.finish();
    }
}

fn remove_any(path: &Path) {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => file::remove_tree(path),
        Ok(_) => file::remove_file(path),
        Err(_) => return,
    };
    if let Err(error) = removed {
        // It lies below `tmp/`: the next opening tries again.
        tracing::warn!(error = corten_std::chain(&error), "a temporary tree was not removed");
    }
}
