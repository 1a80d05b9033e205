//! The tar format: a streaming [`Reader`] and [`Writer`], usable without the rest of this crate.
//!
//! Read: v7, ustar, PAX, GNU (long names and links, base-256 numbers) and star headers. Where they disagree,
//! the reading is that of Go's `archive/tar`, because a layer must mean the same here as where it was made.
//! Written: ustar, with PAX records where a value does not fit.

mod header;
mod reader;
mod writer;

pub use reader::Reader;
pub use writer::{Writer, encode};

/// Length of a header and the unit of padding, in bytes.
pub(crate) const BLOCK: usize = 512;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum EntryKind {
    /// A file, with content.
    #[default]
    File,
    /// A further name of an earlier file.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A folder.
    Directory,
    /// A named pipe.
    Fifo,
    /// PAX records meant for all later entries; read, and left without effect.
    GlobalHeader,
    /// Any other type byte.
    Other(u8),
}

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Whole seconds since 1970, rounded down.
    pub seconds: i64,
    /// The rest, below a thousand million.
    pub nanoseconds: u32,
}

/// Extended attributes: names with values.
pub type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// One entry of an archive, whatever form its header has.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Entry {
    /// The name as the archive has it, not cleaned. For writing: without a trailing `/`, which folders are given.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Target of a symbolic or hard link.
    pub link: Vec<u8>,
    /// Permission bits, set-id and sticky bits included (07777).
    pub mode: u32,
    /// Owning user.
    pub uid: u64,
    /// Owning group.
    pub gid: u64,
    /// Length of the content that follows, in bytes; 0 for kinds without content.
    pub size: u64,
    /// Last change of the content.
    pub mtime: Time,
    /// Last access, where the archive tells.
    pub atime: Option<Time>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes (`SCHILY.xattr.*`), in the order of the archive.
    pub xattrs: Attributes,
}

/// How many bytes follow `size` bytes of content to fill a block.
pub(crate) fn padding(size: u64) -> usize {
    ((BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64) as usize
}
