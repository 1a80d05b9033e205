//! Nothing lost: daemon and keeper are killed at random while containers start, log, exec, stop and are removed.

use crate::daemon;
use crate::leftovers::{self, Leftovers};
use corten_testing::daemon::{Said, ScratchDaemon};
use rustix::process::{Pid, Signal, kill_process};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// No command may take longer, however often the daemon is killed meanwhile: one that does hangs.
fn patience() -> Duration {
    corten_testing::patience(30)
}

/// A small generator of numbers that look random, so that a run can be repeated by its seed.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// How often each process is killed; `CORTEN_KILLS` multiplies it (CI keeps to one round).
pub(crate) fn rounds() -> u64 {
    std::env::var("CORTEN_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Daemon,
    Keeper,
    /// Both, and then a daemon is started as the next client would do it.
    Both,
}

impl Victim {
    /// Kills; tells whether there was somebody to kill.
    fn kill(self, daemon: &ScratchDaemon) -> bool {
        // A shim that was forked just now still has the keeper's name.
        let keeper = Some(daemon.keeper()).filter(|pid| is_alive(*pid));
        let main = daemon.daemon();
        let victims = match self {
            Self::Daemon => vec![main],
            Self::Keeper => vec![keeper],
            Self::Both => vec![keeper, main],
        };
        if victims.contains(&None) {
            return false;
        }
        let victims: Vec<u32> = victims.into_iter().flatten().collect();
        if self == Self::Both {
            // Together: neither sees the other's end.
            for pid in &victims {
                send(*pid, Signal::STOP);
            }
        }
        for pid in &victims {
            daemon.kill(*pid);
        }
        if self == Self::Both {
            let start = Instant::now();
            while victims.iter().any(|pid| is_alive(*pid)) && start.elapsed() < patience() {
                std::thread::sleep(Duration::from_millis(1));
            }
            daemon.start_again();
        }
        true
    }
}

fn send(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        let _ = kill_process(pid, signal);
    }
}

/// Whether it has not ended; one that only waits to be reaped has.
fn is_alive(pid: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !(state.is_empty() || state.contains(") Z ") || state.contains(") X "))
}

/// One client of the storm, and what it saw that must not be.
struct Worker<'a> {
    daemon: &'a ScratchDaemon,
    number: u32,
    /// Nobody may listen for a moment.
    may_be_refused: bool,
    /// How many answers there were that a kill did not cut short.
    good: u32,
    wrong: Vec<String>,
}

