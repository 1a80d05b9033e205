//! What an idle shim costs.

use crate::scene::{Container, Forker, Options};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The promise, in kB of private memory per shim with ten running.
const MOST: u64 = 1024;

pub(crate) fn ten_idle_shims(forker: &Forker) {
    let containers: Vec<_> = (0..10)
        .map(|_| {
            let mut options = Options::new(&["lines:100", "forever"]);
            options.open_stdin = true;
            Container::start(forker, options)
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    let private: Vec<u64> =
        containers.iter().map(|container| private_kilobytes(container.shim_pid)).collect();
    // A build without optimisation; an optimised one is smaller.
    eprintln!("private memory of ten idle shims in kB: {private:?}");
    assert!(private.iter().all(|kilobytes| *kilobytes < MOST));
    let left_open = descriptors(forker.pid());
    for container in &containers {
        let pid = container.shim_pid;
        assert_eq!(std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count(), 1);
        // Three standard ones, listener, connection, log, handle, three pipes; and what whoever ran this test left
        // open in it.
        let links = descriptors(pid).into_iter().filter(|link| !left_open.contains(link)).collect::<Vec<_>>();
        assert!(links.len() <= 10, "{links:?}");
        assert_eq!(std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap(), "corten-shim\n");
    }
}

/// Pages that this process alone has.
fn private_kilobytes(pid: i32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let field = |name: &str| {
        let line = rollup.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    field("Private_Clean:") + field("Private_Dirty:")
}

/// What a process has open: number and name.
fn descriptors(pid: i32) -> Vec<(OsString, PathBuf)> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(Result::unwrap);
    entries.filter_map(|entry| Some((entry.file_name(), std::fs::read_link(entry.path()).ok()?))).collect()
}
