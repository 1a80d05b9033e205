//! Pulls and pushes against a registry that fails on purpose.

mod faults;
mod proxies;
mod referrers;
mod registry;
