//! System call filters.
mod program;
pub use program::Program;
