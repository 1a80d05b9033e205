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
    (
        "a_killed_daemon_comes_again_and_no_client_is_refused",
        a_killed_daemon_comes_again_and_no_client_is_refused,
    ),
    ("a_killed_keeper_is_followed_by_another", a_killed_keeper_is_followed_by_another),
    (
        "a_keeper_that_does_not_answer_is_replaced_for_good",
        a_keeper_that_does_not_answer_is_replaced_for_good,
    ),
    ("after_both_were_killed_a_new_keeper_starts", after_both_were_killed_a_new_keeper_starts),
    ("an_orderly_end_leaves_nothing", an_orderly_end_leaves_nothing),
    ("a_run_folder_has_one_keeper", a_run_folder_has_one_keeper),
    ("a_daemon_that_refuses_its_first_start_is_not_started_again", a_daemon_that_refuses_its_first_start),
    ("an_upgrade_keeps_the_keepers_process_and_what_it_holds", an_upgrade_keeps_the_keepers_process),
    ("the_keeper_sees_next_to_no_mounts_and_the_daemon_the_hosts", the_keeper_sees_next_to_no_mounts),
    ("namespaces_are_made_for_a_daemon_with_threads", namespaces_are_made_for_a_daemon_with_threads),
    ("forks_go_on_while_keepers_are_killed", forks_go_on_while_keepers_are_killed),
    ("a_container_outlives_daemons_and_keepers", a_container_outlives_daemons_and_keepers),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let role = arguments.next().unwrap_or_default();
    match role.as_str() {
        "keeper" => end(scene::keeper_role(arguments)),
        corten_keeper::protocol::RESUME_ROLE => end(corten_keeper::resume()),
        corten_keeper::protocol::DAEMON_ROLE => daemon::role(arguments),
        "inside" => inside(),
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

/// The command in the container: a line every millisecond, then a code.
fn inside() -> ExitCode {
    let mut out = std::io::stdout();
    for line in 0..1500 {
        if std::io::Write::write_all(&mut out, format!("line {line}\n").as_bytes()).is_err() {
            return ExitCode::from(98);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    ExitCode::from(7)
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

fn a_keeper_that_does_not_answer_is_replaced_for_good() {
    let scene = Scene::start("keeper-silent", &[]);
    let (keeper, daemon) = (scene.keeper(), scene.daemon());
    scene::kill(keeper, 19);
    // It is waited for as long as a keeper may take to answer.
    let _ = scene.try_ask("hold thing");
    let next = scene.other_keeper(keeper);
    scene::kill(keeper, 18);
    Scene::gone(keeper);
    assert_eq!(scene.daemon(), daemon, "the daemon goes on");
    assert_eq!((scene.ask("held"), scene.keeper()), ("thing=kept".to_owned(), next));
}

fn after_both_were_killed_a_new_keeper_starts() {
    let scene = Scene::start("both-killed", &[]);
    for _ in 0..5 {
        let (keeper, daemon) = (scene.keeper(), scene.daemon());
        scene::kill(keeper, 9);
        scene::kill(daemon, 9);
        Scene::gone(keeper);
        Scene::gone(daemon);
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
    Scene::gone(daemon);
    assert!(!scene.socket().exists());
    assert!(!scene.pid_file().exists());

    let mut scene = Scene::start("shutdown", &[]);
    let daemon = scene.daemon();
    scene.ask("shutdown");
    assert_eq!(scene.wait(), Some(0));
    Scene::gone(daemon);
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
        // To the keeper it is another program as soon as it was written to.
        let program = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        program.set_modified(std::time::SystemTime::now()).unwrap();
        scene::kill(keeper, 1);
        Scene::gone(daemon);
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
    let descriptors =
        std::fs::read_dir(format!("/proc/{keeper}/fd")).unwrap().map(|entry| entry.unwrap().path());
    let descriptors: Vec<_> = descriptors.map(|path| std::fs::read_link(path).unwrap()).collect();
    assert!(descriptors.len() <= 11, "{descriptors:?}");
}

fn namespaces_are_made_for_a_daemon_with_threads() {
    let scene = Scene::start("namespaces", &[]);
    assert_eq!(scene.ask("namespaces"), "made");
    // A process of the keeper's own is left of none.
    let keeper = scene.keeper();
    let children = std::fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap();
    assert_eq!(children.split_ascii_whitespace().count(), 1, "{children}");
    // Nor does it matter that the keeper is another one.
    scene::kill(keeper, 9);
    scene.other_keeper(keeper);
    assert_eq!(scene.ask("namespaces"), "made");
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

fn a_container_outlives_daemons_and_keepers() {
    let scene = Scene::start("outlives", &[]);
    assert_eq!(scene.ask("run"), "runs");
    let record = scene.container_file("exit.json");
    let mut kills = 0;
    while !record.exists() {
        let (keeper, daemon) = (scene.keeper(), scene.daemon());
        match kills % 3 {
            0 => scene::kill(daemon, 9),
            1 => {
                scene::kill(keeper, 9);
                scene.other_keeper(keeper);
            }
            _ => {
                scene::kill(keeper, 9);
                scene::kill(daemon, 9);
                Scene::gone(keeper);
                Scene::gone(daemon);
                scene.restart();
            }
        }
        kills += 1;
        std::thread::sleep(std::time::Duration::from_millis(60));
    }
    let record = corten_shim::exit::read(record.parent().unwrap()).unwrap().unwrap();
    assert_eq!(record.exit.code, 7);
    let log = std::fs::read_to_string(scene.container_file("c.log")).unwrap();
    assert_eq!(log.lines().count(), 1500);
    assert!(kills >= 3, "{kills}");
    eprintln!("{kills} kills around one container");
}
