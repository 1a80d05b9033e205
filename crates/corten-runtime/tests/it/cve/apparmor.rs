//! AppArmor where the kernel has it, with a profile that AppArmor's own parser loads: what it stops, and that no volume and no link at
//! `/proc` keeps a container from being confined (CVE-2019-16884, CVE-2023-28642, CVE-2025-52881).

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use corten_runtime::HardeningStep;
use corten_testing::Scratch;

use crate::Test;
use crate::support::{Running, Trial, bind, link, make_folder};

pub(crate) const TESTS: &[Test] = &[
    ("apparmor_confines", confines),
    ("cve_2019_16884_2025_52881_a_volume_at_proc_does_not_unconfine", a_volume_does_not_unconfine),
    ("cve_2023_28642_a_link_at_proc_does_not_unconfine", a_link_does_not_unconfine),
];

const PROFILE: &str = "corten-test-loaded";

/// Loads the profile; false, and a word about it, where this kernel has no AppArmor.
fn loaded() -> bool {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    if !enabled.starts_with('Y') {
        eprintln!("left out: AppArmor is not on in this kernel");
        return false;
    }
    if !corten_testing::need("apparmor_parser", corten_testing::program("apparmor_parser")) {
        return false;
    }
    let text = format!(
        "profile {PROFILE} flags=(attach_disconnected,mediate_deleted) {{\n  network,\n  capability,\n  file,\n  umount,\n  \
         signal,\n  ptrace,\n  deny /tmp/forbidden w,\n  deny mount,\n}}\n"
    );
    let mut parser = Command::new("/usr/sbin/apparmor_parser")
        .args(["-K", "-r"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the parser starts");
    parser.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    assert!(parser.wait().expect("it ends").success(), "the profile is loaded");
    true
}

/// A container that lives long enough to be looked at.
fn sleeper() -> Trial {
    Trial::new("sleep 3000").process(|process| process.apparmor_profile = Some(PROFILE.into()))
}

/// What the kernel says of it, seen from outside.
fn confinement(running: Running) -> String {
    let label = fs::read_to_string(format!("/proc/{}/attr/current", running.launched.pid));
    running.finish();
    label.expect("it runs").trim_end_matches(['\0', '\n']).to_owned()
}

fn confines() {
    if !loaded() {
        return;
    }
    let commands = "cat /proc/self/attr/current; write /tmp/forbidden x; write /tmp/free x";
    let outcome =
        Trial::new(commands).process(|process| process.apparmor_profile = Some(PROFILE.into())).run();
    assert_eq!(outcome.get("/proc/self/attr/current"), format!("{PROFILE} (enforce)"));
    assert!(outcome.get("/tmp/forbidden").contains("permission denied"), "{outcome:?}");
    assert_eq!(outcome.get("/tmp/free"), "written");
    let outcome = Trial::new(commands).run();
    assert_eq!(outcome.get("/tmp/forbidden"), "written", "without it, it may");
    let confined = confinement(sleeper().start().expect("it starts"));
    assert_eq!(confined, format!("{PROFILE} (enforce)"));
}

/// A volume that looks like `/proc` where a runtime writes.
fn false_proc() -> Scratch {
    let data = Scratch::new("runtime-false-proc");
    fs::create_dir_all(data.path().join("self/attr/apparmor")).unwrap();
    for file in ["self/attr/exec", "self/attr/apparmor/exec"] {
        fs::write(data.path().join(file), "").unwrap();
    }
    data
}

fn swallowed(data: &Path) -> bool {
    ["self/attr/exec", "self/attr/apparmor/exec"]
        .iter()
        .any(|file| fs::read_to_string(data.join(file)).unwrap().contains(PROFILE))
}

fn a_volume_does_not_unconfine() {
    if !loaded() {
        return;
    }
    for covering in [true, false] {
        let data = false_proc();
        let hostile = || {
            sleeper().with(|trial| {
                if !covering {
                    trial.spec.mounts.retain(|mount| mount.destination != "/proc");
                }
                bind(trial, data.path(), "/proc", &["rbind"]);
            })
        };
        let error = hostile().refused();
        assert!(error.message.contains("because it is not of type proc"), "{error}");
        assert!(!swallowed(data.path()));
        // Without the step it runs, and the volume has the label that was the kernel's.
        let running = hostile().without(HardeningStep::CheckedProc).start().expect("it starts");
        assert_eq!(confinement(running), "unconfined");
        assert!(swallowed(data.path()));
    }
}

fn a_link_does_not_unconfine() {
    if !loaded() {
        return;
    }
    let data = false_proc();
    let hostile = || {
        sleeper().with(|trial| {
            rustix::fs::unlinkat(&trial.root, "proc", rustix::fs::AtFlags::REMOVEDIR).unwrap();
            make_folder(&trial.root, "volume");
            link(&trial.root, "proc", "/volume");
            bind(trial, data.path(), "/volume", &["rbind"]);
        })
    };
    let error = hostile().refused();
    assert!(error.message.contains("must be mounted on ordinary directory"), "{error}");
    assert!(!swallowed(data.path()));
    let running = hostile().without(HardeningStep::CheckedProc).start().expect("it starts");
    assert_eq!(confinement(running), "unconfined");
    assert!(swallowed(data.path()));
}
