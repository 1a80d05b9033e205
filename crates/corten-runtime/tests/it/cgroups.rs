//! Limits, kills, counts.

use corten_oci::runtime::{LinuxCpu, LinuxMemory, LinuxNamespace, LinuxPids, LinuxResources, NamespaceKind};
use corten_runtime::cgroup::{Hierarchies, Manager};
use corten_sys::process;

use crate::Test;
use crate::support::{Trial, manager};

pub(crate) const TESTS: &[Test] = &[
    ("version_two_alone_is_enough", version_two_alone_is_enough),
    ("a_memory_limit_kills_and_is_counted", a_memory_limit_kills_and_is_counted),
    ("limits_are_seen_and_changed", limits_are_seen_and_changed),
    ("all_processes_are_killed", all_processes_are_killed),
    ("a_frozen_container_stands_still", a_frozen_container_stands_still),
    ("a_refused_limit_leaves_nothing", a_refused_limit_leaves_nothing),
    ("a_name_makes_no_seat", a_name_makes_no_seat),
    ("what_is_left_of_a_run_is_waited_for", what_is_left_of_a_run_is_waited_for),
];

fn memory(limit: i64) -> LinuxResources {
    LinuxResources {
        memory: Some(LinuxMemory { limit: Some(limit), swap: Some(limit), ..LinuxMemory::default() }),
        ..LinuxResources::default()
    }
}

fn a_memory_limit_kills_and_is_counted() {
    if !corten_testing::need("the memory controller", manager().hierarchies().has_controller("memory")) {
        return;
    }
    let running = Trial::new("eat 64").with(|trial| trial.limits = memory(16 << 20)).start().unwrap();
    let exit = process::wait(running.launched.pid).unwrap();
    assert_eq!(exit.shell_code(), 137);
    assert_eq!((running.handle.oom_kill_count(), running.cgroup.oom_kill_count()), (1, 1));
}

fn limits_are_seen_and_changed() {
    let controllers = manager().hierarchies().clone();
    if !corten_testing::need("the memory controller", controllers.has_controller("memory")) {
        return;
    }
    let running = Trial::new("sleep 60000")
        .with(|trial| {
            trial.limits = LinuxResources {
                pids: Some(LinuxPids { limit: 11 }),
                cpu: Some(LinuxCpu { quota: Some(50_000), period: Some(100_000), ..LinuxCpu::default() }),
                ..memory(16 << 20)
            };
        })
        .start()
        .unwrap();
    let stats = running.cgroup.stats().unwrap();
    assert_eq!((stats.memory_limit, stats.pids_limit), (16 << 20, 11));
    assert!(stats.pids >= 1 && stats.memory_usage > 0, "{stats:?}");
    // Both ways: the order of the two files matters.
    for limit in [64 << 20, 8 << 20] {
        running.cgroup.update(&memory(limit)).unwrap();
        assert_eq!(running.cgroup.stats().unwrap().memory_limit, limit as u64);
    }
    assert_eq!(running.cgroup.processes().unwrap(), [running.launched.pid]);
}

fn all_processes_are_killed() {
    let running = Trial::new("sleep 60000").start().unwrap();
    running.cgroup.kill_all().unwrap();
    assert_eq!(process::wait(running.launched.pid).unwrap().shell_code(), 137);
    running.cgroup.remove().unwrap();
    assert!(!running.cgroup.exists());
    running.cgroup.remove().unwrap();
}

fn a_frozen_container_stands_still() {
    let running = Trial::new("sleep 30; exit 4").start().unwrap();
    running.cgroup.freeze().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(60));
    assert_eq!(process::reap_any().unwrap(), None);
    running.cgroup.thaw().unwrap();
    assert_eq!(process::wait(running.launched.pid).unwrap().shell_code(), 4);
}

fn a_refused_limit_leaves_nothing() {
    let limits = LinuxResources {
        cpu: Some(LinuxCpu { cpus: Some("9999".into()), ..LinuxCpu::default() }),
        ..LinuxResources::default()
    };
    if !corten_testing::need("the cpuset controller", manager().hierarchies().has_controller("cpuset")) {
        return;
    }
    let id = format!("refused-{}", std::process::id());
    assert!(manager().create(&id, &limits).is_err());
    assert!(!manager().open(&id).unwrap().exists());
}

