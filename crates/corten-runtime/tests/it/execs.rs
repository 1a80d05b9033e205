//! Further processes in a running container.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use corten_oci::runtime::{Process, User};
use corten_runtime::{ChildStdio, ExecRequest, Hardening, HardeningStep, LaunchErrorKind, exec};
use corten_sys::process;

use crate::Test;
use crate::support::{Outcome, Running, Trial, manager};

pub(crate) const TESTS: &[Test] = &[
    ("a_seat_makes_the_same_container", a_seat_makes_the_same_container),
    ("an_exec_is_inside", an_exec_is_inside),
    ("an_exec_has_its_own_user_and_folder", an_exec_has_its_own_user_and_folder),
    ("an_exec_can_have_a_terminal", an_exec_can_have_a_terminal),
    ("an_exec_is_hidden_until_it_is_inside", an_exec_is_hidden_until_it_is_inside),
    ("a_hidden_exec_is_an_exec", a_hidden_exec_is_an_exec),
    ("exec_errors_are_told", exec_errors_are_told),
    ("a_stopped_container_takes_no_exec", a_stopped_container_takes_no_exec),
];

pub(crate) fn process_of(commands: &str) -> Process {
    Process {
        args: vec!["probe".into(), commands.into()],
        env: vec!["PATH=/bin".into()],
        cwd: "/".into(),
        capabilities: Trial::new("").spec.process.unwrap().capabilities,
        ..Process::default()
    }
}

pub(crate) fn run(running: &Running, process: Process) -> Outcome {
    run_with(running, process, Hardening::all())
}

pub(crate) fn run_with(running: &Running, process: Process, hardening: Hardening) -> Outcome {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let stdio = ChildStdio::Pipes {
        stdin: File::open("/dev/null").unwrap().into(),
        stdout: write.try_clone().unwrap(),
        stderr: write,
    };
    let request =
        ExecRequest { process, stdio, cgroup: &running.handle, seccomp: running.filter.as_ref(), hardening };
    let launched = match &running.seat {
        Some(seat) => seat.exec(&running.container(), request),
        None => exec(&running.container(), request),
    }
    .unwrap_or_else(|error| panic!("{:?}: {error}", error.stage));
    let mut outcome = Outcome { stdout: String::new(), stderr: String::new(), code: 0 };
    File::from(read).read_to_string(&mut outcome.stdout).unwrap();
    outcome.code = process::wait(launched.pid).unwrap().shell_code();
    outcome
}

fn an_exec_is_inside() {
    let running = Trial::new("sleep 60000").start().unwrap();
    let namespaces = ["mnt", "pid", "net", "ipc", "uts"];
    let links: Vec<String> = namespaces.iter().map(|name| format!("link /proc/self/ns/{name}")).collect();
    let outcome = run(
        &running,
        process_of(&format!(
            "{}; cat /proc/self/status; cat /proc/self/cgroup; list /proc/self/fd; exit 5",
            links.join(";")
        )),
    );
    assert_eq!(outcome.code, 5);
    for name in namespaces {
        let theirs = std::fs::read_link(format!("/proc/{}/ns/{name}", running.launched.pid)).unwrap();
        assert_eq!(outcome.get(&format!("/proc/self/ns/{name}")), theirs.to_str().unwrap());
    }
    assert!(outcome.stdout.contains("CapBnd:\t00000000a80425fb"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("Seccomp:\t2"), "{}", outcome.stdout);
    assert_eq!(outcome.get("/proc/self/fd"), "0 1 2 3");
    let of = |text: &str| text.lines().filter(|line| line.contains("/corten-test/")).count();
    let theirs = std::fs::read_to_string(format!("/proc/{}/cgroup", running.launched.pid)).unwrap();
    assert!(of(&theirs) > 0 && of(&outcome.stdout) >= of(&theirs) - 1, "{}", outcome.stdout);
}

fn an_exec_has_its_own_user_and_folder() {
    let running = Trial::new("sleep 60000").start().unwrap();
    let outcome = run(
        &running,
        Process {
            user: User { username: Some("bob:root".into()), ..User::default() },
            cwd: "/tmp".into(),
            ..process_of("id; cwd; env HOME; cat /proc/self/status")
        },
    );
    assert_eq!((outcome.get("uid"), outcome.get("cwd")), ("1000 gid=0 groups=[0]", "/tmp"));
    assert_eq!(outcome.get("HOME"), "/home/bob");
    assert!(outcome.stdout.contains("CapEff:\t0000000000000000"), "{}", outcome.stdout);
}

fn an_exec_can_have_a_terminal() {
    let running = Trial::new("sleep 60000").start().unwrap();
    let launched = exec(
        &running.container(),
        ExecRequest {
            process: Process { terminal: true, ..process_of("ttyname") },
            stdio: ChildStdio::Terminal,
            cgroup: &running.handle,
            seccomp: None,
            hardening: Hardening::all(),
        },
    )
    .unwrap();
    let mut output = Vec::new();
    let _ = File::from(launched.terminal.unwrap()).read_to_end(&mut output);
    assert_eq!(String::from_utf8_lossy(&output), "tty: /dev/pts/0\r\n");
    assert_eq!(process::wait(launched.pid).unwrap().shell_code(), 0);
}

/// A container that may look into every process it sees.
fn tracing(commands: &str) -> Trial {
    Trial::new(commands).process(|process| {
        let sets = process.capabilities.as_mut().unwrap();
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.push("CAP_SYS_PTRACE".into());
        }
    })
}

