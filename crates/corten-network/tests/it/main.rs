//! The manager at work in a private network namespace, looked at with the kernel's own tools and with real traffic.

#![expect(clippy::print_stderr, reason = "tests tell what they measured")]

mod endpoints;
mod firewall;
mod lifecycle;
mod names;
mod policy;
mod publish;
mod races;
mod speed;
mod world;
