//! Every argument and flag of every command, as its own help lists them, given wrongly: missing, empty, too long, of
//! bytes that are no text, of another type.
//!
//! A refusal is one clear line with Docker's exit code and changes nothing: no container, network, volume, image, context or
//! file. `CORTEN_ARGUMENTS_PEER` names a docker client: the same lines are given to it, and the exit codes compared.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use corten_testing::daemon::{Said, ScratchDaemon, program};

use super::description::http::ask;

/// One string of an argument list is at most 128 KiB long (execve(2)).
const TOO_LONG: usize = 120_000;

/// What stands before the broken flag, where a command without it would not end or would do something for good.
const BASES: &[(&str, &[&str])] = &[
    ("container attach", &["no-such-thing"]),
    ("container create", &["busybox", "true"]),
    ("container run", &["busybox", "true"]),
    ("container stats", &["--no-stream"]),
    ("system events", &["--until=1"]),
];

/// A way to give an argument wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Missing,
    Empty,
    TooLong,
    Binary,
    Type,
}

/// One flag of a command's help.
struct Flag {
    name: String,
    /// The word behind it; none for a switch.
    kind: Option<String>,
}

/// One command, as its help tells.
struct Described {
    name: String,
    arguments: Vec<String>,
    flags: Vec<Flag>,
}

#[test]
fn every_argument_given_wrongly_is_refused_in_one_line() {
    let Some(daemon) = super::daemon("arguments") else { return };
    std::fs::create_dir_all(daemon.folder().join("here")).unwrap();
    daemon.ok(&["create", "--name", "kept", "busybox", "true"]);
    let peer = std::env::var_os("CORTEN_ARGUMENTS_PEER");
    let commands = commands(&daemon);
    assert!(commands.len() > 60, "only {} commands have a help", commands.len());
    let mut matrix =
        Matrix { daemon: &daemon, peer, counts: BTreeMap::new(), wrong: Vec::new(), before: state(&daemon) };
    for command in &commands {
        for flag in &command.flags {
            let dashed = format!("--{}", flag.name);
            if flag.kind.is_some() {
                matrix.check(command, Wrong::Missing, vec![(&dashed).into()], false);
                for wrong in [Wrong::Empty, Wrong::TooLong, Wrong::Binary, Wrong::Type] {
                    let mut word = OsString::from(format!("{dashed}="));
                    word.push(value(wrong));
                    matrix.check(command, wrong, vec![word], true);
                }
            } else {
                matrix.check(command, Wrong::Type, vec![format!("{dashed}=perhaps").into()], true);
            }
        }
        matrix.check(command, Wrong::Missing, Vec::new(), false);
        for at in 0..command.arguments.len() {
            for wrong in [Wrong::Empty, Wrong::TooLong, Wrong::Binary] {
                let mut words: Vec<OsString> = command.arguments.iter().map(OsString::from).collect();
                words[at] = value(wrong);
                matrix.check(command, wrong, words, false);
            }
        }
    }
    let Matrix { counts, wrong, .. } = matrix;
    let given: u32 = counts.values().map(|(given, _)| given).sum();
    assert!(given > 1500, "only {given} lines were given: {counts:?}");
    assert!(wrong.is_empty(), "{} answers of {counts:?}:\n{}", wrong.len(), wrong.join("\n"));
}

fn value(wrong: Wrong) -> OsString {
    match wrong {
        Wrong::Missing | Wrong::Empty => OsString::new(),
        Wrong::TooLong => "x".repeat(TOO_LONG).into(),
        Wrong::Binary => OsString::from_vec(vec![0xff, 0xfe, b'x', 0x01]),
        Wrong::Type => "x-wrong".into(),
    }
}

struct Matrix<'a> {
    daemon: &'a ScratchDaemon,
    peer: Option<OsString>,
    /// By way: how many were given, how many refused.
    counts: BTreeMap<String, (u32, u32)>,
    wrong: Vec<String>,
    before: Vec<String>,
}

