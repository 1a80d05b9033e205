//! Images: names, identity, lookup, and what is told about them.

mod index;
mod model;
mod new;
mod remove;
mod resolve;

pub(crate) use index::{ImageIndex, ImageRow, TagRow};
pub use model::{Image, ImageUser, LoadEvent, Loaded, NewImage, Removed};
pub use resolve::Images;
