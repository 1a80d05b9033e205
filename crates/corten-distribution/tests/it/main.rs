//! Pulls and pushes against a registry that fails on purpose.

mod faults;
mod referrers;
mod registry;