impl Matrix<'_> {
    /// Gives one line; with `rest` the arguments that the command wants follow.
    fn check(&mut self, command: &Described, wrong: Wrong, words: Vec<OsString>, rest: bool) {
        let mut line: Vec<OsString> = command.name.split(' ').map(OsString::from).collect();
        let base = BASES.iter().find(|(name, _)| *name == command.name).map_or(&[][..], |(_, base)| *base);
        line.extend(base.iter().filter(|word| word.starts_with("--")).map(OsString::from));
        line.extend(words.iter().cloned());
        if rest {
            line.extend(command.arguments.iter().map(OsString::from));
        }
        let shown = shown(&line);
        if shown == "system events --until=1 --until=" {
            // No end at all, here as in Docker.
            return;
        }
        let Some(said) = self.give(program().as_os_str(), &line) else {
            return self.wrong.push(format!("{shown}: does not end"));
        };
        let count = self.counts.entry(format!("{wrong:?}")).or_default();
        count.0 += 1;
        count.1 += u32::from(said.code != 0);
        let mut complain = |what: &str| {
            let err: String = said.err.chars().take(400).collect();
            self.wrong.push(format!("{shown}: {what} (code {}): {err}", said.code));
        };
        if said.code >= 128 || said.err.contains("panicked") {
            complain("no refusal but a crash");
        }
        let typed = command.flags.iter().find(|flag| {
            words
                .first()
                .is_some_and(|word| word.as_bytes().starts_with(format!("--{}=", flag.name).as_bytes()))
        });
        let must_fail = match (wrong, typed) {
            (Wrong::Missing, _) => !words.is_empty() || !command.arguments.is_empty(),
            (Wrong::Type | Wrong::Empty | Wrong::Binary, Some(flag)) => match flag.kind.as_deref() {
                None => true,
                Some(kind) => {
                    kind.starts_with("int")
                        || kind.starts_with("uint")
                        || ["duration", "decimal", "float"].contains(&kind)
                }
            },
            _ => false,
        };
        if must_fail && said.code == 0 {
            complain("is taken");
        }
        if said.code != 0 {
            let lines: Vec<&str> = said.err.lines().filter(|line| !line.is_empty()).collect();
            if lines.is_empty() || lines.len() > 6 || lines[0].len() > 3 * TOO_LONG {
                complain("is not one clear line");
            }
            // A flag that is wrong ends with 125 in every command, too few arguments with 1.
            let wanted = if words.is_empty() { 1 } else { 125 };
            if must_fail && said.code != wanted {
                complain("has another exit code than Docker");
            }
        }
        let after = state(self.daemon);
        if after != self.before {
            // A container whose start fails stays, as Docker's does; anything else is a change that nobody asked for.
            if said.code != 0 && (must_fail || command.name != "container run") {
                complain(&format!("was refused and changed something: {after:?}"));
            }
            self.restore();
        }
        if let Some(peer) = self.peer.clone()
            && let Some(theirs) = self.give(&peer, &line)
        {
            if theirs.code != said.code {
                let err: String = said.err.chars().take(200).collect();
                let their: String = theirs.err.chars().take(200).collect();
                self.wrong.push(format!("{shown}: {} {err:?}, docker {} {their:?}", said.code, theirs.code));
            }
            self.restore();
        }
    }

    fn restore(&mut self) {
        for id in
            self.daemon.ok(&["ps", "-aq", "--filter", "status=created", "--filter", "status=exited"]).lines()
        {
            if self.daemon.ok(&["inspect", "--format", "{{.Name}}", id]) != "/kept" {
                self.daemon.ok(&["rm", "-fv", id]);
            }
        }
        for id in self.daemon.ok(&["ps", "-q"]).lines() {
            self.daemon.ok(&["rm", "-fv", id]);
        }
        self.before = state(self.daemon);
    }

    fn give(&self, program: &OsStr, line: &[OsString]) -> Option<Said> {
        let folder = self.daemon.folder();
        let mut command = Command::new(program);
        command
            .args(line)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("DOCKER_HOST", format!("unix://{}", self.daemon.socket().display()))
            .env("HOME", folder.join("here"))
            .current_dir(folder.join("here"))
            .stdin(Stdio::null());
        // Files, not pipes: nothing has to be read while the program runs.
        let files = ["out", "err"].map(|name| folder.join(name));
        command
            .stdout(std::fs::File::create(&files[0]).unwrap())
            .stderr(std::fs::File::create(&files[1]).unwrap());
        let mut child = command.spawn().expect("the program starts");
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("our child") {
                break status;
            }
            if start.elapsed() > corten_testing::patience(15) {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let [out, err] = files.map(|file| std::fs::read(file).unwrap_or_default());
        Some(std::process::Output { status, stdout: out, stderr: err }.into())
    }
}

/// What there is: names and ids of everything, contexts and files.
fn state(daemon: &ScratchDaemon) -> Vec<String> {
    let mut state = Vec::new();
    for (target, list, key) in [
        ("/containers/json?all=1", "", "Id"),
        ("/networks", "", "Id"),
        ("/volumes", "Volumes", "Name"),
        ("/images/json?all=1", "", "RepoTags"),
    ] {
        let answer = ask(&daemon.socket(), "GET", target, None).json();
        let entries = if list.is_empty() { &answer } else { &answer[list] };
        let mut names: Vec<String> =
            entries.as_array().into_iter().flatten().map(|entry| entry[key].to_string()).collect();
        names.sort();
        state.push(names.join(" "));
    }
    let mut files = Vec::new();
    list(&daemon.folder().join("here"), &mut files);
    files.sort();
    state.extend(files);
    state
}

fn list(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        found.push(entry.path().display().to_string());
        if entry.path().is_dir() {
            list(&entry.path(), found);
        }
    }
}

