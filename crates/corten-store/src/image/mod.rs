//! Images: names, identity, lookup, and what is told about them.

mod index;
mod model;
mod new;
mod platform;
mod remove;
mod remove_platform;
mod resolve;
mod sharing;

pub(crate) use index::{ImageIndex, ImageRow, TagRow};
pub use model::{Image, ImageUser, LoadEvent, Loaded, NewImage, Removed};
pub use platform::{ManifestKind, ManifestSummary};
pub(crate) use platform::{PlatformRow, is_wanted};
pub use resolve::Images;
pub use sharing::Sharing;