impl Worker<'_> {
    fn ask(&mut self, arguments: &[&str]) -> Said {
        let Some(said) = self.daemon.within(patience(), arguments) else {
            self.wrong.push(format!("{arguments:?} hangs"));
            return Said { out: String::new(), err: String::new(), code: 255 };
        };
        let refused = ["refused", "Cannot connect"].iter().any(|text| said.err.contains(text));
        if refused && !self.may_be_refused {
            self.wrong.push(format!("{arguments:?} was refused: {said:?}"));
        }
        if said.code != 0 && said.err.is_empty() && !said.out.is_empty() && said.code > 9 {
            self.wrong.push(format!("{arguments:?} failed without a word: {said:?}"));
        }
        said
    }

    /// Asks until no kill cuts it short.
    fn ask_until(&mut self, arguments: &[&str], good: impl Fn(&Said) -> bool) -> Option<Said> {
        let start = Instant::now();
        while start.elapsed() < patience() {
            let said = self.ask(arguments);
            if good(&said) {
                return Some(said);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let said = self.ask(arguments);
        self.wrong.push(format!("{arguments:?} never succeeds: {said:?}"));
        None
    }

    /// A program's code comes with all of its output, or the command says that it was cut short (125).
    fn check(&mut self, what: &str, said: &Said, code: i32, out: &str) {
        if said.code == code {
            self.good += 1;
            if said.out != out {
                self.wrong.push(format!("{what} lost output: {said:?}"));
            }
        } else if said.code == 0 || said.err.is_empty() || said.err.contains("exit code is not known") {
            self.wrong.push(format!("{what} lost its exit code: {said:?}"));
        }
    }

    fn round(&mut self, round: u32) {
        let name = format!("w{}r{round}", self.number);
        self.ask(&["version", "-f", "{{.Server.Version}}"]);
        let ran =
            self.ask(&["run", "-d", "--name", &name, "busybox", "sh", "-c", "echo one; echo two; exit 5"]);
        if ran.code == 0 {
            if let Some(said) = self.ask_until(&["wait", &name], |said| said.code == 0)
                && said.out != "5\n"
            {
                self.wrong.push(format!("{name} lost its exit code: {said:?}"));
            }
            if let Some(said) = self.ask_until(&["logs", &name], |said| said.code == 0)
                && said.out != "one\ntwo\n"
            {
                self.wrong.push(format!("{name} lost log lines: {said:?}"));
            }
        }
        let said = self.ask(&["exec", "steady", "sh", "-c", "echo inside; exit 3"]);
        self.check("an exec", &said, 3, "inside\n");
        self.ask_until(&["rm", "-f", &name], |said| said.code == 0 || said.err.contains("No such container"));
        let said = self.ask(&["run", "--rm", "busybox", "sh", "-c", "echo out; exit 7"]);
        self.check("a run", &said, 7, "out\n");
    }
}

/// Kills `kills` times while workers use the daemon, and fails with what they saw that must not be.
#[expect(clippy::print_stderr, reason = "the counts are what a reader of the test's output looks for")]
fn storm(daemon: &ScratchDaemon, victim: Victim, kills: u64, pause: Duration, seed: u64) {
    let stop = AtomicBool::new(false);
    let (good, wrong) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|number| {
                let stop = &stop;
                scope.spawn(move || {
                    let may_be_refused = victim == Victim::Both;
                    let mut worker = Worker { daemon, number, may_be_refused, good: 0, wrong: Vec::new() };
                    let mut round = 0;
                    while !stop.load(Ordering::Relaxed) && worker.wrong.is_empty() {
                        round += 1;
                        worker.round(round);
                    }
                    (worker.good, worker.wrong)
                })
            })
            .collect();
        let mut numbers = Numbers(seed);
        let (mut killed, start) = (0, Instant::now());
        while killed < kills && start.elapsed() < corten_testing::patience(100 * rounds()) {
            let random = Duration::from_millis(20 + numbers.below(120));
            std::thread::sleep(pause + random);
            killed += u64::from(victim.kill(daemon));
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(killed, kills, "there was somebody to kill each time");
        let all = workers.into_iter().map(|worker| worker.join().expect("a worker"));
        all.fold((0, Vec::new()), |(good, mut wrong), (more, said)| {
            wrong.extend(said);
            (good + more, wrong)
        })
    });
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", daemon.log());
    eprintln!("{victim:?}: {kills} kills, {good} commands with their code and output meanwhile");
}

/// A container that counts, and what is looked for when the storm is over.
struct Steady<'a> {
    daemon: &'a ScratchDaemon,
    before: Leftovers,
    pid: String,
}

impl<'a> Steady<'a> {
    fn start(daemon: &'a ScratchDaemon) -> Self {
        // The pools fill after the first start.
        daemon.ok(&["run", "--rm", "busybox", "true"]);
        let before = Leftovers::at_rest(daemon);
        let count = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done";
        daemon.ok(&["run", "-d", "--name", "steady", "-p", "127.0.0.1::80", "busybox", "sh", "-c", count]);
        let pid = daemon.ok(&["inspect", "-f", "{{.State.Pid}}", "steady"]);
        Self { daemon, before, pid }
    }

