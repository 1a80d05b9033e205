//! A `/proc` that is not one: CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-52881.

use std::fs;
use std::path::Path;

use corten_runtime::{HardeningStep, LaunchErrorKind};
use corten_testing::Scratch;

use crate::Test;
use crate::cve::Swapper;
use crate::support::{Trial, bind, link, make_folder, write_file};

pub(crate) const TESTS: &[Test] = &[
    ("cve_2019_16884_a_volume_at_proc_is_refused", a_volume_at_proc_is_refused),
    ("cve_2019_16884_proc_is_not_covered", proc_is_not_covered),
    ("cve_2019_19921_a_link_at_proc_is_refused", a_link_at_proc_is_refused),
    ("cve_2023_27561_proc_exchanged_while_starting", proc_exchanged_while_starting),
    ("cve_2023_28642_a_link_at_proc_takes_no_label", a_link_at_proc_takes_no_label),
    ("cve_2025_52881_settings_reach_the_kernel_or_nothing", settings_reach_the_kernel_or_nothing),
];

const SYSCTL: &str = "net.ipv4.ip_unprivileged_port_start";

/// A volume that looks like `/proc` where a runtime writes.
fn false_proc(name: &str) -> Scratch {
    let data = Scratch::new(name);
    fs::create_dir_all(data.path().join("self/attr")).unwrap();
    fs::create_dir_all(data.path().join("sys/net/ipv4")).unwrap();
    fs::write(data.path().join("self/attr/exec"), "").unwrap();
    fs::write(data.path().join("victim"), "").unwrap();
    let setting = data.path().join("sys/net/ipv4/ip_unprivileged_port_start");
    std::os::unix::fs::symlink("/proc/victim", setting).unwrap();
    data
}

fn read(data: &Scratch, file: &str) -> String {
    fs::read_to_string(data.path().join(file)).unwrap()
}

/// The image has a volume at `/proc`; `covering` decides whether a real one is below it.
fn with_volume(data: &Scratch, covering: bool) -> Trial {
    Trial::new("exit 0").with(|trial| {
        if !covering {
            trial.spec.mounts.retain(|mount| mount.destination != "/proc");
        }
        bind(trial, data.path(), "/proc", &["rbind"]);
    })
}

fn a_volume_at_proc_is_refused() {
    let data = false_proc("runtime-false-proc");
    let labelled = |covering| {
        with_volume(&data, covering).process(|process| process.apparmor_profile = Some("corten-test".into()))
    };
    for covering in [true, false] {
        let error = with_volume(&data, covering).refused();
        assert!(error.message.contains("cannot be mounted because it is not of type proc"), "{error}");
        // The label is written first, to the host's own: what is refused is the profile that nobody loaded.
        let error = labelled(covering).refused();
        assert!(error.message.contains("apply apparmor profile"), "{error}");
        assert_eq!(read(&data, "self/attr/exec"), "");
        // Without the step the container runs, and nobody confines it.
        labelled(covering).without(HardeningStep::CheckedProc).run();
        assert_eq!(read(&data, "self/attr/exec"), "exec corten-test");
        fs::write(data.path().join("self/attr/exec"), "").unwrap();
    }
}

fn proc_is_not_covered() {
    let data = Scratch::new("runtime-data");
    for destination in ["/proc/sys", "/proc/self/attr", "/link/sys"] {
        let hostile = || {
            Trial::new("list /proc/sys").with(|trial| {
                link(&trial.root, "link", "proc");
                bind(trial, data.path(), destination, &["rbind"]);
            })
        };
        let error = hostile().refused();
        assert!(error.message.contains("inside /proc"), "{destination}: {error}");
        if destination == "/proc/sys" {
            assert_eq!(hostile().without(HardeningStep::CheckedProc).run().get("/proc/sys"), "");
        }
    }
    fs::write(data.path().join("info"), "MemTotal: 1 kB").unwrap();
    let outcome = Trial::new("cat /proc/meminfo")
        .with(|trial| bind(trial, &data.path().join("info"), "/proc/meminfo", &["rbind"]))
        .run();
    assert_eq!(outcome.get("/proc/meminfo"), "MemTotal: 1 kB");
    // A proc filesystem may cover it, as with the host's pid namespace.
    let outcome =
        Trial::new("stat /proc/self/attr").with(|trial| bind(trial, Path::new("/proc"), "/proc", &["rbind"]));
    assert!(outcome.run().get("/proc/self/attr").starts_with("d "));
}

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
        .without(HardeningStep::CheckedProc)
        .with(|trial| {
            trial.spec.linux.as_mut().unwrap().masked_paths.clear();
            trial.spec.linux.as_mut().unwrap().readonly_paths.clear();
        })
        .run();
    assert!(outcome.get("/etc").contains("self"), "{outcome:?}");
}

