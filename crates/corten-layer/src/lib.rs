//! Makes and applies layer archives without ever leaving the root.
//!
//! Six operations over directories given by descriptor:
//!
//! - [`apply`] unpacks a layer's tar into a layer folder of an overlay file system and writes a *record*;
//! - [`reproduce`] makes the same tar again, byte for byte, from the record and the folder;
//! - [`diff`] makes a layer's tar (and its record) from an overlay's upper folder; [`changes`] lists it;
//! - [`pack`] and [`unpack`] move plain tars out of and into a root file system (copy, export);
//! - [`decompress`] finds out how a stream is compressed and opens it;
//! - [`stat_in_root`] tells what a path inside a root is.
//!
//! Every archive is hostile input, and so is every root that a container has written to. No path is ever
//! handed to the kernel for it to follow symbolic links: the module `root` walks names one by one from the root's
//! descriptor. The tar format itself is in [`tar`], usable alone.
//!
//! What this crate knows nothing of: images, digests, the store's paths, mounts.

mod apply;
mod changes;
mod compression;
mod diff;
mod emit;
mod encoder;
mod error;
mod extract;
mod gzip;
mod metadata;
mod owner;
mod pack;
mod path;
mod record;
mod reproduce;
mod root;
mod stat;
pub mod tar;
mod unpack;
mod walk;

pub use apply::{Applied, ApplyOptions, apply};
pub use changes::{Change, ChangeKind, changes};
pub use compression::{Compression, Wrapping, decompress, deflate, sniff};
pub use diff::{DiffOptions, Diffed, diff, diff_without};
pub use encoder::Encoder;
pub use error::LayerError;
pub use gzip::compress;
pub use owner::{IdRange, OwnerMapping};
pub use pack::{PackOptions, TopName, pack};
pub use record::NoRecord;
pub use reproduce::reproduce;
pub use stat::{PathStat, go_mode, resolve_in_root, stat_in_root};
pub use unpack::{UnpackOptions, Unpacked, unpack};
