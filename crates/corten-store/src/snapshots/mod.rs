//! File systems by key: the trait, its words and its life cycle.
//!
//! A **key** is free text of the caller's choice. A **committed** snapshot never changes and can be a
//! **parent**; an **active** one is being written upon its parent; a **view** shows its parent read only.
//!
//! ```text
//!            prepare(key, parent)                commit(name, key)
//!  (nothing) ───────────────────▶ active `key` ───────────────────▶ committed `name`   (`key` is gone)
//!      │                               │ remove                          ▲      │ remove, where nothing needs it
//!      │ view(key, parent)             ▼                                 │      ▼
//!      └──────────────▶ view `key` ─▶ (nothing)      adopt(name, parent, folder)
//! ```
//!
//! `prepare` and `view` survive kills, not power cuts, and sync nothing; `commit` and `adopt` survive both.
//! Every implementation passes [`testsuite::run`].

mod copy;
mod index;
mod overlay;
mod rename;
pub mod testsuite;
pub(crate) mod tree;

pub use copy::CopySnapshots;
pub(crate) use index::{CommittedRow, FILES, LayerRow, RECORD, SnapshotIndex, Staged};
pub use overlay::OverlaySnapshots;
pub(crate) use rename::rename_new;

use crate::{Result, StoreError};
use corten_std::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

/// The checked name of a snapshot: letters, digits and `._:@+-`, up to 200 bytes, not beginning with a dot
/// (an active snapshot's key is also a file name).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotKey(Arc<str>);

impl SnapshotKey {
    /// Checks a text.
    pub fn new(text: &str) -> Result<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@+-".contains(&byte);
        if text.is_empty() || text.len() > 200 || text.starts_with('.') || !text.bytes().all(fits) {
            return Err(StoreError::SnapshotKey(text.to_owned()));
        }
        Ok(Self(text.into()))
    }

    /// The key of the snapshot whose topmost layer has this chain ID.
    pub fn of_chain(chain_id: &corten_oci::Digest) -> Self {
        Self(chain_id.to_string().into())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SnapshotKey {
    type Error = StoreError;

    fn try_from(text: String) -> Result<Self> {
        Self::new(&text)
    }
}

impl From<SnapshotKey> for String {
    fn from(key: SnapshotKey) -> Self {
        key.as_str().to_owned()
    }
}

impl std::str::FromStr for SnapshotKey {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl fmt::Display for SnapshotKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for SnapshotKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

/// What a snapshot is at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotKind {
    /// Being written.
    Active,
    /// Read only, never to be committed.
    View,
    /// Unchanging; can be a parent.
    Committed,
}

impl SnapshotKind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::View => "a view",
            Self::Committed => "committed",
        }
    }
}

/// What is known of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name.
    pub key: SnapshotKey,
    /// What it is at present.
    pub kind: SnapshotKind,
    /// What it lies upon; none for the lowest.
    pub parent: Option<SnapshotKey>,
    /// When it was made.
    pub created: Timestamp,
}

/// What to mount to see a snapshot. The paths exist; nothing here mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mounts {
    /// An overlay that is written to.
    Overlay {
        /// Layers, topmost first; at least one.
        lowers: Vec<PathBuf>,
        /// Takes the writes.
        upper: PathBuf,
        /// Overlayfs's own, on the file system of `upper`.
        work: PathBuf,
    },
    /// A read-only overlay, or with a single layer a read-only bind of it (an overlay needs two).
    ReadOnly {
        /// Layers, topmost first; at least one.
        lowers: Vec<PathBuf>,
    },
    /// One folder that is written to as it is: bind it.
    Plain(PathBuf),
}

/// What a snapshot itself occupies, its parents not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes of file content; a file with several names counts once.
    pub size: u64,
    /// Files, folders and others.
    pub inodes: u64,
}

/// File systems by key. Implementations are shared between threads; operations on different keys do not wait
/// for each other longer than a table update takes.
pub trait Snapshots: Send + Sync + fmt::Debug {
    /// Makes an active snapshot upon a committed parent, or an empty one. The key must be free. Nothing is synced: a
    /// power cut may take it, unless [`Self::sync`] was called.
    fn prepare(&self, key: &SnapshotKey, parent: Option<&SnapshotKey>) -> Result<Snapshot>;

    /// Makes a read-only view of a committed parent, or of nothing. The key must be free. No sync.
    fn view(&self, key: &SnapshotKey, parent: Option<&SnapshotKey>) -> Result<Snapshot>;

    /// Makes an active snapshot or view survive a power cut, with what [`Self::prepare`] put into it; what was
    /// written to it since is synced by whoever wrote it.
    fn sync(&self, key: &SnapshotKey) -> Result<()>;

    /// Turns the active `key` into the committed `name`, durably; `key` is free afterwards. It must not be
    /// mounted. On an error both are as before.
    fn commit(&self, name: &SnapshotKey, key: &SnapshotKey) -> Result<()>;

    /// What to mount to see an active snapshot or a view.
    fn mounts(&self, key: &SnapshotKey) -> Result<Mounts>;

    /// What the snapshot itself occupies; counted anew for an active one.
    fn usage(&self, key: &SnapshotKey) -> Result<Usage>;

    /// Removes a snapshot; refused while another lies upon it. Its files go in the background. Parents that
    /// belong to images only are left to [`crate::Store::collect_garbage`].
    fn remove(&self, key: &SnapshotKey) -> Result<()>;

    /// What is known of it.
    fn stat(&self, key: &SnapshotKey) -> Result<Snapshot>;

    /// Shows every snapshot, in the order of keys, until told to break.
    fn walk(&self, visit: &mut dyn FnMut(Snapshot) -> ControlFlow<()>) -> Result<()>;

    /// The folder with what an active snapshot itself holds (overlay: the upper folder with its whiteouts),
    /// for diffs and copies; of a committed one, the folder of its layer.
    fn folder(&self, key: &SnapshotKey) -> Result<PathBuf>;
}
