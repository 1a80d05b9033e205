//! Mounts that land elsewhere: CVE-2021-30465, CVE-2024-45310, CVE-2025-31133, CVE-2025-52565.

use std::fs;
use std::io::Read;

use corten_runtime::{ChildStdio, HardeningStep};
use corten_testing::Scratch;

use crate::Test;
use crate::cve::Swapper;
use crate::support::{Trial, bind, link, make_folder};

pub(crate) const TESTS: &[Test] = &[
    ("cve_2021_30465_links_at_mount_targets_stay_inside", links_at_mount_targets_stay_inside),
    ("cve_2021_30465_targets_exchanged_while_mounting", targets_exchanged_while_mounting),
    ("cve_2024_45310_nothing_is_made_outside", nothing_is_made_outside),
    ("cve_2025_31133_masks_are_of_the_null_device", masks_are_of_the_null_device),
    ("cve_2025_52565_the_console_covers_nothing_else", the_console_covers_nothing_else),
];

fn links_at_mount_targets_stay_inside() {
    let (data, outside) = (Scratch::new("runtime-data"), Scratch::new("runtime-outside"));
    fs::write(data.path().join("secret"), "mounted").unwrap();
    let outside = outside.path();
    let climb = format!("../../../../..{}", outside.display());
    let trial = |relative: bool| {
        Trial::new(&format!("cat {0}/secret; cat {0}/x/secret", outside.display())).with(|trial| {
            link(&trial.root, "relative", &climb);
            link(&trial.root, "absolute", outside.to_str().unwrap());
            if relative {
                bind(trial, data.path(), "/relative", &["rbind"]);
            }
            bind(trial, data.path(), "/absolute/x", &["rbind"]);
        })
    };
    // Either step is enough by itself.
    for trial in [trial(true), trial(true).without(HardeningStep::RootBeforeMounts)] {
        let outcome = trial.run();
        assert!(fs::read_dir(outside).unwrap().next().is_none(), "something was made outside");
        for inside in ["secret", "x/secret"] {
            assert_eq!(outcome.get(&format!("{}/{inside}", outside.display())), "mounted");
        }
    }
    // The links lead to what is not there: a runtime that follows them by text makes nothing of them inside.
    let _ = trial(true).without(HardeningStep::ResolveInRoot).start().map(crate::support::Running::finish);
    assert!(fs::read_dir(outside).unwrap().next().is_none(), "something was made outside");
    // Without both the mounts are made over the host's folders, and the container does not see them.
    let outcome =
        trial(false).without(HardeningStep::ResolveInRoot).without(HardeningStep::RootBeforeMounts).run();
    assert!(outcome.get(&format!("{}/x/secret", outside.display())).starts_with("error"), "{outcome:?}");
    assert!(outside.join("x").is_dir(), "made on the host");
}

fn targets_exchanged_while_mounting() {
    let (data, outside) = (Scratch::new("runtime-data"), Scratch::new("runtime-outside"));
    fs::write(data.path().join("secret"), "mounted").unwrap();
    let mut started = 0;
    for _ in 0..25 {
        let mut swapper = None;
        let trial = Trial::new("exit 0").without(HardeningStep::RootBeforeMounts).with(|trial| {
            make_folder(&trial.root, "volume");
            make_folder(&trial.root, "volume/a");
            link(&trial.root, "volume/b", outside.path().to_str().unwrap());
            swapper = Some(Swapper::start(&trial.root, "volume/a", "volume/b"));
            bind(trial, data.path(), "/volume/a/target", &["rbind"]);
            bind(trial, &data.path().join("secret"), "/volume/a/file", &["bind"]);
        });
        // A start may fail where a name vanishes under it; it must not lead out.
        started += usize::from(trial.start().map(crate::support::Running::finish).is_ok());
        assert!(fs::read_dir(outside.path()).unwrap().next().is_none(), "something was made outside");
    }
    assert!(started > 0, "no container started");
}

