//! Blobs on their way here: each is downloaded once, however many pulls want it, to a file that stays where it was
//! broken off.
//!
//! ```text
//! join ─▶ one task per digest ─▶ file grows ─▶ readers (one per pull) follow it to its end
//!           └ ends with the last one who joined; a whole file goes with it, a part of one stays
//! ```

use crate::error::EngineError;
use corten_distribution::{DistributionError, Repository};
use corten_oci::Digest;
use corten_oci::image::Descriptor;
use corten_std::Classified;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::SystemTime;
use tokio::sync::{Semaphore, watch};

/// All of them.
#[derive(Debug)]
pub(crate) struct Downloads {
    running: Mutex<HashMap<Digest, (u64, Weak<Download>)>>,
    /// So many at once.
    places: RwLock<Arc<Semaphore>>,
}

/// One, held by everybody who wants it.
#[derive(Debug)]
pub(crate) struct Download {
    digest: Digest,
    number: u64,
    path: PathBuf,
    shared: Arc<Shared>,
    task: tokio::task::AbortHandle,
    all: Arc<Downloads>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    grown: Condvar,
    /// The same for those who must not block.
    told: watch::Sender<Stage>,
}

#[derive(Debug)]
struct State {
    /// Bytes of the file that are there, from its beginning.
    here: u64,
    end: Option<Result<(), Failure>>,
}

/// How far it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stage {
    /// Whether it has begun.
    pub(crate) begun: bool,
    /// Bytes that are here.
    pub(crate) here: u64,
    /// Whether nothing more comes.
    pub(crate) ended: bool,
}

/// Why it ended, for each one who waits.
#[derive(Debug)]
pub(crate) struct Failure {
    error: EngineError,
    status: Option<u16>,
}

impl Failure {
    fn duplicate(&self) -> Self {
        Self { error: self.error.duplicate(), status: self.status }
    }

    /// The error, and the status code where a registry refused.
    pub(crate) fn into_parts(self) -> (EngineError, Option<u16>) {
        (self.error, self.status)
    }
}

impl From<DistributionError> for Failure {
    fn from(error: DistributionError) -> Self {
        let status = error.status();
        // What went wrong at another machine is told as that, whatever its class there.
        let class = error.class();
        Self { error: EngineError::because("", error).with_class(class), status }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Downloads {
    pub(crate) fn new(places: usize) -> Self {
        Self { running: Mutex::default(), places: RwLock::new(Arc::new(Semaphore::new(places.max(1)))) }
    }

    /// How many may go on at once from now on; what runs already does not count.
    pub(crate) fn allow(&self, places: usize) {
        *self.places.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(Semaphore::new(places.max(1)));
    }

    /// Takes part in a blob's download to `path`, or begins it; true where it was begun here.
    pub(crate) fn join(
        self: &Arc<Self>,
        repository: &Repository,
        blob: &Descriptor,
        path: &Path,
    ) -> (Arc<Download>, bool) {
        let mut running = lock(&self.running);
        let before = running.get(&blob.digest);
        if let Some(download) = before.and_then(|(_, download)| download.upgrade())
            && !download.shared.failed()
        {
            return (download, false);
        }
        let number = before.map_or(0, |(number, _)| number + 1);
        let shared = Arc::new(Shared {
            state: Mutex::new(State { here: 0, end: None }),
            grown: Condvar::new(),
            told: watch::Sender::new(Stage::default()),
        });
        let places = Arc::clone(&self.places.read().unwrap_or_else(PoisonError::into_inner));
        let (repository, descriptor) = (repository.clone(), blob.clone());
        let task = tokio::spawn({
            let (shared, path) = (Arc::clone(&shared), path.to_owned());
            async move {
                let place = places.acquire_owned().await;
                let outcome = run(&repository, &descriptor, &path, &shared).await;
                drop(place);
                shared.finish(outcome.map_err(Failure::from));
            }
        });
        let download = Arc::new(Download {
            digest: blob.digest,
            number,
            path: path.to_owned(),
            shared,
            task: task.abort_handle(),
            all: Arc::clone(self),
        });
        running.insert(blob.digest, (number, Arc::downgrade(&download)));
        (download, true)
    }
}

/// The file for a blob of that size, and how much of it an earlier pull left.
fn open(path: &Path, size: u64) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    // Somebody goes on with it: what nobody goes on with is removed by its age.
    file.set_modified(SystemTime::now())?;
    let here = file.metadata()?.len();
    if here > size {
        // Not a part of this blob.
        file.set_len(0)?;
        return Ok((file, 0));
    }
    Ok((file, here))
}

async fn run(
    repository: &Repository,
    blob: &Descriptor,
    path: &Path,
    shared: &Shared,
) -> Result<(), DistributionError> {
    let failed = |source| DistributionError::Local { operation: "keep what is downloaded", source };
    let (file, mut here) = open(path, blob.size).map_err(failed)?;
    shared.grow(here);
    repository
        .download(blob, here, &mut |piece| {
            // At its place and not at the end: another one that is just ending may still write the same bytes.
            file.write_all_at(piece, here)?;
            here += piece.len() as u64;
            shared.grow(here);
            Ok(())
        })
        .await
}

impl Shared {
    fn grow(&self, here: u64) {
        lock(&self.state).here = here;
        self.grown.notify_all();
        self.told.send_replace(Stage { begun: true, here, ended: false });
    }

