//! CVE-2022-29162: capabilities that a process may pass on to programs marked for it.

use rustix::fs::XattrFlags;

use crate::Test;
use crate::execs;
use crate::support::{Trial, own_program};

pub(crate) const TESTS: &[Test] = &[
    ("cve_2022_29162_nothing_is_inheritable", nothing_is_inheritable),
    ("cve_2022_29162_what_an_inheritable_set_would_do", what_an_inheritable_set_would_do),
];

fn nothing_is_inheritable() {
    let none = "CapInh:\t0000000000000000";
    let outcome = Trial::new("cat /proc/self/status").run();
    assert!(outcome.stdout.contains(none), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("CapAmb:\t0000000000000000"), "{}", outcome.stdout);
    let running = Trial::new("sleep 60000").start().unwrap();
    let mut process = execs::process_of("cat /proc/self/status");
    assert!(execs::run(&running, process.clone()).stdout.contains(none));
    // As `exec --privileged` asks for it.
    let mut spec = Trial::new("").spec;
    corten_runtime::make_privileged(&mut spec);
    process.capabilities = spec.process.unwrap().capabilities;
    let outcome = execs::run(&running, process);
    assert!(outcome.stdout.contains(none), "{}", outcome.stdout);
    assert!(!outcome.stdout.contains("CapEff:\t00000000a80425fb"), "{}", outcome.stdout);
}

/// A user without any right, and a program that the image marks with an inheritable capability.
fn what_an_inheritable_set_would_do() {
    let trial = |inheritable: &[&str]| {
        Trial::new("").with(|trial| {
            let content = std::fs::read(own_program()).unwrap();
            let file = rustix::fs::openat(
                &trial.root,
                "marked-probe",
                rustix::fs::OFlags::CREATE | rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
                rustix::fs::Mode::from_raw_mode(0o755),
            )
            .unwrap();
            std::io::Write::write_all(&mut std::fs::File::from(file.try_clone().unwrap()), &content).unwrap();
            // `struct vfs_cap_data`, revision 2, effective: nothing permitted, CAP_CHOWN inheritable.
            let words: [u32; 5] = [0x0200_0001, 0, 1, 0, 0];
            let mark: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            rustix::fs::fsetxattr(&file, "security.capability", &mark, XattrFlags::empty()).unwrap();
            drop(file);
            let process = trial.spec.process.as_mut().unwrap();
            process.args = vec!["/marked-probe".into(), "cat /proc/self/status".into()];
            process.user.username = Some("bob".into());
            let names = inheritable.iter().map(|&name| name.to_owned()).collect();
            process.capabilities.as_mut().unwrap().inheritable = names;
        })
    };
    let outcome = trial(&[]).run();
    assert!(outcome.stdout.contains("CapEff:\t0000000000000000"), "{outcome:?}");
    // What Docker once asked for: the program has the right although its user has none.
    let outcome = trial(&["CAP_CHOWN"]).run();
    assert!(outcome.stdout.contains("CapEff:\t0000000000000001"), "{outcome:?}");
}