    /// It still runs and is known.
    fn check(&self) {
        let state = self.daemon.ok(&["inspect", "-f", "{{.State.Pid}} {{.State.Running}}", "steady"]);
        assert_eq!(state, format!("{} true", self.pid));
    }

    /// All of the above: lives, lost nothing, leaves nothing.
    fn end(self) {
        self.check();
        let daemon = self.daemon;
        daemon.ok(&["stop", "-t", "0", "steady"]);
        let log = daemon.ok(&["logs", "steady"]);
        let numbers: Vec<u64> = log.lines().map(|line| line.parse().expect("a whole line")).collect();
        let in_order = numbers.iter().zip(1..).all(|(found, wanted)| *found == wanted);
        assert!(numbers.len() > 100 && in_order, "every line once, in order");
        remove_all(daemon);
        // No name stays taken.
        for name in ["steady", "w0r1", "w1r1", "w2r1", "w0r2", "w1r2", "w2r2"] {
            daemon.ok(&["run", "--rm", "--name", name, "busybox", "true"]);
        }
        Leftovers::settle(daemon, &self.before, "after the kills");
    }
}

fn remove_all(daemon: &ScratchDaemon) {
    for _ in 0..20 {
        let ids = daemon.corten(&["ps", "-aq"]).out;
        let ids: Vec<&str> = ids.split_whitespace().collect();
        if ids.is_empty() {
            return;
        }
        let mut words = vec!["rm", "-fv"];
        words.extend(&ids);
        daemon.corten(&words);
    }
    panic!("containers cannot be removed: {}\n{}", daemon.ok(&["ps", "-a"]), daemon.log());
}

#[test]
fn a_killed_daemon_loses_nothing() {
    let Some(daemon) = daemon("kill") else { return };
    let steady = Steady::start(&daemon);
    storm(&daemon, Victim::Daemon, 100 * rounds(), Duration::ZERO, 0x9e37_79b9_7f4a_7c15);
    // Slower, so that most commands come to their end.
    storm(&daemon, Victim::Daemon, 10 * rounds(), Duration::from_millis(700), 0x1234_5678_9abc_def1);
    steady.end();
}

#[test]
fn a_killed_keeper_is_replaced() {
    let Some(daemon) = daemon("keeper") else { return };
    let steady = Steady::start(&daemon);
    storm(&daemon, Victim::Keeper, 20 * rounds(), Duration::from_millis(300), 0x0dd0_5678_9abc_def1);
    steady.end();
}

#[test]
fn what_outlives_both_is_found_again() {
    let Some(daemon) = daemon("both") else { return };
    let steady = Steady::start(&daemon);
    storm(&daemon, Victim::Both, 20 * rounds(), Duration::from_millis(300), 0x0bad_5678_9abc_def1);
    steady.end();
}

#[test]
fn exit_codes_survive_the_daemons_death() {
    let Some(daemon) = daemon("exits") else { return };
    for round in 0..10 {
        let name = format!("exit{round}");
        let script = format!("sleep 0.2; echo end; exit {}", 40 + round);
        daemon.ok(&["run", "-d", "--name", &name, "busybox", "sh", "-c", &script]);
        daemon.kill(daemon.daemon().expect("a daemon"));
        assert_eq!(daemon.ok(&["wait", &name]), (40 + round).to_string());
        assert_eq!(daemon.ok(&["logs", &name]), "end");
    }
}

