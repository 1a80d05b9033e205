//! Images that try to get in the way, and what the walls hide. Published attacks are in `cve`.

use corten_runtime::{Hardening, HardeningStep};

use crate::Test;
use crate::support::{Trial, write_file};

pub(crate) const TESTS: &[Test] = &[
    ("a_pipe_as_passwd_does_not_block", a_pipe_as_passwd_does_not_block),
    ("unmasked_paths_tell_about_the_host", unmasked_paths_tell_about_the_host),
];

fn a_pipe_as_passwd_does_not_block() {
    let outcome = Trial::new("id")
        .with(|trial| {
            rustix::fs::unlinkat(&trial.root, "etc/passwd", rustix::fs::AtFlags::empty()).unwrap();
            rustix::fs::mknodat(
                &trial.root,
                "etc/passwd",
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::from_raw_mode(0o644),
                0,
            )
            .unwrap();
        })
        .run();
    assert_eq!(outcome.get("uid"), "0 gid=0 groups=[0]");
}

fn unmasked_paths_tell_about_the_host() {
    for (step, command, key) in [
        (HardeningStep::MaskedPaths, "stat /proc/interrupts", "/proc/interrupts"),
        (HardeningStep::ReadonlyPaths, "write /proc/sys/kernel/hostname x", "/proc/sys/kernel/hostname"),
        (HardeningStep::Seccomp, "unshare", "unshare"),
    ] {
        let with = Trial::new(command).run();
        let without = Trial::new(command)
            .with(|trial| {
                write_file(&trial.root, "etc/hostname", b"");
                trial.hardening = Hardening::all().without(step);
            })
            .run();
        assert_ne!(with.get(key), without.get(key), "{step:?}");
    }
}
