//! The error of every operation on layer archives.

use std::io;
use std::path::{Path, PathBuf};

use corten_std::{Classified, ErrorClass};

/// Why an archive could not be read, applied, made or made again. The text says what failed; the cause, where
/// there is one, is the source.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The stream that should hold the archive failed.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// The stream ended inside an entry.
    #[error("the archive ends early, inside `{}`", path.display())]
    Truncated {
        /// The entry that is cut off; empty when even its header is.
        path: PathBuf,
    },
    /// Not a tar archive, or a damaged one.
    #[error("invalid tar header at byte {offset}: {reason}")]
    Header {
        /// Where in the (uncompressed) archive the header begins.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The archive is well formed but uses what is not supported.
    #[error("`{}` is {what}, which is not supported", path.display())]
    Unsupported {
        /// The entry.
        path: PathBuf,
        /// What it is, with its article.
        what: &'static str,
    },
    /// The compression of the stream is not supported.
    #[error("the stream is compressed with {0}, which is not supported")]
    Compression(&'static str),
    /// The entry names a place outside of the root.
    #[error("`{}` leads outside of the root ({what})", path.display())]
    Outside {
        /// The name as the archive has it.
        path: PathBuf,
        /// Which of its names does.
        what: &'static str,
    },
    /// The name cannot be used as a path.
    #[error("`{}` is not a usable path: {reason}", path.display())]
    Name {
        /// The name as the archive has it.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// A file operation inside the root failed.
    #[error("cannot {operation} `{}`", path.display())]
    Entry {
        /// The verb.
        operation: &'static str,
        /// The path inside the root.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is larger than what is left on the disk.
    #[error("no space left on device: `{}` holds {size} bytes, and there is room for {room}", path.display())]
    Room {
        /// The path inside the root.
        path: PathBuf,
        /// Length of the file, in bytes.
        size: u64,
        /// What could still be written, in bytes, less what is kept free.
        room: u64,
    },
    /// The owner of an entry has no counterpart on the other side of the mapping.
    #[error("`{}` belongs to {kind} {id}, which the owner mapping does not cover", path.display())]
    Owner {
        /// The entry.
        path: PathBuf,
        /// `user` or `group`.
        kind: &'static str,
        /// The number as read.
        id: u64,
    },
    /// Unpacking with `no_overwrite_dir_non_dir` met a folder where the archive has something else.
    #[error("cannot overwrite directory \"{}\" with non-directory \"{}\"", path.display(), into.display())]
    OverwriteDirectory {
        /// The folder.
        path: PathBuf,
        /// Where the archive is unpacked to.
        into: PathBuf,
    },
    /// The reverse: the archive has a folder where something else is.
    #[error("cannot overwrite non-directory \"{}\" with directory \"{}\"", path.display(), into.display())]
    OverwriteNonDirectory {
        /// What is there.
        path: PathBuf,
        /// Where the archive is unpacked to.
        into: PathBuf,
    },
    /// The stream that takes the archive or the record failed.
    #[error("cannot write the {what}")]
    Write {
        /// `archive` or `record`.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The record cannot be read or is not one.
    #[error("the record of the layer is damaged: {reason}")]
    Record {
        /// What is wrong with it.
        reason: &'static str,
        /// The failed read, where that was it.
        source: Option<io::Error>,
    },
    /// A file of the layer's folder is not what it was when the layer was unpacked.
    #[error("`{}` of the layer was changed since it was unpacked ({what})", path.display())]
    Changed {
        /// The path inside the layer.
        path: PathBuf,
        /// What differs.
        what: &'static str,
    },
}

impl LayerError {
    /// Joins an operation, a path and the cause; made for `map_err`.
    pub(crate) fn entry(operation: &'static str, path: &[u8], source: impl Into<io::Error>) -> Self {
        Self::Entry { operation, path: crate::path::to_path_buf(path), source: source.into() }
    }

    /// The kind of the input/output cause, where there is one.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Read(source) | Self::Entry { source, .. } | Self::Write { source, .. } => {
                Some(source.kind())
            }
            Self::Room { .. } => Some(io::ErrorKind::StorageFull),
            Self::Record { source, .. } => source.as_ref().map(io::Error::kind),
            _ => None,
        }
    }

    /// The path the error is about, where it is about one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Truncated { path }
            | Self::Unsupported { path, .. }
            | Self::Outside { path, .. }
            | Self::Name { path, .. }
            | Self::Entry { path, .. }
            | Self::Room { path, .. }
            | Self::Owner { path, .. }
            | Self::OverwriteDirectory { path, .. }
            | Self::OverwriteNonDirectory { path, .. }
            | Self::Changed { path, .. } => Some(path),
            _ => None,
        }
    }
}

impl Classified for LayerError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Truncated { .. }
            | Self::Header { .. }
            | Self::Unsupported { .. }
            | Self::Compression(_)
            | Self::Outside { .. }
            | Self::Name { .. }
            | Self::Owner { .. }
            | Self::OverwriteDirectory { .. }
            | Self::OverwriteNonDirectory { .. } => ErrorClass::InvalidParameter,
            Self::Entry { operation: "find", source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ErrorClass::NotFound
            }
            // The archive names what is not there or cannot be: its fault, not the machine's.
            Self::Entry { source, .. }
                if matches!(
                    source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
                ) || source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) =>
            {
                ErrorClass::InvalidParameter
            }
            // A link to a folder, which no archive may ask for.
            Self::Entry { operation: "make hard link", source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                ErrorClass::InvalidParameter
            }
            // What the decompressor says of its input, and an upload that ends early.
            Self::Read(source)
                if matches!(
                    source.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof
                ) || (source.kind() == io::ErrorKind::Other && source.raw_os_error().is_none()) =>
            {
                ErrorClass::InvalidParameter
            }
            Self::Read(_)
            | Self::Entry { .. }
            | Self::Room { .. }
            | Self::Write { .. }
            | Self::Record { .. }
            | Self::Changed { .. } => ErrorClass::System,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Room { .. } => Some("free some space where the data is kept".to_owned()),
            Self::Compression(_) => Some("decompress it first, or compress it with gzip or zstd".to_owned()),
            Self::Entry { source, .. } | Self::Write { source, .. }
                if source.kind() == io::ErrorKind::StorageFull =>
            {
                Some("free some space where the data is kept".to_owned())
            }
            Self::Changed { .. } | Self::Record { .. } => {
                Some("remove the image and get it again".to_owned())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn whose_fault_it_was() {
        for (operation, error, expected) in [
            ("find", Errno::NOENT, ErrorClass::NotFound),
            ("make hard link", Errno::NOENT, ErrorClass::InvalidParameter),
            ("open", Errno::NOTDIR, ErrorClass::InvalidParameter),
            ("open", Errno::LOOP, ErrorClass::InvalidParameter),
            ("make hard link", Errno::PERM, ErrorClass::InvalidParameter),
            ("write", Errno::NOSPC, ErrorClass::System),
        ] {
            assert_eq!(LayerError::entry(operation, b"f", error).class(), expected, "{operation}");
        }
        assert!(LayerError::entry("write", b"f", Errno::NOSPC).hint().is_some());
    }
}
