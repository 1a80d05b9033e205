//! CVE-2019-5736: our own program, written to from inside through `/proc/PID/exe`.

use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use corten_oci::runtime::Process;
use corten_runtime::{Hardening, HardeningStep};
use corten_sys::mount;
use corten_sys::process::{self, StringVector};
use corten_testing::Scratch;

use crate::Test;
use crate::execs;
use crate::support::{Trial, own_program};

/// As this the test program starts a container and ends, so that nobody executes its file any more.
pub(crate) const LAUNCHER: &str = "launcher";
/// As this it is executed by an image whose command is the runtime itself.
pub(crate) const ITSELF: &str = "/proc/self/exe";

pub(crate) const TESTS: &[Test] = &[
    ("cve_2019_5736_the_program_behind_the_link_is_read_only", the_program_behind_the_link_is_read_only),
    ("cve_2019_5736_nobody_inside_sees_the_program_before_the_exec", nobody_sees_the_program_before_the_exec),
    ("cve_2019_5736_the_init_program_is_read_only", the_init_program_is_read_only),
];

/// Runs the launcher from a copy of this program, as the keeper runs itself (by a read-only mount) or plainly; gives what
/// the container said, and whether the copy is still whole.
fn attack(read_only: bool) -> (String, bool) {
    let scratch = Scratch::new("runtime-program");
    let copy = scratch.path().join("program");
    fs::copy(own_program(), &copy).unwrap();
    let length = fs::metadata(&copy).unwrap().len();
    let clone = mount::clone_read_only(&copy).unwrap();
    let path = if read_only { format!("/proc/self/fd/{}", clone.as_raw_fd()).into() } else { copy.clone() };
    let mut launcher = Command::new(path)
        .arg0(LAUNCHER)
        .arg(own_program())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    launcher.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    launcher.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    launcher.wait().unwrap();
    (said, fs::metadata(&copy).unwrap().len() == length)
}

fn the_program_behind_the_link_is_read_only() {
    let (said, whole) = attack(true);
    assert!(said.contains("reopen: error read-only filesystem or storage medium") && whole, "{said}");
    let (said, whole) = attack(false);
    assert!(said.contains("reopen: written") && !whole, "{said}");
}

/// The launcher: a container whose command is the runtime's own program.
pub(crate) fn launch_and_end() -> i32 {
    let Ok(output) = rustix::io::dup(rustix::stdio::stdout()) else { return 1 };
    let Ok(errors) = rustix::io::dup(rustix::stdio::stderr()) else { return 1 };
    let Ok(input) = fs::File::open("/dev/null") else { return 1 };
    let trial = Trial::new("").process(|process| process.args = vec![ITSELF.into()]);
    let stdio = corten_runtime::ChildStdio::Pipes { stdin: input.into(), stdout: output, stderr: errors };
    match trial.start_with(stdio) {
        Ok(_) => 0,
        Err(error) => {
            eprintln!("{error}");
            1
        }
    }
}

/// What the image's command does: it keeps its own program open, and has another one wait until it can be written.
pub(crate) fn keep_and_wait() -> i32 {
    let Ok(kept) = fs::File::open(ITSELF) else { return 2 };
    if rustix::io::fcntl_setfd(&kept, rustix::io::FdFlags::empty()).is_err() {
        return 3;
    }
    let words = ["probe".to_owned(), format!("reopen {}", kept.as_raw_fd())];
    let words = words.map(|word| std::ffi::CString::new(word).expect("no zero byte")).to_vec();
    let error = process::execute(c"/bin/probe", &StringVector::new(words), &StringVector::new(Vec::new()));
    eprintln!("{error}");
    4
}

fn nobody_sees_the_program_before_the_exec() {
    let stolen = |hardening: &Hardening| stolen(Trial::new("steal"), hardening);
    assert!(!stolen(&Hardening::all()), "the runtime's program was opened from inside");
    assert!(stolen(&Hardening::all().without(HardeningStep::NotDumpable)), "no attack to be stopped");
}

/// Whether a container whose command watches the processes that come into sight finds something in those of execs.
pub(crate) fn stolen(watcher: Trial, hardening: &Hardening) -> bool {
    let mut running = watcher.start().unwrap();
    let mut said = running.stdout.take().unwrap();
    // Wait until it looks.
    let mut first = [0; 6];
    said.read_exact(&mut first).unwrap();
    let mut found = false;
    for _ in 0..150 {
        // Many places to look for the command: the moment before the exec is a long one.
        let path = format!("PATH={}/bin", "/none:".repeat(4000));
        let process = Process { env: vec![path], ..execs::process_of("exit 0") };
        execs::run_with(&running, process, hardening.clone());
        let ready = rustix::event::PollFd::new(&said, rustix::event::PollFlags::IN);
        if rustix::event::poll(&mut [ready], Some(&rustix::time::Timespec::default())).unwrap() > 0 {
            found = said.read(&mut [0; 200]).unwrap_or(0) > 0;
            break;
        }
    }
    process::kill(running.launched.pid, rustix::process::Signal::KILL.as_raw()).unwrap();
    running.finish();
    found
}

fn the_init_program_is_read_only() {
    // What is bound at `/sbin/docker-init` is ours to protect, whatever the caller gave.
    let trial = || {
        Trial::new("mounted /sbin/docker-init; write /sbin/docker-init x; write /proc/1/exe x").with(
            |trial| {
                trial.init = true;
                trial.writable_init = true;
            },
        )
    };
    let outcome = trial().run();
    assert_eq!(outcome.get("mounted /sbin/docker-init"), "ro");
    assert!(outcome.get("/sbin/docker-init").starts_with("error"), "{outcome:?}");
    assert_ne!(outcome.get("/proc/1/exe"), "written");
    let outcome = trial().without(HardeningStep::ReadOnlyProgram).run();
    assert_eq!(outcome.get("mounted /sbin/docker-init"), "rw");
    assert!(fs::metadata(own_program()).unwrap().len() > 1);
}
