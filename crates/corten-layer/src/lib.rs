//! Makes and applies layer archives without ever leaving the root.
