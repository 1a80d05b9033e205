//! Whole-program tests, told as stories: a daemon of its own each, real commands, what a user sees.
//!
//! They need root and the kernel; where either is missing they say so, and fail under `CI=true`.

mod apparmor;
mod arguments;
mod bundles;
mod cdi;
mod cve;
mod deaths;
mod description;
mod digests;
mod disk;
mod endpoints;
mod errors;
mod failpoints;
mod forms;
mod full;
mod hostile;
mod images;
mod inside;
mod kill;
mod leftovers;
mod lifecycle;
mod making;
mod mends;
mod metrics;
mod names;
mod network;
mod network_plugins;
mod plugins;
mod policy;
mod prune;
mod receivers;
mod registries;
mod run;
mod runtimes;
mod scarcity;
mod selinux;
mod settings;
mod shells;
mod slow;
mod socket;
mod ssh;
mod traces;
mod transcripts;
mod travels;
mod users;
mod volumes;
mod websocket;

use corten_testing::daemon::ScratchDaemon;

/// A daemon with the image `busybox`; none where the machine cannot run it.
fn daemon(name: &str) -> Option<ScratchDaemon> {
    daemon_with(name, &[])
}

/// The same with further arguments of `corten daemon`.
fn daemon_with(name: &str, extra: &[&str]) -> Option<ScratchDaemon> {
    if !corten_testing::need_root() {
        return None;
    }
    let daemon = ScratchDaemon::start(name, extra);
    daemon.load_busybox().then_some(daemon)
}
