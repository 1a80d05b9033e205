//! Blobs by digest, layer filesystems, metadata with migrations, garbage collection.
//!
//! ```text
//! DATA_ROOT
//! ├── lock                       held while a store is open: one owner
//! ├── state.redb                 rows of images, tags, blobs, snapshots, leases, and the engine's records
//! ├── state.journal              their changes since it was written last
//! ├── blobs/ALGORITHM/HEX        content: documents, and layers as they came where only the bytes can give them back
//! ├── snapshots/
//! │   ├── committed/NUMBER/      a layer: `fs` its files, `record` what makes its tar again byte for byte
//! │   └── active/KEY/            a container's or step's: `fs` what it writes, `work`, `about.json`
//! ├── new/NUMBER/                folders that are being made, where the file system wants them spread (`nursery.rs`)
//! └── tmp/                       what is being written; swept, like `new/`, when the store opens
//! ```
//!
//! **Words.** A *blob* is bytes under their digest. A *snapshot* is a file system by key: *committed* (never
//! changes, can be a parent), *active* (being written) or a *view* (read only). An *image* is a manifest or an
//! index and all it leads to; its ID is that document's digest. A *record* is one of the engine's documents.
//!
//! **Order of writes.** Data before metadata: everything is written below `tmp/` or `new/`, one `syncfs` makes it
//! durable, renames put it into place, one database commit makes it exist. What lies in a place without a row
//! does not exist and is swept; a row without its data cannot come to be (see `commit.rs` for the argument).
//!
//! **Two kinds of state.** What must survive a power cut is in the database. Active snapshots survive kills
//! only, and cost no sync: a folder, renamed into place.
//!
//! This crate knows nothing of containers, mounts (it says what to mount, and mounts nothing), HTTP, registries.

mod archive;
mod blob;
mod commit;
mod database;
mod error;
mod forms;
mod garbage;
mod image;
mod ingest;
mod journal;
mod lease;
mod nursery;
mod reaper;
mod receive;
mod record;
pub mod snapshots;
mod store;
mod sync;
mod tables;

pub use archive::{BundleOptions, Evidence};
pub use blob::BlobReader;
pub use error::StoreError;
pub use forms::{Again, Packed, TwoForms};
pub use garbage::Collected;
pub use image::{
    Image, ImageUser, Images, LoadEvent, Loaded, ManifestKind, ManifestSummary, NewImage, Removed, Sharing,
};
pub use lease::{Lease, Leases, ProcessIdentity};
pub use receive::{Holding, Received, ReceivedBlob};
pub use record::Records;
pub use snapshots::{Mounts, Snapshot, SnapshotKey, SnapshotKind, Snapshots, Usage};
pub use store::{SnapshotForm, Store, StoreOptions};

/// Result of a store's operation.
pub type Result<T> = std::result::Result<T, StoreError>;