/// Walks the helps.
fn commands(daemon: &ScratchDaemon) -> Vec<Described> {
    let rows = |help: &str| -> Vec<String> {
        let mut rows = Vec::new();
        let mut within = false;
        for line in help.lines() {
            if line.is_empty() {
                within = false;
            } else if within && line.starts_with("  ") && !line.starts_with("   ") {
                rows.extend(line.split_whitespace().next().map(str::to_owned));
            } else if !line.starts_with(' ') {
                within = line.ends_with("Commands:");
            }
        }
        rows.retain(|name| !name.ends_with('*'));
        rows
    };
    let mut names = Vec::new();
    let top = rows(&daemon.ok(&["--help"]));
    for name in top {
        // A foreground daemon of its own is another matter.
        if name == "daemon" {
            continue;
        }
        let said = daemon.corten(&[&name, "--help"]);
        if said.code != 0 && said.err.contains("not built yet") {
            continue;
        }
        let below = rows(&said.out);
        if below.is_empty() {
            names.push(name);
        } else {
            names.extend(below.into_iter().map(|sub| format!("{name} {sub}")));
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut commands = Vec::new();
    for name in names {
        let words: Vec<&str> = name.split(' ').chain(["--help"]).collect();
        let Said { out: help, .. } = daemon.corten(&words);
        if help.is_empty() {
            continue;
        }
        // `ps` and `container ls` are one command: its long name, the first of its aliases.
        let aliases =
            help.split("\nAliases:\n").nth(1).and_then(|rest| rest.lines().next()).map(str::to_owned);
        let first = aliases.and_then(|line| {
            line.trim().split(", ").next()?.split_once(' ').map(|(_, name)| name.to_owned())
        });
        let name = first.unwrap_or(name);
        if seen.insert(name.clone()) {
            commands.push(describe(name, &help));
        }
    }
    commands
}

fn describe(name: String, help: &str) -> Described {
    let usage = help.lines().next().unwrap_or_default();
    let usage = usage.strip_prefix("Usage:").unwrap_or_default();
    let mut arguments: Vec<String> = match BASES.iter().find(|(known, _)| *known == name) {
        Some((_, base)) => {
            base.iter().filter(|word| !word.starts_with("--")).map(|word| (*word).to_owned()).collect()
        }
        None => usage
            .split_whitespace()
            .filter(|word| {
                word.starts_with(|letter: char| letter.is_ascii_uppercase())
                    && (!word.ends_with(']') || word.contains('['))
            })
            .map(|word| if word.contains(':') { "no-such-thing:/x" } else { "no-such-thing" }.to_owned())
            .collect(),
    };
    if name == "container cp" {
        arguments.truncate(2);
    }
    let mut flags = Vec::new();
    for line in help.split("\nOptions:\n").nth(1).unwrap_or_default().lines() {
        let Some(rest) = line.get(6..).and_then(|rest| rest.strip_prefix("--")) else { continue };
        let (declared, _) = rest.split_once("  ").unwrap_or((rest, ""));
        let mut words = declared.split(' ');
        flags.push(Flag {
            name: words.next().unwrap_or_default().to_owned(),
            kind: words.next().map(str::to_owned),
        });
    }
    Described { name, arguments, flags }
}

/// A line as it can be shown.
fn shown(line: &[OsString]) -> String {
    let words = line.iter().map(|word| {
        let word = word.to_string_lossy();
        if word.len() > 1000 {
            format!("{}… ({} bytes)", word.chars().take(30).collect::<String>(), word.len())
        } else {
            word.into_owned()
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// What a create is asked for, and what becomes of it.
#[test]
fn a_create_is_as_lenient_as_dockers() {
    let Some(daemon) = super::daemon("lenient") else { return };
    let run = |more: &[&str], ask: &[&str]| {
        daemon.ok(&[&["run", "--rm", "--stop-signal", "99"], more, &["busybox"], ask].concat())
    };
    assert_eq!(run(&["--hostname", "a b"], &["hostname"]), "a b");
    // A volume with a path that is not absolute is mounted below the root, wherever the program starts.
    assert!(run(&["-v", "./deep/down", "-w", "/tmp"], &["mount"]).contains(" on /deep/down type "));
    run(&["--expose", "80/odd", "--expose", "0", "-P"], &["true"]);
    let exposed = daemon.ok(&["create", "--expose", "80/odd", "--name", "odd", "busybox", "true"]);
    let format = "{{json .Config.ExposedPorts}}";
    assert_eq!(daemon.ok(&["inspect", "-f", format, &exposed]), r#"{"80/odd":{}}"#);
    for (flags, text) in [
        (["--volumes-from", "nobody"], "No such container: nobody"),
        (["--ipc", "container:nobody"], "No such container: nobody"),
        (["--mac-address", "zz"], "zz is not a valid mac address"),
        (["--log-opt", "mode=odd"], "logger: logging mode not supported: odd"),
        (["--stop-signal", "odd"], "invalid signal: odd"),
    ] {
        let said = daemon.corten(&[&["create"], &flags[..], &["busybox"]].concat());
        assert!(
            said.code != 0 && said.err.contains(text) && !said.err.contains("Unable to find"),
            "{said:?}"
        );
    }
}
