//! A start that fails at each step in turn leaves nothing behind.

use crate::daemon_with;
use crate::leftovers::Leftovers;

#[test]
fn each_step_that_fails_is_undone() {
    if !corten_testing::need_root() {
        return;
    }
    let points = points_of_the_engine();
    assert!(points.len() >= 8, "the engine names its steps: {points:?}");
    for point in points {
        // Two starts fail at it, the third is a good one.
        let Some(daemon) = daemon_with("fail", &["--failpoint", &format!("{point}=2")]) else { return };
        let before = Leftovers::at_rest(&daemon);
        let run = |more: &[&'static str]| {
            let mut words = vec!["run", "--name", "x1", "-v", "/anonymous", "-p", "127.0.0.1:18333:80"];
            words.extend(more);
            words.extend(["busybox", "echo", "works"]);
            daemon.corten(&words)
        };
        let said = run(&["--rm"]);
        assert_eq!(said.code, 125, "{point}: {said:?}\n{}", daemon.log());
        assert!(said.err.contains(&point), "{point}: {said:?}");
        Leftovers::settle(&daemon, &before, &format!("after {point} failed"));
        assert_eq!(daemon.ok(&["ps", "-aq"]), "", "{point}");
        assert_eq!(daemon.ok(&["volume", "ls", "-q"]), "", "{point}");

        // Without `--rm` a container that could not be started stays, as it was before the start.
        assert_eq!(run(&[]).code, 125, "{point}");
        let is_there = point.starts_with("start.");
        assert_eq!(daemon.ok(&["ps", "-a", "--format", "{{.State}}"]), if is_there { "created" } else { "" });
        if is_there {
            daemon.ok(&["rm", "-v", "x1"]);
        }
        Leftovers::settle(&daemon, &before, &format!("after {point} failed again"));

        // Neither the name nor the port is taken.
        let said = run(&["--rm"]);
        assert_eq!((said.code, said.out.as_str()), (0, "works\n"), "{point}: {said:?}");
    }
}

/// The names of the failure points, read from the engine's sources: a new step is in this test by itself.
fn points_of_the_engine() -> Vec<String> {
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