#[test]
fn a_container_goes_with_its_shim() {
    let Some(daemon) = daemon("orphan") else { return };
    daemon.ok(&["run", "--rm", "busybox", "true"]);
    let before = Leftovers::at_rest(&daemon);
    for dead in [false, true] {
        let known = daemon.family();
        daemon.ok(&["run", "-d", "--name", "orphan", "busybox", "sleep", "1000"]);
        let pid = daemon.ok(&["inspect", "-f", "{{.State.Pid}}", "orphan"]);
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let shim = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent").trim();
        let shim: u32 = shim.parse().expect("a number");
        assert!(daemon.family().iter().any(|(pid, _)| *pid == shim), "{shim} in {known:?}");
        daemon.kill(shim);
        if dead {
            // Nobody sees the shim's end.
            daemon.kill(daemon.daemon().expect("a daemon"));
        }
        assert_eq!(daemon.ok(&["wait", "orphan"]), "137", "the daemon killed too: {dead}");
        // Whether the machine's first process has taken note of its death yet is not ours.
        let alone = is_alive(pid.parse().expect("a number"));
        assert!(!alone, "its process does not go on alone; the daemon killed too: {dead}");
        daemon.ok(&["rm", "orphan"]);
        Leftovers::settle(&daemon, &before, "after a shim was killed");
    }
}

#[test]
fn a_published_port_stays_taken_while_no_daemon_lives() {
    let Some(daemon) = daemon("held") else { return };
    daemon.ok(&["run", "-d", "--name", "web", "-p", "127.0.0.1:18334:80", "busybox", "sleep", "1000"]);
    for _ in 0..10 {
        daemon.kill(daemon.daemon().expect("a daemon"));
        for _ in 0..50 {
            let bound = std::net::TcpListener::bind("127.0.0.1:18334");
            assert!(bound.is_err(), "the keeper holds the port");
            std::thread::sleep(Duration::from_millis(1));
        }
        daemon.ok(&["version"]);
    }
    daemon.ok(&["rm", "-f", "web"]);
    assert!(std::net::TcpListener::bind("127.0.0.1:18334").is_ok(), "it is free with its container's end");
}

#[test]
fn a_daemon_that_ended_in_order_leaves_nothing() {
    let Some(daemon) = daemon("end") else { return };
    daemon.ok(&["run", "-d", "--name", "one", "-p", "127.0.0.1::80", "busybox", "sleep", "1000"]);
    daemon.ok(&["run", "--rm", "busybox", "true"]);
    let (folder, bridge) = (daemon.folder().to_owned(), daemon.bridge().to_owned());
    drop(daemon);
    assert_eq!(leftovers::of_the_gone(&folder, &bridge), Vec::<String>::new());
}

/// A network is there whole or not at all, whenever the daemon dies while it is made.
#[test]
fn a_network_that_was_not_finished_leaves_no_bridge() {
    let Some(daemon) = daemon("kill-network") else { return };
    let prefix = format!("ct{}-", std::process::id() % 100_000);
    let bridges = || -> Vec<String> {
        let entries = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.starts_with(&prefix))
            .collect()
    };
    for round in 0..20_u32 {
        let (name, bridge) = (format!("n{round}"), format!("{prefix}{round}"));
        let option = format!("com.docker.network.bridge.name={bridge}");
        let mut making = daemon
            .command(&["network", "create", "-o", &option, &name])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("the program");
        // As soon as the bridge is there, and a little later each time; the row in the database follows.
        let start = Instant::now();
        while !bridges().contains(&bridge) {
            assert!(start.elapsed() < patience(), "{bridge} is not made");
        }
        std::thread::sleep(Duration::from_micros(u64::from(round) * 100));
        let was_kept =
            daemon.exec_root().join("networks").read_dir().is_ok_and(|mut entries| entries.next().is_none());
        daemon.kill(daemon.daemon().expect("a daemon"));
        let _ = making.wait();
        let known = daemon.corten(&["network", "inspect", &name]).code == 0;
        assert_eq!(bridges().contains(&bridge), known, "round {round}");
        assert!(known || !was_kept, "round {round}: it was kept and is gone");
        assert!(
            daemon.exec_root().join("networks").read_dir().is_ok_and(|mut entries| entries.next().is_none())
        );
    }
    for name in daemon.ok(&["network", "ls", "-q", "--filter", "type=custom"]).split_whitespace() {
        daemon.ok(&["network", "rm", name]);
    }
    assert_eq!(bridges(), Vec::<String>::new());
}
