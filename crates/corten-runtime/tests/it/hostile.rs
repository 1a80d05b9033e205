//! Images that try to get out, and what each hardening step is for.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;

use corten_runtime::{Hardening, HardeningStep, LaunchErrorKind};
use corten_testing::Scratch;

use crate::Test;
use crate::support::{Trial, bind, link, make_folder, write_file};

pub(crate) const TESTS: &[Test] = &[
    ("a_link_at_proc_is_refused", a_link_at_proc_is_refused),
    ("links_at_mount_targets_stay_inside", links_at_mount_targets_stay_inside),
    ("proc_is_not_covered", proc_is_not_covered),
    ("a_false_null_device_is_refused", a_false_null_device_is_refused),
    ("kept_descriptors_reach_nothing", kept_descriptors_reach_nothing),
    ("the_command_is_not_found_by_a_descriptor", the_command_is_not_found_by_a_descriptor),
    ("a_pipe_as_passwd_does_not_block", a_pipe_as_passwd_does_not_block),
    ("our_program_cannot_be_written", our_program_cannot_be_written),
    ("unmasked_paths_tell_about_the_host", unmasked_paths_tell_about_the_host),
];

fn a_link_at_proc_is_refused() {
    let hostile = || {
        Trial::new("list /etc").with(|trial| {
            rustix::fs::unlinkat(&trial.root, "proc", rustix::fs::AtFlags::REMOVEDIR).unwrap();
            link(&trial.root, "proc", "/etc");
        })
    };
    let error = hostile().refused();
    assert_eq!(error.kind, LaunchErrorKind::Mount { destination: "/proc".into() });
    assert!(error.message.contains("must be mounted on ordinary directory"), "{error}");
    // Without the step the image decides where the kernel's interface is.
    let outcome = hostile()
        .with(|trial| {
            trial.hardening = Hardening::all().without(HardeningStep::CheckedProc);
            trial.spec.linux.as_mut().unwrap().masked_paths.clear();
            trial.spec.linux.as_mut().unwrap().readonly_paths.clear();
        })
        .run();
    assert!(outcome.get("/etc").contains("self"), "{outcome:?}");
}

fn links_at_mount_targets_stay_inside() {
    let (data, outside) = (Scratch::new("runtime-data"), Scratch::new("runtime-outside"));
    fs::write(data.path().join("secret"), "mounted").unwrap();
    let target = format!("../../../../..{}", outside.path().display());
    let outcome = Trial::new(&format!(
        "cat {}/secret; cat {}/x/secret",
        outside.path().display(),
        outside.path().display()
    ))
    .with(|trial| {
        link(&trial.root, "relative", &target);
        link(&trial.root, "absolute", outside.path().join("x").to_str().unwrap());
        bind(trial, data.path(), "/relative", &["rbind"]);
        bind(trial, data.path(), "/absolute", &["rbind"]);
    })
    .run();
    assert!(fs::read_dir(outside.path()).unwrap().next().is_none(), "something was made outside");
    // Both were made below the container's root.
    for inside in ["secret", "x/secret"] {
        assert_eq!(outcome.get(&format!("{}/{inside}", outside.path().display())), "mounted");
    }
}

fn proc_is_not_covered() {
    let data = Scratch::new("runtime-data");
    for destination in ["/proc/sys", "/proc/self/attr", "/link/sys"] {
        let error = Trial::new("")
            .with(|trial| {
                link(&trial.root, "link", "proc");
                bind(trial, data.path(), destination, &["rbind"]);
            })
            .refused();
        assert!(error.message.contains("inside /proc"), "{destination}: {error}");
    }
    fs::write(data.path().join("info"), "MemTotal: 1 kB").unwrap();
    let outcome = Trial::new("cat /proc/meminfo")
        .with(|trial| bind(trial, &data.path().join("info"), "/proc/meminfo", &["rbind"]))
        .run();
    assert_eq!(outcome.get("/proc/meminfo"), "MemTotal: 1 kB");
}

fn a_false_null_device_is_refused() {
    let dev = Scratch::new("runtime-dev");
    fs::write(dev.path().join("null"), "not a device").unwrap();
    let hostile = || {
        Trial::new("cat /proc/timer_list").with(|trial| {
            trial.spec.mounts.retain(|mount| !mount.destination.starts_with("/dev"));
            bind(trial, dev.path(), "/dev", &["rbind"]);
        })
    };
    assert!(hostile().refused().message.contains("/dev/null is not the null device"));
    let outcome =
        hostile().with(|trial| trial.hardening = Hardening::all().without(HardeningStep::CheckedMasks)).run();
    assert_eq!(outcome.get("/proc/timer_list"), "not a device");
}

fn kept_descriptors_reach_nothing() {
    // A descriptor of the host's root, not close-on-exec, as a library may leave one.
    let host = fs::File::open("/").unwrap();
    rustix::io::fcntl_setfd(&host, rustix::io::FdFlags::empty()).unwrap();
    let number = host.as_raw_fd();
    let path = format!("/proc/self/fd/{number}/etc/passwd");
    let outcome = Trial::new(&format!("cat {path}")).run();
    assert_eq!(outcome.get(&path), "error entity not found");
    let outcome = Trial::new(&format!("cat {path}"))
        .with(|trial| trial.hardening = Hardening::all().without(HardeningStep::NoHostDescriptors))
        .run();
    assert_eq!(outcome.get(&path), fs::read_to_string("/etc/passwd").unwrap().lines().next().unwrap());
    // The same by the working folder.
    let cwd = format!("/proc/self/fd/{number}");
    let error = Trial::new("cwd").process(|process| process.cwd.clone_from(&cwd)).refused();
    assert_eq!(error.kind, LaunchErrorKind::WorkingDirectory);
}

fn the_command_is_not_found_by_a_descriptor() {
    // Close-on-exec is not enough: an exec looks for its program first.
    let host = fs::File::open("/").unwrap();
    let number = host.as_raw_fd();
    let command = format!("/proc/self/fd/{number}{}", crate::support::own_program());
    let script = format!("#!{command}\n");
    let trial = || {
        Trial::new("id").with(|trial| {
            write_file(&trial.root, "script", script.as_bytes());
        })
    };
    for program in [command.as_str(), "/script"] {
        let outcome = trial().process(|process| program.clone_into(&mut process.args[0])).run();
        assert_eq!((outcome.code, outcome.stdout.as_str()), (255, ""), "{program}");
        assert!(outcome.stderr.contains("no such file or directory"), "{}", outcome.stderr);
    }
    let outcome = trial()
        .process(|process| process.args[0].clone_from(&command))
        .with(|trial| trial.hardening = Hardening::all().without(HardeningStep::NoHostDescriptors))
        .run();
    // A program of the host ran inside, with whatever code.
    assert!(!outcome.stderr.contains("no such file or directory"), "{}", outcome.stderr);
}

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
    assert_eq!(outcome.get("uid"), "0 gid=0 groups=[]");
}

fn our_program_cannot_be_written() {
    let outcome = Trial::new("write /sbin/docker-init x; write /proc/1/exe x")
        .with(|trial| {
            make_folder(&trial.root, "x");
            trial.init = true;
        })
        .run();
    assert_ne!(outcome.get("/sbin/docker-init"), "written");
    assert_ne!(outcome.get("/proc/1/exe"), "written");
    assert!(Path::new(&crate::support::own_program()).metadata().unwrap().len() > 1);
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
