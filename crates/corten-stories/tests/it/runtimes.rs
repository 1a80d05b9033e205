//! `--runtime`: another OCI runtime makes the container, and everything beside it is as always.
//!
//! The other runtime is our own program alone (`corten-oci`), so that the story needs nothing else; with
//! `CORTEN_TEST_RUNTIMES=NAME=PATH,…` it is told for those too.

use crate::daemon_with;
use corten_testing::Scratch;
use corten_testing::daemon::{ScratchDaemon, program};
use std::time::{Duration, Instant};

/// Tells a story for every runtime: with its name.
fn each(story: &str, tell: impl Fn(&ScratchDaemon, &str)) {
    let links = Scratch::new("runtimes");
    let alone = links.path().join("corten-oci");
    std::os::unix::fs::symlink(program(), &alone).expect("a link");
    let mut runtimes = vec![format!("alone={}", alone.display())];
    runtimes.extend(
        std::env::var("CORTEN_TEST_RUNTIMES")
            .unwrap_or_default()
            .split(',')
            .filter(|one| !one.is_empty())
            .map(str::to_owned),
    );
    let flags: Vec<&str> = runtimes.iter().flat_map(|one| ["--add-runtime", one.as_str()]).collect();
    let Some(daemon) = daemon_with(story, &flags) else { return };
    for runtime in &runtimes {
        tell(&daemon, runtime.split('=').next().unwrap_or_default());
    }
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
    let left: Vec<_> = std::fs::read_dir(daemon.exec_root().join("containers"))
        .map(|entries| entries.flatten().map(|entry| entry.file_name()).collect())
        .unwrap_or_default();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn output_codes_and_errors_are_the_same() {
    each("foreign-run", |daemon, runtime| {
        let run = |words: &[&str]| {
            let all: Vec<&str> =
                ["run", "--rm", "--runtime", runtime].into_iter().chain(words.iter().copied()).collect();
            daemon.corten(&all)
        };
        let said = run(&["busybox", "sh", "-c", "echo out; echo err >&2; exit 7"]);
        assert_eq!((said.out.as_str(), said.err.as_str(), said.code), ("out\n", "err\n", 7), "{runtime}");
        assert_eq!(run(&["-u", "app", "busybox", "id", "-un"]).out, "app\n", "{runtime}");
        assert_eq!(run(&["-w", "/made", "busybox", "pwd"]).out, "/made\n", "{runtime}");
        let said = run(&["busybox", "no-such-command"]);
        assert_eq!(said.code, 127, "{runtime}: {said:?}");
        assert!(said.err.contains("not found in $PATH"), "{runtime}: {said:?}");
        assert_eq!(run(&["--init", "busybox", "sh", "-c", "exit 4"]).code, 4, "{runtime}");
        let said = run(&["-m", "32m", "busybox", "tail", "/dev/zero"]);
        assert_eq!(said.code, 137, "{runtime}: {said:?}");
        let said =
            run(&["-v", "kept:/v", "--tmpfs", "/t", "busybox", "sh", "-c", "echo x > /v/file; cat /v/file"]);
        assert_eq!(said.out, "x\n", "{runtime}: {said:?}");
        let said = daemon.with_input(&["run", "-i", "--rm", "--runtime", runtime, "busybox", "cat"], b"in\n");
        assert_eq!(said.out, "in\n", "{runtime}: {said:?}");
    });
}

#[test]
fn a_life_with_execs_a_dead_daemon_and_a_dead_shim() {
    each("foreign-life", |daemon, runtime| {
        daemon.ok(&[
            "run",
            "-d",
            "--name",
            "one",
            "--runtime",
            runtime,
            "busybox",
            "sh",
            "-c",
            "echo here; exec sleep 1000",
        ]);
        assert_eq!(daemon.ok(&["inspect", "-f", "{{.HostConfig.Runtime}}", "one"]), runtime);
        let said = daemon.corten(&["exec", "one", "sh", "-c", "echo in; exit 5"]);
        assert_eq!((said.out.as_str(), said.code), ("in\n", 5), "{runtime}: {said:?}");
        assert_eq!(daemon.corten(&["exec", "one", "no-such-command"]).code, 127, "{runtime}");
        daemon.ok(&["pause", "one"]);
        daemon.ok(&["unpause", "one"]);
        // The daemon dies; the container does not notice.
        daemon.kill(daemon.daemon().expect("a daemon"));
        assert_eq!(daemon.ok(&["logs", "one"]), "here");
        assert_eq!(daemon.ok(&["exec", "one", "echo", "after"]), "after");
        daemon.ok(&["stop", "-t", "0", "one"]);
        assert_eq!(daemon.ok(&["inspect", "-f", "{{.State.ExitCode}}", "one"]), "137");
        // The shim dies; the container goes with it, and can be started again.
        daemon.ok(&["start", "one"]);
        let pid = daemon.ok(&["inspect", "-f", "{{.State.Pid}}", "one"]);
        daemon.kill(parent(&pid));
        let start = Instant::now();
        while daemon.ok(&["inspect", "-f", "{{.State.Running}}", "one"]) == "true" {
            assert!(start.elapsed() < Duration::from_secs(10), "{runtime}: it is still said to run");
            std::thread::sleep(Duration::from_millis(20));
        }
        daemon.ok(&["start", "one"]);
        daemon.ok(&["restart", "-t", "0", "one"]);
        daemon.ok(&["rm", "-f", "one"]);
    });
}

#[test]
fn a_runtime_that_is_not_there_is_refused() {
    let Some(daemon) = daemon_with("foreign-none", &["--add-runtime", "gone=/no/such/program"]) else {
        return;
    };
    let said = daemon.corten(&["run", "--rm", "--runtime", "nope", "busybox", "true"]);
    assert_eq!(said.code, 125, "{said:?}");
    assert!(said.err.contains("unknown or invalid runtime name: nope"), "{said:?}");
    let said = daemon.corten(&["run", "--rm", "--runtime", "gone", "busybox", "true"]);
    assert!(said.code != 0 && said.err.contains("cannot execute /no/such/program"), "{said:?}");
    assert!(daemon.ok(&["info"]).contains("gone"));
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
}

/// The parent of a process: its shim.
fn parent(pid: &str) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    fields.split_ascii_whitespace().nth(1).and_then(|field| field.parse().ok()).expect("a number")
}