fn an_exec_is_hidden_until_it_is_inside() {
    use crate::cve::program::stolen;
    assert!(!stolen(tracing("trace"), &Hardening::all()), "something of the host was seen");
    let without = Hardening::all().without(HardeningStep::HiddenExec);
    assert!(stolen(tracing("trace"), &without), "no attack to be stopped");
}

fn a_hidden_exec_is_an_exec() {
    for seated in [false, true] {
        let running = tracing("sleep 60000").with(|trial| trial.seated = seated).start().unwrap();
        let outcome = run(
            &running,
            process_of(
                "link /proc/self/ns/pid; link /proc/self/ns/mnt; cat /proc/self/status; list /proc/self/fd; cat /proc/self/cgroup; exit 5",
            ),
        );
        assert_eq!(outcome.code, 5);
        for name in ["pid", "mnt"] {
            let theirs = std::fs::read_link(format!("/proc/{}/ns/{name}", running.launched.pid)).unwrap();
            assert_eq!(outcome.get(&format!("/proc/self/ns/{name}")), theirs.to_str().unwrap());
        }
        assert!(outcome.stdout.contains("CapBnd:\t00000000a80425fb"), "{}", outcome.stdout);
        assert!(
            outcome.stdout.contains("Seccomp:\t2") && outcome.stdout.contains("PPid:\t0"),
            "{}",
            outcome.stdout
        );
        assert_eq!(outcome.get("/proc/self/fd"), "0 1 2 3");
        // With version 2 alone it sees its own cgroup as the root.
        let cgroup = outcome.get("/proc/self/cgroup");
        let of_version_two = cgroup == "0::/" && !outcome.stdout.contains("cgroup: 1:");
        assert!(of_version_two || outcome.stdout.contains("/corten-test/"), "{}", outcome.stdout);
        // With a terminal, and with an error.
        let launched = exec(
            &running.container(),
            ExecRequest {
                process: Process { terminal: true, ..process_of("ttyname") },
                stdio: ChildStdio::Terminal,
                cgroup: &running.handle,
                seccomp: None,
                hardening: Hardening::all(),
            },
        )
        .unwrap();
        let mut output = Vec::new();
        let _ = File::from(launched.terminal.unwrap()).read_to_end(&mut output);
        assert_eq!(String::from_utf8_lossy(&output), "tty: /dev/pts/0\r\n");
        assert_eq!(process::wait(launched.pid).unwrap().shell_code(), 0);
        let missing = Process { args: vec!["missing".into()], ..process_of("") };
        assert_eq!(refused(&running, missing).kind, LaunchErrorKind::CommandNotFound);
        // Only the container and its seat are left of our children.
        assert!(matches!(process::reap_any(), Ok(None)));
    }
}

