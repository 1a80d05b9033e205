//! CVE-2024-21626: descriptors of the host that a container's first program finds open.

use std::fs;
use std::os::fd::AsRawFd;

use corten_oci::runtime::Process;
use corten_runtime::{Hardening, HardeningStep, LaunchErrorKind};

use crate::Test;
use crate::execs;
use crate::support::{Trial, own_program, write_file};

pub(crate) const TESTS: &[Test] = &[
    ("cve_2024_21626_kept_descriptors_reach_nothing", kept_descriptors_reach_nothing),
    ("cve_2024_21626_the_working_folder_is_inside", the_working_folder_is_inside),
    ("cve_2024_21626_the_command_is_not_found_by_a_descriptor", the_command_is_not_found_by_a_descriptor),
];

/// A descriptor of the host's root, not close-on-exec, as a library may leave one.
fn leaked() -> fs::File {
    let host = fs::File::open("/").unwrap();
    rustix::io::fcntl_setfd(&host, rustix::io::FdFlags::empty()).unwrap();
    host
}

fn kept_descriptors_reach_nothing() {
    let host = leaked();
    let path = format!("/proc/self/fd/{}/etc/passwd", host.as_raw_fd());
    let outcome = Trial::new(&format!("cat {path}; list /proc/self/fd")).run();
    assert_eq!(outcome.get(&path), "error entity not found");
    assert_eq!(outcome.get("/proc/self/fd"), "0 1 2 3", "3 is the listing's own");
    let outcome = Trial::new(&format!("cat {path}")).without(HardeningStep::NoHostDescriptors).run();
    assert_eq!(outcome.get(&path), fs::read_to_string("/etc/passwd").unwrap().lines().next().unwrap());
}

fn the_working_folder_is_inside() {
    let host = leaked();
    let cwd = format!("/proc/self/fd/{}", host.as_raw_fd());
    // A start makes its folder, and such a path cannot be made.
    let error = Trial::new("cwd").process(|process| process.cwd.clone_from(&cwd)).refused();
    assert_eq!(error.kind, LaunchErrorKind::WorkingDirectory);
    // An exec only goes there.
    let running = Trial::new("sleep 60000").start().unwrap();
    let process = || Process { cwd: cwd.clone(), ..execs::process_of("cat etc/passwd") };
    let error = execs::refused(&running, process());
    assert_eq!(error.kind, LaunchErrorKind::WorkingDirectory);
    assert!(error.message.contains("possible container breakout detected"), "{error}");
    let hardening = Hardening::all().without(HardeningStep::CheckedWorkingDirectory);
    let outcome = execs::run_with(&running, process(), hardening);
    let first = fs::read_to_string("/etc/passwd").unwrap().lines().next().unwrap().to_owned();
    assert_eq!(outcome.get("etc/passwd"), first, "the host's file");
}

fn the_command_is_not_found_by_a_descriptor() {
    // Close-on-exec is not enough: an exec looks for its program first.
    let host = fs::File::open("/").unwrap();
    let command = format!("/proc/self/fd/{}{}", host.as_raw_fd(), own_program());
    let script = format!("#!{command}\n");
    let trial = || Trial::new("id").with(|trial| write_file(&trial.root, "script", script.as_bytes()));
    for program in [command.as_str(), "/script"] {
        let outcome = trial().process(|process| program.clone_into(&mut process.args[0])).run();
        assert_eq!((outcome.code, outcome.stdout.as_str()), (255, ""), "{program}");
        assert!(outcome.stderr.contains("no such file or directory"), "{}", outcome.stderr);
    }
    let outcome = trial()
        .process(|process| process.args[0].clone_from(&command))
        .without(HardeningStep::NoHostDescriptors)
        .run();
    // A program of the host ran inside, with whatever code.
    assert!(!outcome.stderr.contains("no such file or directory"), "{}", outcome.stderr);
    // A hardening that leaves nothing out is the default.
    assert_eq!(Hardening::default(), Hardening::all());
}
