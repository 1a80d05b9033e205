//! Syncs of the file system, shared: who comes while one runs waits for the next, which serves all who have come by then.

use crate::{Result, StoreError};
use corten_std::file;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

/// The syncs of one file system.
#[derive(Debug, Default)]
pub(crate) struct Syncs {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// How many have begun.
    begun: u64,
    /// The newest that ended.
    ended: u64,
    /// The newest that failed, and with what (errno).
    failed: Option<(u64, i32)>,
    running: bool,
}

impl Syncs {
    /// Returns when everything that was written on the file system of `path` before this call is on the disk.
    ///
    /// # Errors
    /// Where the folder cannot be opened or the kernel tells of an error. It tells once of pages that it could not write:
    /// all who waited for that sync get the error.
    pub(crate) fn sync(&self, path: &Path) -> Result<()> {
        let folder = file::open(path)?;
        self.sync_by(|| rustix::fs::syncfs(&folder).map_err(rustix::io::Errno::raw_os_error)).map_err(
            |errno| StoreError::System {
                operation: "sync the file system",
                source: std::io::Error::from_raw_os_error(errno),
            },
        )
    }

    fn sync_by(&self, sync: impl Fn() -> std::result::Result<(), i32>) -> std::result::Result<(), i32> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // One that runs already may have passed by what was written last.
        let wanted = state.begun + 1;
        while state.ended < wanted {
            if state.running {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.running = true;
            state.begun += 1;
            drop(state);
            let outcome = sync();
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.running = false;
            state.ended = state.begun;
            if let Err(errno) = outcome {
                state.failed = Some((state.begun, errno));
            }
            self.changed.notify_all();
        }
        match state.failed {
            Some((failed, errno)) if failed >= wanted => Err(errno),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn who_comes_while_one_runs_shares_the_next() {
        let syncs = Syncs::default();
        let count = AtomicU32::new(0);
        let (begun, first_begun) = channel();
        let (release, released) = channel::<()>();
        let released = Mutex::new(released);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let begun = begun.clone();
                syncs.sync_by(|| {
                    count.fetch_add(1, Ordering::SeqCst);
                    begun.send(()).unwrap();
                    released.lock().unwrap().recv().unwrap();
                    Ok(())
                })
            });
            first_begun.recv().unwrap();
            let late: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        syncs.sync_by(|| {
                            count.fetch_add(1, Ordering::SeqCst);
                            std::thread::sleep(Duration::from_millis(20));
                            Ok(())
                        })
                    })
                })
                .collect();
            // All eight wait before the first ends.
            std::thread::sleep(Duration::from_millis(100));
            assert_eq!(count.load(Ordering::SeqCst), 1);
            release.send(()).unwrap();
            for one in late {
                one.join().unwrap().unwrap();
            }
        });
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_failure_is_told_to_all_who_waited_for_it_and_to_nobody_after_them() {
        let syncs = Syncs::default();
        assert_eq!(syncs.sync_by(|| Err(5)), Err(5));
        assert_eq!(syncs.sync_by(|| Ok(())), Ok(()));
        let (begun, first_begun) = channel();
        let fails = || {
            std::thread::sleep(Duration::from_millis(20));
            Err(28)
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let begun = begun.clone();
                syncs.sync_by(|| {
                    begun.send(()).unwrap();
                    std::thread::sleep(Duration::from_millis(100));
                    Ok(())
                })
            });
            first_begun.recv().unwrap();
            let late: Vec<_> = (0..3).map(|_| scope.spawn(|| syncs.sync_by(fails))).collect();
            for one in late {
                assert_eq!(one.join().unwrap(), Err(28));
            }
        });
        assert_eq!(syncs.sync_by(|| Ok(())), Ok(()));
    }
}