    fn finish(&self, end: Result<(), Failure>) {
        let mut state = lock(&self.state);
        if state.end.is_none() {
            state.end = Some(end);
        }
        let here = state.here;
        drop(state);
        self.grown.notify_all();
        self.told.send_modify(|stage| *stage = Stage { here, ended: true, ..*stage });
    }

    fn failed(&self) -> bool {
        matches!(lock(&self.state).end, Some(Err(_)))
    }
}

impl Download {
    /// How far it is, to be watched.
    pub(crate) fn watch(&self) -> watch::Receiver<Stage> {
        self.shared.told.subscribe()
    }

    /// How it ended; none while it goes on.
    pub(crate) fn outcome(&self) -> Option<Result<(), Failure>> {
        let state = lock(&self.shared.state);
        state.end.as_ref().map(|end| match end {
            Ok(()) => Ok(()),
            Err(failure) => Err(failure.duplicate()),
        })
    }

    /// Reads the blob from its first byte while it comes.
    pub(crate) fn reader(&self) -> Follower {
        Follower { shared: Arc::clone(&self.shared), path: self.path.clone(), file: None, position: 0 }
    }

    /// What came is not what was asked for: nothing of it is kept, and nobody joins any more.
    pub(crate) fn spoil(&self) {
        let mut running = lock(&self.all.running);
        if running.get(&self.digest).is_some_and(|(number, _)| *number == self.number) {
            running.remove(&self.digest);
            let _ = corten_std::file::remove_file(&self.path);
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.task.abort();
        let whole = matches!(lock(&self.shared.state).end, Some(Ok(())));
        self.shared
            .finish(Err(Failure { error: EngineError::system("the pull was given up"), status: None }));
        let mut running = lock(&self.all.running);
        // Another one may have begun meanwhile; then the file is its.
        if running.get(&self.digest).is_some_and(|(number, _)| *number == self.number) {
            running.remove(&self.digest);
            if whole && let Err(error) = corten_std::file::remove_file(&self.path) {
                tracing::warn!(error = corten_std::chain(&error), "a downloaded file was not removed");
            }
        }
    }
}

/// Reads a file that grows; waits at its end.
#[derive(Debug)]
pub(crate) struct Follower {
    shared: Arc<Shared>,
    path: PathBuf,
    file: Option<File>,
    position: u64,
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let here = {
            let mut state = lock(&self.shared.state);
            while state.here <= self.position && state.end.is_none() {
                state = self.shared.grown.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            match &state.end {
                Some(Err(failure)) => return Err(io::Error::other(failure.error.to_string())),
                Some(Ok(())) if state.here <= self.position => return Ok(0),
                _ => state.here,
            }
        };
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(File::open(&self.path)?),
        };
        let most = buffer.len().min(usize::try_from(here - self.position).unwrap_or(usize::MAX));
        let read = file.read_at(&mut buffer[..most], self.position)?;
        if read == 0 {
            return Err(io::Error::other("what was downloaded is not there any more"));
        }
        self.position += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_gone_on_with_is_young_again() {
        let scratch = corten_testing::Scratch::new("download-open");
        let path = scratch.path().join("part");
        std::fs::write(&path, "part").unwrap();
        let old = SystemTime::now() - Duration::from_hours(1);
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let (file, here) = open(&path, 10).unwrap();
        assert_eq!(here, 4);
        let age = file.metadata().unwrap().modified().unwrap().elapsed().unwrap_or_default();
        assert!(age < Duration::from_mins(5), "{age:?}");
        assert_eq!(open(&path, 3).unwrap().1, 0, "it is longer than the blob");
        assert_eq!(file.metadata().unwrap().len(), 0);
    }
}
