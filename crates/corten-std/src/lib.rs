//! What the standard library lacks: file calls that name the path, atomic replacement, sizes and durations
//! as Docker writes them, ids.
//!
//! Ground layer: no async runtime, no HTTP, no argument parser. Nothing here prints, reads the environment
//! or exits.

pub mod build;
pub mod duration;
pub mod error;
pub mod file;
pub mod id;
pub mod paths;
pub mod size;
pub mod time;
mod tree;
pub mod zone;

pub use error::{Classified, ErrorClass, PathError, chain, kernel_words};
pub use paths::Paths;
pub use time::Timestamp;
