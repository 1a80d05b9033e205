//! Flags and the documents they come to.
