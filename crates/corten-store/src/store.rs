//! The store as a whole: opening, and the doors to its parts.

use crate::blob::Blobs;
use crate::database::{Database, META, lock};
use crate::forms::Dropped;
use crate::garbage::Pins;
use crate::image::{ImageIndex, Images};
use crate::lease::{Leases, boot_id};
use crate::reaper::Reaper;
use crate::record::Records;
use crate::snapshots::{CopySnapshots, OverlaySnapshots, SnapshotIndex, Snapshots, rename_new};
use crate::{Result, StoreError};
use corten_layer::OwnerMapping;
use corten_std::{PathError, Paths, file};
use rustix::fs::FlockOperation;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long opening waits for the lock: a daemon that was killed may take a moment to be gone.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// In which form snapshots are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SnapshotForm {
    /// Layer folders that overlayfs joins.
    #[default]
    Overlay,
    /// Full copies, where there is no overlayfs.
    Copy,
}

/// How a store works; a value of the host's abilities and the user's wishes.
#[derive(Clone, Debug, Default)]
pub struct StoreOptions {
    /// In which form snapshots are kept.
    pub form: SnapshotForm,
    /// Owners in images to owners on disk.
    pub owner: OwnerMapping,
    /// Overlayfs's marks go to `user.overlay.*` (mounts inside a user namespace).
    pub userxattr: bool,
}

/// An open store. Cheap to clone; shared between threads; every call blocks until it is done.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) options: StoreOptions,
    pub(crate) database: Arc<Database>,
    pub(crate) blobs: Blobs,
    pub(crate) index: Arc<SnapshotIndex>,
    pub(crate) snapshots: Arc<dyn Snapshots>,
    pub(crate) images: ImageIndex,
    /// Forms of layers that were dropped.
    pub(crate) dropped: Dropped,
    pub(crate) pins: Arc<Pins>,
    /// Where blobs that come from elsewhere are written as they come.
    pub(crate) ingest: std::path::PathBuf,
    /// Held by whoever changes what exists: commits of loads, changes of tags, collection.
    pub(crate) change: Mutex<()>,
    pub(crate) reaper: Arc<Reaper>,
    /// Last, so that the lock is held until everything else is closed.
    _lock: File,
}

impl Store {
    /// Opens the store below `paths`, or makes it. Waits up to two seconds for another owner to be gone.
    ///
    /// Leftovers of a killed process are swept; after a reboot, what the boot before had committed is checked
    /// against its recorded lengths, and what is damaged is forgotten (and logged), so that it can be loaded again.
    pub fn open(paths: &Paths, options: StoreOptions) -> Result<Self> {
        file::create_dir_all(&paths.data_root)?;
        let lock_file = take_lock(paths)?;
        let temporary = paths.temporary();
        file::create_dir_all(&temporary)?;
        let reaper = Arc::new(Reaper::new(temporary, paths.birthplaces()));
        reaper.sweep()?;
        crate::receive::sweep(&paths.ingest())?;
        let database = Arc::new(Database::open(&paths.database())?);
        let boot = boot_id()?;
        let last_boot: Option<String> = database.get(META, LAST_BOOT)?;
        let blobs = Blobs::open(Arc::clone(&database), &paths.blobs(), &reaper, &boot)?;
        let index = Arc::new(SnapshotIndex::open(
            Arc::clone(&database),
            &paths.snapshots(),
            Arc::clone(&reaper),
            &boot,
        )?);
        if last_boot.as_ref() != Some(&boot) {
            if let Some(last_boot) = &last_boot {
                blobs.forget_damaged(&blobs.damaged_since(last_boot))?;
                index.forget_damaged(&index.damaged_since(last_boot))?;
            }
            database.put(META, LAST_BOOT, &boot)?;
        }
        let images = ImageIndex::open(&database)?;
        let dropped = Dropped::open(&database)?;
        let snapshots: Arc<dyn Snapshots> = match options.form {
            SnapshotForm::Overlay => Arc::new(OverlaySnapshots::new(Arc::clone(&index))),
            SnapshotForm::Copy => Arc::new(CopySnapshots::new(Arc::clone(&index))),
        };
        let inner = Inner {
            options,
            database,
            blobs,
            index,
            snapshots,
            images,
            dropped,
            pins: Arc::default(),
            ingest: paths.ingest(),
            change: Mutex::new(()),
            reaper,
            _lock: lock_file,
        };
        let store = Self { inner: Arc::new(inner) };
        store.leases().end_dead()?;
        store.forget_incomplete_images()?;
        store.sweep_taken()?;
        if store.has_unnamed()? {
            store.collect_garbage()?;
        }
        let weak = Arc::downgrade(&store.inner);
        store.inner.index.set_collect(Box::new(move || {
            let Some(inner) = weak.upgrade() else { return };
            // The caller removes a container and does not wait for this.
            let collect = move || {
                if let Err(error) = (Self { inner }).collect_garbage() {
                    tracing::warn!(
                        error = corten_std::chain(&error),
                        "the layers of a removed image were not collected"
                    );
                }
            };
            let _ = std::thread::Builder::new().name("store-collect".to_owned()).spawn(collect);
        }));
        Ok(store)
    }

    /// The images.
    pub fn images(&self) -> Images<'_> {
        Images::new(self)
    }

    /// The snapshots.
    pub fn snapshots(&self) -> &dyn Snapshots {
        &*self.inner.snapshots
    }

    /// A table of the caller's documents, `record.NAME` in the database. One name is one type.
    pub fn records<T: Serialize + DeserializeOwned>(&self, name: &'static str) -> Records<'_, T> {
        Records::new(&self.inner.database, name)
    }

    /// The leases.
    pub fn leases(&self) -> Leases<'_> {
        Leases::new(&self.inner.database)
    }

    /// How snapshots and owners are kept.
    pub fn options(&self) -> &StoreOptions {
        &self.inner.options
    }

    /// Makes an empty folder at `place`, below the data root, where nothing is yet. Costs no sync.
    ///
    /// Where the file system makes files the slower the more were removed of late, this is faster than making it there.
    pub fn make_folder(&self, place: &Path, mode: u32) -> Result<()> {
        let folder = self.inner.reaper.new_folder()?;
        let made = std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode))
            .map_err(|source| PathError::new("set mode", &folder, source))
            .and_then(|()| rename_new(&folder, place));
        if made.is_err() {
            self.inner.reaper.remove(folder)?;
        }
        Ok(made?)
    }

    /// Takes a file or folder below the data root out of its place in one step, and removes it later. A missing one is fine.
    pub fn discard(&self, place: &Path) -> Result<()> {
        self.inner.reaper.take_away(place)
    }

    /// Waits until everything that was removed is gone from the disk as well.
    pub fn finish_removals(&self) {
        self.inner.reaper.finish();
    }

    /// The lock of whoever changes what exists.
    pub(crate) fn changing(&self) -> std::sync::MutexGuard<'_, ()> {
        lock(&self.inner.change)
    }
}

const LAST_BOOT: &str = "last-boot";

fn take_lock(paths: &Paths) -> Result<File> {
    let path = paths.data_lock();
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| PathError::new("open", &path, source))?;
    let begin = Instant::now();
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if begin.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(StoreError::Locked { path: paths.data_root.clone() });
            }
            Err(error) => return Err(PathError::new("lock", &path, error).into()),
        }
    }
}