fn proc_exchanged_while_starting() {
    let (mut started, mut refused) = (0, 0);
    for _ in 0..25 {
        let mut swapper = None;
        let mut kept = None;
        let setting = format!("/proc/sys/{}", SYSCTL.replace('.', "/"));
        let trial = Trial::new(&format!("cat {setting}")).with(|trial| {
            for folder in ["evil", "evil/sys", "evil/sys/net", "evil/sys/net/ipv4", "evil/self"] {
                make_folder(&trial.root, folder);
            }
            write_file(&trial.root, "evil/sys/net/ipv4/ip_unprivileged_port_start", b"old");
            link(&trial.root, "other", "/evil");
            swapper = Some(Swapper::start(&trial.root, "proc", "other"));
            trial.spec.linux.as_mut().unwrap().sysctl.insert(SYSCTL.into(), "80".into());
            kept = Some(trial.root.try_clone().unwrap());
        });
        match trial.start().map(crate::support::Running::finish) {
            Ok(_) => started += 1,
            Err(_) => refused += 1,
        }
        drop(swapper);
        // Whatever came of it, what was to be the kernel's was never written into the image's file.
        let file = rustix::fs::openat(
            kept.unwrap(),
            "evil/sys/net/ipv4/ip_unprivileged_port_start",
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut fs::File::from(file), &mut text).unwrap();
        assert_eq!(text, "old");
    }
    assert!(started + refused == 25 && refused > 0, "{started} started, {refused} refused");
}

fn a_link_at_proc_takes_no_label() {
    let data = false_proc("runtime-false-proc");
    // `/proc` is mounted through a link, and the volume that comes later covers the place where it went.
    let hostile = || {
        Trial::new("exit 0").process(|process| process.apparmor_profile = Some("corten-test".into())).with(
            |trial| {
                rustix::fs::unlinkat(&trial.root, "proc", rustix::fs::AtFlags::REMOVEDIR).unwrap();
                make_folder(&trial.root, "volume");
                link(&trial.root, "proc", "/volume");
                bind(trial, data.path(), "/volume", &["rbind"]);
            },
        )
    };
    let error = hostile().process(|process| process.apparmor_profile = None).refused();
    assert!(error.message.contains("must be mounted on ordinary directory"), "{error}");
    assert!(hostile().refused().message.contains("apply apparmor profile"));
    assert_eq!(read(&data, "self/attr/exec"), "");
    hostile().without(HardeningStep::CheckedProc).run();
    assert_eq!(read(&data, "self/attr/exec"), "exec corten-test");
}

fn settings_reach_the_kernel_or_nothing() {
    let data = false_proc("runtime-false-proc");
    let hostile = || {
        with_volume(&data, true)
            .with(|trial| drop(trial.spec.linux.as_mut().unwrap().sysctl.insert(SYSCTL.into(), "80".into())))
    };
    hostile().refused();
    assert_eq!(read(&data, "victim"), "");
    // Without the step the value goes where a link of the container's leads: on a real system to
    // `/proc/sysrq-trigger` or `/proc/sys/kernel/core_pattern`.
    hostile().without(HardeningStep::CheckedProc).run();
    assert_eq!(read(&data, "victim"), "80");
    // An ordinary one does as it was told.
    let path = format!("/proc/sys/{}", SYSCTL.replace('.', "/"));
    let outcome = Trial::new(&format!("cat {path}"))
        .with(|trial| drop(trial.spec.linux.as_mut().unwrap().sysctl.insert(SYSCTL.into(), "80".into())))
        .run();
    assert_eq!(outcome.get(&path), "80");
    // A name that wants out of `/proc/sys`.
    for name in ["../sysrq-trigger", "kernel/../../sysrq-trigger", "..sysrq-trigger"] {
        let error = Trial::new("exit 0")
            .with(|trial| drop(trial.spec.linux.as_mut().unwrap().sysctl.insert(name.into(), "h".into())))
            .refused();
        assert!(error.message.contains("no name of a kernel parameter"), "{name}: {error}");
    }
}
