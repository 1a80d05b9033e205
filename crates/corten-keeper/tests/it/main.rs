//! The keeper with a daemon that does nothing but answer: who survives whom. This program is keeper, daemon and
//! test in one; the first argument picks the role.

#![expect(clippy::print_stderr, reason = "the test program tells what it does")]

mod daemon;
mod scene;

use corten_testing::need_root;
use scene::Scene;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

/// Every test of this program.
const TESTS: &[(&str, fn())] = &[
    ("a_killed_daemon_comes_again_and_no_client_is_refused", a_killed_daemon_comes_again_and_no_client_is_refused),
    ("a_killed_keeper_is_followed_by_another", a_killed_keeper_is_followed_by_another),
    ("after_both_were_killed_a_new_keeper_starts", after_both_were_killed_a_new_keeper_starts),
    ("an_orderly_end_leaves_nothing", an_orderly_end_leaves_nothing),
    ("a_run_folder_has_one_keeper", a_run_folder_has_one_keeper),
    ("a_daemon_that_refuses_its_first_start_is_not_started_again", a_daemon_that_refuses_its_first_start),
    ("an_upgrade_keeps_the_keepers_process_and_what_it_holds", an_upgrade_keeps_the_keepers_process),
    ("the_keeper_sees_next_to_no_mounts_and_the_daemon_the_hosts", the_keeper_sees_next_to_no_mounts),
    ("forks_go_on_while_keepers_are_killed", forks_go_on_while_keepers_are_killed),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let role = arguments.next().unwrap_or_default();
    match role.as_str() {
        "keeper" => end(scene::keeper_role(arguments)),
        corten_keeper::protocol::RESUME_ROLE => end(corten_keeper::resume()),
        corten_keeper::protocol::DAEMON_ROLE => daemon::role(arguments),
        "--list" => ExitCode::SUCCESS,
        filter => run_tests(if filter.starts_with('-') { "" } else { filter }),
    }
}

fn end(result: Result<i32, corten_keeper::BeginError>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code as u8),
        Err(error) => {
            eprintln!("{}", corten_std::chain(&error));
            ExitCode::from(99)
        }
    }
}

fn run_tests(filter: &str) -> ExitCode {
    if !need_root() {
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| name.contains(filter)) {
        let result = std::panic::catch_unwind(AssertUnwindSafe(test));
        eprintln!("test {name} ... {}", if result.is_ok() { "ok" } else { "FAILED" });
        failed += usize::from(result.is_err());
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn a_killed_daemon_comes_again_and_no_client_is_refused() {
    let scene = Scene::start("daemon-killed", &[]);
    let keeper = scene.keeper();
    scene.ask("hold thing");
    for _ in 0..30 {
        let daemon = scene.daemon();
        scene::kill(daemon, 9);
        // At once: the answer may take as long as a start takes, but there is one.
        assert_ne!(scene.daemon(), daemon);
        assert_eq!(scene.ask("held"), "thing=kept");
    }
    assert_eq!(scene.keeper(), keeper);
}

fn a_killed_keeper_is_followed_by_another() {
    let scene = Scene::start("keeper-killed", &[]);
    scene.ask("hold thing");
    for round in 0..6 {
        let (keeper, daemon) = (scene.keeper(), scene.daemon());
        scene::kill(keeper, 9);
        assert_eq!(scene.daemon(), daemon, "the daemon goes on");
        let next = scene.other_keeper(keeper);
        if round % 2 == 0 {
            scene::kill(daemon, 9);
            assert_ne!(scene.daemon(), daemon);
            assert_eq!(scene.ask("held"), "thing=kept");
            assert_eq!(scene.keeper(), next);
        }
    }
    scene.ask("release thing");
    assert_eq!(scene.ask("held"), "");
}

fn after_both_were_killed_a_new_keeper_starts() {
    let scene = Scene::start("both-killed", &[]);
    for _ in 0..5 {
        let (keeper, daemon) = (scene.keeper(), scene.daemon());
        scene::kill(keeper, 9);
        scene::kill(daemon, 9);
        scene.gone(keeper);
        scene.gone(daemon);
        assert!(scene.try_ask("pid").is_err());
        scene.restart();
        assert_ne!(scene.daemon(), daemon);
    }
}

fn an_orderly_end_leaves_nothing() {
    let mut scene = Scene::start("orderly", &[]);
    let (keeper, daemon) = (scene.keeper(), scene.daemon());
    scene::kill(keeper, 15);
    assert_eq!(scene.wait(), Some(0));
    scene.gone(daemon);
    assert!(!scene.socket().exists());
    assert!(!scene.pid_file().exists());

    let mut scene = Scene::start("shutdown", &[]);
    let daemon = scene.daemon();
    scene.ask("shutdown");
    assert_eq!(scene.wait(), Some(0));
    scene.gone(daemon);
    assert!(!scene.socket().exists());
}

fn a_run_folder_has_one_keeper() {
    let scene = Scene::start("one", &[]);
    let mut second = scene.second();
    assert_eq!(second.wait().unwrap().code(), Some(99));
    assert_eq!(scene.ask("pid"), scene.daemon().to_string());
}

fn a_daemon_that_refuses_its_first_start() {
    let mut scene = Scene::begin("refuses", &["refuse"]);
    assert_eq!(scene.wait(), Some(5));
}

fn an_upgrade_keeps_the_keepers_process() {
    let scene = Scene::start("upgrade", &[]);
    scene.ask("hold thing");
    let keeper = scene.keeper();
    for _ in 0..3 {
        let daemon = scene.daemon();
        scene::kill(keeper, 1);
        scene.gone(daemon);
        assert_ne!(scene.daemon(), daemon);
        assert_eq!(scene.keeper(), keeper);
        assert_eq!(scene.ask("held"), "thing=kept");
    }
}

fn the_keeper_sees_next_to_no_mounts() {
    let scene = Scene::start("mounts", &[]);
    let (keeper, daemon) = (scene.keeper(), scene.daemon());
    let mounts = std::fs::read_to_string(format!("/proc/{keeper}/mountinfo")).unwrap();
    assert!(mounts.lines().count() <= 5, "{mounts}");
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
    assert_eq!(namespace(daemon), namespace(std::process::id() as i32));
    assert_ne!(namespace(keeper), namespace(daemon));
    // One thread, and no descriptor that it does not need: three standard ones, lock, listener, signals, two for
    // the daemon, three for the views.
    assert_eq!(std::fs::read_dir(format!("/proc/{keeper}/task")).unwrap().count(), 1);
    let descriptors = std::fs::read_dir(format!("/proc/{keeper}/fd")).unwrap().map(|entry| entry.unwrap().path());
    let descriptors: Vec<_> = descriptors.map(|path| std::fs::read_link(path).unwrap()).collect();
    assert!(descriptors.len() <= 11, "{descriptors:?}");
}

fn forks_go_on_while_keepers_are_killed() {
    let scene = Scene::start("forks", &[]);
    std::thread::scope(|scope| {
        let forks = scope.spawn(|| {
            for _ in 0..300 {
                assert_eq!(scene.ask("fork"), "forked");
            }
        });
        for _ in 0..4 {
            std::thread::sleep(std::time::Duration::from_millis(150));
            let keeper = scene.keeper();
            scene::kill(keeper, 9);
            scene.other_keeper(keeper);
        }
        forks.join().unwrap();
    });
}