fn version_two_alone_is_enough() {
    let hierarchies = Hierarchies { legacy: Vec::new(), ..Hierarchies::probe().unwrap() };
    if !corten_testing::need("a version 2 tree", hierarchies.unified.is_some()) {
        return;
    }
    let trial = |commands: &str| {
        Trial::new(commands).with(|trial| {
            trial.manager = Manager::with(hierarchies.clone(), "/corten-test").unwrap();
            let linux = trial.spec.linux.as_mut().unwrap();
            linux.namespaces.retain(|namespace| namespace.kind != NamespaceKind::Cgroup);
            linux.namespaces.push(LinuxNamespace { kind: NamespaceKind::Cgroup, path: None });
        })
    };
    let outcome = trial("cat /proc/self/cgroup; stat /sys/fs/cgroup/cgroup.procs; mknod /tmp/disk; cat /tmp/disk; write /dev/null x; sleep 1").run();
    // The container sees its own cgroup as the top of the tree.
    assert!(outcome.stdout.lines().any(|line| line.ends_with("0::/")), "{}", outcome.stdout);
    assert!(outcome.get("/sys/fs/cgroup/cgroup.procs").starts_with('f'), "{}", outcome.stdout);
    assert_eq!((outcome.get("mknod"), outcome.get("/tmp/disk")), ("made", "error permission denied"));
    assert_eq!(outcome.get("/dev/null"), "written");
    let running = trial("sleep 60000").start().unwrap();
    assert_eq!(running.cgroup.processes().unwrap(), [running.launched.pid]);
    running.cgroup.freeze().unwrap();
    running.cgroup.thaw().unwrap();
    assert!(running.handle.kill_all());
    assert_eq!(process::wait(running.launched.pid).unwrap().shell_code(), 137);
}

fn a_name_makes_no_seat() {
    // The container runs our own program, as with `--init`, and calls its process a seat.
    let mut running = Trial::new("rename corten-seat; sleep 60000").start().unwrap();
    let mut said = [0; 13];
    std::io::Read::read_exact(running.stdout.as_mut().unwrap(), &mut said).unwrap();
    let name = std::fs::read_to_string(format!("/proc/{}/comm", running.launched.pid)).unwrap();
    assert_eq!(name.trim_end(), "corten-seat");
    assert_eq!(running.cgroup.processes().unwrap(), [running.launched.pid]);
}

/// A container that is started again right away: a process of its last run is on its way out, or stayed.
fn what_is_left_of_a_run_is_waited_for() {
    let manager = manager();
    for (number, seconds) in ["0.1", "1000"].into_iter().enumerate() {
        let id = format!("again-{}-{number}", std::process::id());
        let limits = LinuxResources::default();
        let first = manager.create(&id, &limits).unwrap();
        let mut left = std::process::Command::new("sleep").arg(seconds).spawn().unwrap();
        for folder in &first.joining().unwrap().join {
            rustix::io::write(folder, left.id().to_string().as_bytes()).unwrap();
        }
        if let Some(folder) = first.handle().unwrap().unified {
            let flags = rustix::fs::OFlags::WRONLY;
            let procs =
                rustix::fs::openat(&folder, "cgroup.procs", flags, rustix::fs::Mode::empty()).unwrap();
            rustix::io::write(&procs, left.id().to_string().as_bytes()).unwrap();
        }
        let waiter = std::thread::spawn(move || left.wait());
        let second = if manager.hierarchies().is_legacy() {
            manager.adopt(manager.create_spare().unwrap(), &id, &limits)
        } else {
            manager.create(&id, &limits)
        };
        let second = second.unwrap();
        assert_eq!(second.processes().unwrap(), Vec::<i32>::new());
        waiter.join().unwrap().unwrap();
        second.remove().unwrap();
        assert!(!second.exists());
    }
}
