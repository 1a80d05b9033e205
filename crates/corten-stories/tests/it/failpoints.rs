//! A start that fails at each step in turn leaves nothing behind.

use crate::daemon_with;
use crate::kill::Leftovers;

#[test]
fn each_step_that_fails_is_undone() {
    if !corten_testing::need_root() {
        return;
    }
    let points = corten_stories_points();
    assert!(points.len() >= 8, "the engine names its steps: {points:?}");
    for point in points {
        let Some(daemon) = daemon_with("fail", &["--failpoint", &point]) else { return };
        let before = Leftovers::of(&daemon);
        let said = daemon.corten(&[
            "run",
            "--rm",
            "--name",
            "x1",
            "-v",
            "/anonymous",
            "-p",
            "127.0.0.1:18333:80",
            "busybox",
            "true",
        ]);
        assert_eq!(said.code, 125, "{point}: {said:?}\n{}", daemon.log());
        assert!(said.err.contains(&point), "{point}: {said:?}");
        Leftovers::settle(&daemon, &before, &format!("after {point} failed"));
        assert_eq!(daemon.ok(&["ps", "-aq"]), "", "{point}");
        assert_eq!(daemon.ok(&["volume", "ls", "-q"]), "", "{point}");
    }
}

/// The names of the failure points, read from the engine's sources: a new step is in this test by itself.
fn corten_stories_points() -> Vec<String> {
    let engine = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../corten-engine/src");
    let mut points = Vec::new();
    let mut folders = vec![engine];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the engine's sources").flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            for part in text.split(".check(\"").skip(1) {
                points.extend(part.split('"').next().map(str::to_owned));
            }
        }
    }
    points.retain(|point| point.starts_with("create.") || point.starts_with("start."));
    points.sort();
    points.dedup();
    points
}
