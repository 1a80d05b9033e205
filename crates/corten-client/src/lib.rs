//! The Engine API from the other side.