fn nothing_is_made_outside() {
    let (data, outside) = (Scratch::new("runtime-data"), Scratch::new("runtime-outside"));
    let trial = || {
        Trial::new("exit 0").with(|trial| {
            link(&trial.root, "link", outside.path().to_str().unwrap());
            bind(trial, data.path(), "/link/folder/deep", &["rbind"]);
        })
    };
    trial().run();
    trial().without(HardeningStep::RootBeforeMounts).run();
    assert!(fs::read_dir(outside.path()).unwrap().next().is_none(), "something was made outside");
    let _ = trial().without(HardeningStep::ResolveInRoot).start().map(crate::support::Running::finish);
    assert!(fs::read_dir(outside.path()).unwrap().next().is_none(), "something was made outside");
    trial().without(HardeningStep::ResolveInRoot).without(HardeningStep::RootBeforeMounts).run();
    assert!(outside.path().join("folder/deep").is_dir(), "an empty folder on the host");
}

fn masks_are_of_the_null_device() {
    // What the container has at `/dev/null` when masks are made: a link, another device, a plain file.
    let hostile = |make: &dyn Fn(&std::path::Path)| {
        let dev = Scratch::new("runtime-dev");
        make(&dev.path().join("null"));
        let trial = Trial::new("cat /proc/timer_list").with(|trial| {
            trial.spec.mounts.retain(|mount| !mount.destination.starts_with("/dev"));
            bind(trial, dev.path(), "/dev", &["rbind"]);
        });
        (trial, dev)
    };
    let to_proc = |null: &std::path::Path| std::os::unix::fs::symlink("/proc/version", null).unwrap();
    let zero = |null: &std::path::Path| {
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        let device = rustix::fs::makedev(1, 5);
        rustix::fs::mknodat(rustix::fs::CWD, null, rustix::fs::FileType::CharacterDevice, mode, device)
            .unwrap();
    };
    let file = |null: &std::path::Path| fs::write(null, "not a device").unwrap();
    for make in [&to_proc as &dyn Fn(&std::path::Path), &zero, &file] {
        let (trial, _dev) = hostile(make);
        let error = trial.refused();
        assert!(error.message.contains("/dev/null is not the null device"), "{error}");
    }
    // Without the step the file that the container chose is bound, writable, over what was to be hidden.
    let (trial, _dev) = hostile(&to_proc);
    let outcome = trial.without(HardeningStep::CheckedMasks).run();
    assert!(outcome.get("/proc/timer_list").starts_with("Linux version"), "{outcome:?}");
    let (trial, _dev) = hostile(&file);
    let outcome = trial.without(HardeningStep::CheckedMasks).run();
    assert_eq!(outcome.get("/proc/timer_list"), "not a device");
    // A link back to the right device is as good as the device.
    let outcome = Trial::new("cat /proc/timer_list").run();
    assert_eq!(outcome.get("/proc/timer_list"), "");
}

fn the_console_covers_nothing_else() {
    let dev = Scratch::new("runtime-dev");
    std::os::unix::fs::symlink("/etc/victim", dev.path().join("console")).unwrap();
    let hostile = || {
        Trial::new("stat /etc/victim").process(|process| process.terminal = true).with(|trial| {
            crate::support::write_file(&trial.root, "etc/victim", b"x");
            make_folder(&trial.root, "pts");
            // The node for masks, and a place for terminals.
            let mode = rustix::fs::Mode::from_raw_mode(0o666);
            let null = rustix::fs::makedev(1, 3);
            let path = dev.path().join("null");
            let _ = rustix::fs::mknodat(
                rustix::fs::CWD,
                &path,
                rustix::fs::FileType::CharacterDevice,
                mode,
                null,
            );
            let _ = fs::create_dir(dev.path().join("pts"));
            trial
                .spec
                .mounts
                .retain(|mount| !mount.destination.starts_with("/dev") || mount.destination == "/dev/pts");
            bind(trial, dev.path(), "/dev", &["rbind"]);
            // The bind goes below the terminals.
            let bound = trial.spec.mounts.len() - 1;
            let pts = trial.spec.mounts.iter().position(|mount| mount.destination == "/dev/pts").unwrap();
            trial.spec.mounts.swap(pts, bound);
            for (index, _) in &mut trial.trees {
                if *index == bound {
                    *index = pts;
                }
            }
        })
    };
    let start = |trial: Trial| trial.start_with(ChildStdio::Terminal);
    let error = start(hostile()).err().expect("refused");
    assert!(error.message.contains("/dev/console is neither a file nor a device"), "{error}");
    let mut running = start(hostile().without(HardeningStep::CheckedConsole)).unwrap();
    let mut output = String::new();
    let _ = fs::File::from(running.launched.terminal.take().unwrap()).read_to_string(&mut output);
    assert!(output.contains("/etc/victim: c "), "{output}");
    running.finish();
}
