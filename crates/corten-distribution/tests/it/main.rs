//! Pulls and pushes against a registry that fails on purpose.

mod faults;
mod registry;
