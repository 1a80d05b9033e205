//! What can go wrong in the store. Texts that Docker's users and scripts read are Docker's.

use corten_layer::LayerError;
use corten_oci::{Digest, DigestError, ReferenceError};
use corten_std::{Classified, ErrorClass, PathError};
use std::io;
use std::path::PathBuf;

/// A failed operation of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Another process has the store open.
    #[error("the data folder `{}` is in use by another daemon", path.display())]
    Locked {
        /// The data folder.
        path: PathBuf,
    },
    /// The database failed.
    #[error("cannot {operation} the database")]
    Database {
        /// The verb.
        operation: &'static str,
        /// Why.
        source: Box<redb::Error>,
    },
    /// A row is not what was written.
    #[error("the row `{key}` of table `{table}` is damaged")]
    Row {
        /// The table.
        table: String,
        /// The key.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The store was written by a newer program.
    #[error("the store has schema version {found}, this program knows versions up to {known}")]
    Newer {
        /// Version on disk.
        found: u32,
        /// Newest that we know.
        known: u32,
    },
    /// No image by this name or ID.
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// An image has nothing for a platform.
    #[error("image {image} was found but does not provide the specified platform ({platform})")]
    NoPlatform {
        /// The image's ID.
        image: corten_oci::Digest,
        /// What was asked for.
        platform: String,
    },
    /// Several images have this ID prefix.
    #[error("the image ID prefix `{0}` is ambiguous")]
    AmbiguousImage(String),
    /// Not an image reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// Not a digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// The image cannot be removed; Docker's text.
    #[error("conflict: {0}")]
    ImageConflict(String),
    /// No snapshot by this key.
    #[error("no such snapshot: `{0}`")]
    NoSuchSnapshot(String),
    /// The key is taken.
    #[error("the snapshot `{0}` exists already")]
    SnapshotExists(String),
    /// The snapshot is the parent of another.
    #[error("the snapshot `{key}` is in use by `{child}`")]
    SnapshotInUse {
        /// The parent.
        key: String,
        /// One that needs it.
        child: String,
    },
    /// The snapshot is not of the kind that the operation needs.
    #[error("the snapshot `{key}` is {found}, not {wanted}")]
    SnapshotState {
        /// Its key.
        key: String,
        /// What it is.
        found: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// Not a key: letters, digits and `._:@+-`, up to 200 bytes, not beginning with a dot.
    #[error("`{0}` cannot be the key of a snapshot")]
    SnapshotKey(String),
    /// No such content.
    #[error("content {0} is not in the store")]
    NoSuchBlob(Digest),
    /// Content was dropped here because a registry has it.
    #[error("content {digest} is not kept here: it is at {repository}, and has to be fetched first")]
    Elsewhere {
        /// The content.
        digest: Digest,
        /// The repository's name.
        repository: String,
    },
    /// Content is not what its digest says.
    #[error("content of {wanted} has digest {found}")]
    Mismatch {
        /// The name.
        wanted: Digest,
        /// What the bytes say.
        found: Box<Digest>,
    },
    /// Content does not have the length that was recorded.
    #[error("content {digest} has {found} bytes instead of {wanted}")]
    Length {
        /// The name.
        digest: Digest,
        /// As recorded.
        wanted: u64,
        /// As found.
        found: u64,
    },
    /// A layer cannot be unpacked, or made again.
    #[error("cannot process layer {layer}")]
    Layer {
        /// Its digest, or its path in the archive.
        layer: String,
        /// Why.
        source: LayerError,
    },
    /// The archive is no image archive that we know.
    #[error("invalid archive: {0}")]
    Archive(String),
    /// The archive's outer tar or compression is broken.
    #[error("cannot read the archive")]
    Outer(#[source] LayerError),
    /// A JSON document is not what it should be.
    #[error("invalid {what}")]
    Document {
        /// Which document.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A document is larger than is reasonable.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// Which document.
        what: String,
        /// Bytes.
        limit: u64,
    },
    /// The stream that was to be read failed.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// The stream that was to be written failed.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    /// A kernel call failed.
    #[error("cannot {operation}")]
    System {
        /// The verb and object.
        operation: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl StoreError {
    /// Joins a database operation and its cause; made for `map_err`.
    pub(crate) fn database<E: Into<redb::Error>>(operation: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Database { operation, source: Box::new(source.into()) }
    }
}

impl Classified for StoreError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NoSuchImage(_)
            | Self::NoPlatform { .. }
            | Self::NoSuchSnapshot(_)
            | Self::NoSuchBlob(_) => ErrorClass::NotFound,
            Self::AmbiguousImage(_)
            | Self::SnapshotKey(_)
            | Self::Archive(_)
            | Self::Document { .. }
            | Self::TooLarge { .. } => ErrorClass::InvalidParameter,
            Self::Reference(error) => error.class(),
            Self::Digest(error) => error.class(),
            Self::Layer { source, .. } | Self::Outer(source) => source.class(),
            Self::ImageConflict(_)
            | Self::SnapshotExists(_)
            | Self::SnapshotInUse { .. }
            | Self::SnapshotState { .. } => ErrorClass::Conflict,
            Self::Mismatch { .. } => ErrorClass::InvalidParameter,
            Self::Locked { .. } => ErrorClass::Unavailable,
            Self::Path(error) => match error.class() {
                // A file of the store that is missing is our failure, not a wrong request.
                ErrorClass::NotFound => ErrorClass::System,
                class => class,
            },
            _ => ErrorClass::System,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Locked { .. } => Some(
                "stop the other daemon, or give this one a data root of its own (`--data-root`)".to_owned(),
            ),
            Self::Newer { .. } => {
                Some("run the newer program, or give this one another data root".to_owned())
            }
            Self::Layer { source, .. } | Self::Outer(source) => source.hint(),
            _ => None,
        }
    }
}
