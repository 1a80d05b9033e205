//! Starts a static program from a folder as a whole container again and again and prints the median times.
//!
//! `launch ROOT_FOLDER ROUNDS COMMAND…` as root; the root is an overlay over the folder. With `SEAT=1` a
//! process of ours is in the cgroup before the time counts.
#![expect(clippy::print_stdout, reason = "a measuring program prints what it measured")]

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use corten_oci::runtime::LinuxResources;
use corten_runtime::{
    ChildStdio, Hardening, LaunchRequest, Seat, SpecOptions, cgroup, default_spec, launch, seccomp,
};
use corten_sys::mount::{OverlayMount, overlay};
use corten_sys::process::{self, Namespaces};

fn null() -> OwnedFd {
    std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .expect("the null device is there")
        .into()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().expect("a root folder"));
    let rounds: usize = arguments.next().and_then(|text| text.parse().ok()).expect("a number of rounds");
    let command: Vec<String> = arguments.collect();
    // As the keeper does: few mounts to copy.
    process::unshare(Namespaces::MOUNT).expect("a mount namespace of our own");
    corten_sys::mount::set_namespace_propagation(corten_sys::mount::Propagation::Private)
        .expect("private mounts");
    let manager = cgroup::Manager::new("/corten-launch-bench").expect("cgroups");
    let scratch = std::env::temp_dir().join(format!("corten-launch-{}", std::process::id()));
    let capabilities = corten_runtime::DEFAULT_CAPABILITIES;
    let program =
        seccomp::compile_default(&capabilities.map(str::to_owned)).expect("the default profile compiles");
    let names = ["folders", "cgroup", "overlay", "launch", "run", "cgroup away", "folders away", "all"];
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); names.len()];
    let seated = std::env::var_os("SEAT").is_some();
    let pause = std::env::var("PAUSE").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    for round in 0..rounds {
        std::thread::sleep(Duration::from_millis(pause));
        let mut marks = vec![Instant::now()];
        let (upper, work) = (scratch.join("upper"), scratch.join("work"));
        for path in [&upper, &work] {
            std::fs::create_dir_all(path).expect("scratch folders");
        }
        marks.push(Instant::now());
        let group = manager.create(&format!("bench{round}"), &LinuxResources::default()).expect("a cgroup");
        let handle = group.handle().expect("a cgroup handle");
        let seat = seated.then(|| Seat::take(&handle).expect("a seat"));
        if let Some(seat) = &seat {
            seat.wait_until_ready().expect("a seat in the cgroup");
        }
        marks.push(Instant::now());
        let root = overlay(&OverlayMount {
            base: None,
            lowers: std::slice::from_ref(&folder),
            upper: Some(&upper),
            work: Some(&work),
            volatile: true,
            userxattr: false,
            read_only: false,
            label: None,
        })
        .expect("an overlay");
        marks.push(Instant::now());
        let spec = default_spec(SpecOptions {
            args: command.clone(),
            hostname: "bench".into(),
            cgroup: manager.mode(),
            ..SpecOptions::default()
        });
        let request = LaunchRequest {
            spec,
            root,
            mount_trees: Vec::new(),
            network_namespace: None,
            user_namespace: None,
            devices: Vec::new(),
            cgroup: handle,
            stdio: ChildStdio::Pipes { stdin: null(), stdout: null(), stderr: null() },
            seccomp: Some(program.clone()),
            init: None,
            hardening: Hardening::all(),
        };
        let launched = match &seat {
            Some(seat) => seat.launch(request),
            None => launch(request),
        }
        .unwrap_or_else(|error| panic!("{:?}: {error}", error.stage));
        marks.push(Instant::now());
        let exit = process::wait(launched.pid).expect("the container ends");
        assert_eq!(exit.shell_code(), 0, "the command fails");
        marks.push(Instant::now());
        if let Some(pid) = seat.map(|seat| seat.pid()) {
            process::wait(pid).expect("the seat ends");
        }
        group.remove().expect("the cgroup goes away");
        marks.push(Instant::now());
        std::fs::remove_dir_all(&scratch).expect("the scratch folder goes away");
        marks.push(Instant::now());
        for (index, pair) in marks.windows(2).enumerate() {
            times[index].push(pair[1] - pair[0]);
        }
        times[names.len() - 1].push(marks[marks.len() - 1] - marks[0]);
    }
    for (name, list) in names.iter().zip(&mut times) {
        list.sort_unstable();
        let at = |part: usize| list[(list.len() - 1) * part / 100].as_secs_f64() * 1000.0;
        println!("{name:>14}  median {:7.3} ms  p90 {:7.3}  max {:7.3}", at(50), at(90), at(100));
    }
    manager.remove_unused();
}