pub(crate) fn refused(running: &Running, process: Process) -> corten_runtime::LaunchError {
    let null = || File::options().read(true).write(true).open("/dev/null").unwrap().into();
    let request = ExecRequest {
        process,
        stdio: ChildStdio::Pipes { stdin: null(), stdout: null(), stderr: null() },
        cgroup: &running.handle,
        seccomp: None,
        hardening: Hardening::all(),
    };
    exec(&running.container(), request).expect_err("the exec fails")
}

fn exec_errors_are_told() {
    let running = Trial::new("sleep 60000").start().unwrap();
    let error = refused(&running, Process { args: vec!["ghost".into()], ..process_of("") });
    assert_eq!(error.message, "exec: \"ghost\": executable file not found in $PATH");
    let error = refused(&running, Process { cwd: "/nowhere".into(), ..process_of("") });
    assert_eq!(
        error.message,
        "chdir to cwd (\"/nowhere\") set in config.json failed: no such file or directory"
    );
    let user = User { username: Some("ghost".into()), ..User::default() };
    let error = refused(&running, Process { user, ..process_of("") });
    assert_eq!(error.message, "unable to find user ghost: no matching entries in passwd file");
}

fn a_stopped_container_takes_no_exec() {
    let running = Trial::new("sleep 60000").start().unwrap();
    process::pidfd_send_signal(running.launched.pidfd.as_fd(), 9).unwrap();
    while std::fs::read_to_string(format!("/proc/{}/stat", running.launched.pid)).unwrap().contains(") S ") {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(refused(&running, process_of("")).kind, LaunchErrorKind::NotRunning);
    process::wait(running.launched.pid).unwrap();
    assert_eq!(refused(&running, process_of("")).kind, LaunchErrorKind::NotRunning);
}

fn a_seat_makes_the_same_container() {
    let running = Trial::new("cat /proc/self/status; cat /proc/self/cgroup; list /proc/self/fd; sleep 60000")
        .with(|trial| {
            trial.seated = true;
            trial.limits.pids = Some(corten_oci::runtime::LinuxPids { limit: 20 });
        })
        .start()
        .unwrap();
    let outcome = run(&running, process_of("list /proc/self/fd; link /proc/self/ns/pid; exit 6"));
    assert_eq!((outcome.code, outcome.get("/proc/self/fd")), (6, "0 1 2 3"));
    let theirs = std::fs::read_link(format!("/proc/{}/ns/pid", running.launched.pid)).unwrap();
    assert_eq!(outcome.get("/proc/self/ns/pid"), theirs.to_str().unwrap());
    assert_eq!(running.cgroup.processes().unwrap(), [running.launched.pid]);
    let stats = running.cgroup.stats().unwrap();
    assert_eq!((stats.pids_limit, stats.pids), (20, 1));
    let error = running
        .seat
        .as_ref()
        .unwrap()
        .exec(
            &running.container(),
            ExecRequest {
                process: Process { args: vec!["ghost".into()], ..process_of("") },
                stdio: ChildStdio::Terminal,
                cgroup: &running.handle,
                seccomp: None,
                hardening: Hardening::all(),
            },
        )
        .unwrap_err();
    assert_eq!(error.message, "exec: \"ghost\": executable file not found in $PATH");
    running.cgroup.kill_all().unwrap();
    let outcome = running.finish();
    assert_eq!((outcome.code, outcome.get("/proc/self/fd")), (137, "0 1 2 3"));
    // Version 1 shows the place in the host's tree, version 2 alone the top of its own.
    let alone = manager().hierarchies().legacy.is_empty();
    let place = if alone { "/proc/self/cgroup: 0::/\n" } else { "/corten-test/trial-" };
    assert!(outcome.stdout.contains(place), "{}", outcome.stdout);
}
