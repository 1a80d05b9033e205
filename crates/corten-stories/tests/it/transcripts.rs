//! The transcripts of `docs/transcripts.md`: the commands are run, and what they print is what the page says.
//! `CORTEN_UPDATE=1` writes the page's blocks anew.

use crate::policy::Signer;
use corten_testing::Scratch;
use corten_testing::daemon::{Said, ScratchDaemon};
use corten_testing::fixture::{Entry, tar};
use corten_testing::registry::Registry;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Who reads or writes the page: the stories run side by side, and each writes its own block of it.
static PAGE: Mutex<()> = Mutex::new(());

/// What was typed and what came of it.
struct Transcript {
    text: String,
    /// What is of this run alone, and what stands for it.
    words: Vec<(String, String)>,
}

impl Transcript {
    fn new(words: &[(String, &str)]) -> Self {
        let words = words.iter().map(|(found, shown)| (found.clone(), (*shown).to_owned())).collect();
        Self { text: String::new(), words }
    }

    /// Runs a command on a machine with this daemon.
    fn run(&mut self, prompt: &str, daemon: &ScratchDaemon, words: &[&str]) {
        let said = daemon.corten(words);
        self.add(prompt, &format!("corten {}", quoted(words)), &said.out, &said.err, said.code);
    }

    fn file(&mut self, prompt: &str, path: &Path) {
        let text = std::fs::read_to_string(path).expect("a file");
        self.add(prompt, &format!("cat {}", path.display()), &text, "", 0);
    }

    /// Runs a command of the machine.
    fn shell(&mut self, prompt: &str, words: &[&str]) {
        let output = Command::new(words[0]).args(&words[1..]).output().expect("it runs");
        let said = Said::from(output);
        self.add(prompt, &quoted(words), &said.out, &said.err, said.code);
    }

    fn add(&mut self, prompt: &str, typed: &str, out: &str, err: &str, code: i32) {
        let _ = writeln!(self.text, "{prompt}$ {}", self.settled(typed));
        for line in in_order(out.lines().chain(err.lines()).map(|line| self.settled(line)).collect()) {
            let _ = writeln!(self.text, "{line}");
        }
        if code != 0 {
            let _ = writeln!(self.text, "{prompt}$ echo $?\n{code}");
        }
    }

    /// A line without what is another each time.
    fn settled(&self, line: &str) -> String {
        let line = self.words.iter().fold(line.to_owned(), |line, (found, shown)| line.replace(found, shown));
        let words: Vec<&str> = line.split(' ').collect();
        let is_measure = |at: usize| {
            let unit = words.get(at + 1).is_some_and(|unit| {
                ["ms", "s", "µs", "us"].contains(&unit.trim_end_matches([',', ';', ')']))
            });
            let number = words[at].trim_start_matches('(');
            (unit && number.parse::<f64>().is_ok()) || number.trim_end_matches(')').ends_with("B/s")
        };
        let settled = words.iter().enumerate().map(|(at, word)| {
            if is_measure(at) {
                let open = if word.starts_with('(') { "(" } else { "" };
                let close = if word.ends_with(')') { ")" } else { "" };
                return format!("{open}…{}{close}", if word.contains("B/s") { " MB/s" } else { "" });
            }
            match word.find("sha256:") {
                // A digest; what is behind it stays.
                Some(begin) if word.len() >= begin + 71 => {
                    let (name, rest) = word.split_at(begin + 7);
                    format!("{name}{}…{}", &rest[..12], &rest[64..])
                }
                _ => (*word).to_owned(),
            }
        });
        settled.collect::<Vec<_>>().join(" ")
    }

    /// Compares with the block of this name in the page, or writes it there.
    fn compare(&self, name: &str) {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/transcripts.md");
        let _alone = PAGE.lock().unwrap_or_else(PoisonError::into_inner);
        let page = std::fs::read_to_string(path).expect("the page");
        let (begin, end) = (format!("<!-- transcript: {name} -->\n```console\n"), "```\n<!-- end -->");
        let (before, rest) =
            page.split_once(&begin).unwrap_or_else(|| panic!("{name} has a place in the page"));
        let (block, after) = rest.split_once(end).expect("an end");
        if std::env::var_os("CORTEN_UPDATE").is_some() {
            std::fs::write(path, format!("{before}{begin}{}{end}{after}", self.text)).expect("it is written");
        } else if cfg!(target_arch = "x86_64") {
            // Elsewhere the images say so, and have other digests.
            assert_eq!(
                block, self.text,
                "docs/transcripts.md is out of date: CORTEN_UPDATE=1 cargo test -p corten-stories -- transcripts"
            );
        }
    }
}

/// The words as one types them in a shell.
fn quoted(words: &[&str]) -> String {
    let quoted = |word: &&str| {
        if word.contains([' ', '{']) { format!("'{word}'") } else { (*word).to_owned() }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// The lines with those that come of work side by side in the order of what they are about.
fn in_order(mut lines: Vec<String>) -> Vec<String> {
    let key = |line: &String| {
        let word = line.split(' ').nth(2).unwrap_or_default();
        if line.ends_with(": Pulling fs layer") {
            // In the image's order, as are those that are unpacked.
            return Some((0, String::new()));
        }
        if line.ends_with(": Pull complete") {
            return Some((2, String::new()));
        }
        if line.ends_with(": Verifying Checksum") || line.ends_with(": Download complete") {
            return Some((1, line.split(':').next().unwrap_or_default().to_owned()));
        }
        if line.starts_with("Explain: GET blobs/") {
            return Some((3, word.to_owned()));
        }
        if line.starts_with("GET /v2/") && line.contains("/blobs/") {
            return Some((3, line.clone()));
        }
        (line.starts_with("Explain: ") && line.contains(" from http")).then(|| (4, line.clone()))
    };
    let mut begin = 0;
    while begin < lines.len() {
        let end = begin + lines[begin..].iter().take_while(|line| key(line).is_some()).count();
        lines[begin..end].sort_by_key(|line| key(line));
        begin = end + 1;
    }
    lines
}

/// Adds an image that has this text in a file, on a layer that all such images share.
fn add(registry: &Registry, repository: &str, tag: &str, text: &str) -> String {
    let layers = [
        tar(&[Entry::File("base", 0o644, &vec![7; 4_000_000])]),
        tar(&[Entry::File("text", 0o644, text.as_bytes())]),
    ];
    registry.add_tars(repository, tag, &layers, <[u8]>::to_vec)
}

/// A folder of a registry below `/etc/corten/certs.d`; it goes at the end.
struct Hosts(PathBuf);

impl Hosts {
    fn of(registry: &Registry, text: &str) -> Self {
        let folder = PathBuf::from("/etc/corten/certs.d").join(registry.host());
        std::fs::create_dir_all(&folder).expect("root may");
        std::fs::write(folder.join("hosts.toml"), text).expect("a file");
        Self(folder)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
        // Only where nothing else is in them.
        let _ = std::fs::remove_dir("/etc/corten/certs.d");
        let _ = std::fs::remove_dir("/etc/corten");
    }
}

#[test]
fn mirrors() {
    if !corten_testing::need_root() {
        return;
    }
    let daemon = ScratchDaemon::start("script-mirrors", &[]);
    let (registry, mirror) = (Registry::start(), Registry::start());
    for one in [&registry, &mirror] {
        add(one, "app", "1", "one");
        add(one, "app", "2", "two");
    }
    let hosts = Hosts::of(
        &registry,
        &format!(
            "server = \"http://{}\"\n\n[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
            registry.host(),
            mirror.host()
        ),
    );
    let mut script = Transcript::new(&[
        (registry.host(), "registry.example:5000"),
        (mirror.host(), "mirror.example:5000"),
    ]);
    script.file("", &hosts.0.join("hosts.toml"));
    script.run("", &daemon, &["pull", "--explain", &format!("{}/app:1", registry.host())]);
    assert_eq!(registry.seen().len(), 0, "the mirror is enough");
    mirror.end();
    script.run("", &daemon, &["pull", "--explain", &format!("{}/app:2", registry.host())]);
    script.compare("mirrors");
}

#[test]
fn caches() {
    if !corten_testing::need_root() {
        return;
    }
    let cache = Registry::start();
    add(&cache, "library/app", "latest", "one");
    let folder = Scratch::new("script-settings");
    let settings = folder.path().join("daemon.json");
    let text = format!("{{\n  \"registry-mirrors\": [\"http://{}\"]\n}}\n", cache.host());
    std::fs::write(&settings, text).expect("a file");
    let daemon =
        ScratchDaemon::start("script-caches", &["--config-file", settings.to_str().expect("a path")]);
    let mut script = Transcript::new(&[
        (cache.host(), "cache.example:5000"),
        (folder.path().display().to_string(), "/etc/docker"),
    ]);
    script.file("", &settings);
    script.run("", &daemon, &["pull", "--explain", "app"]);
    let sent = cache.sent();
    script.run("", &daemon, &["pull", "app"]);
    assert_eq!(cache.sent(), sent, "nothing is fetched twice");
    script.compare("caches");
}

#[test]
fn a_cache_of_any_registry() {
    if !corten_testing::need_root() {
        return;
    }
    let (registry, cache) = (Registry::start(), Registry::start());
    add(&cache, "app", "1", "one");
    let hosts = Hosts::of(
        &registry,
        &format!("[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n", cache.host()),
    );
    let daemon = ScratchDaemon::start("script-ns", &[]);
    let mut script = Transcript::new(&[
        (registry.host(), "registry.example:5000"),
        (cache.host(), "cache.example:5000"),
        (daemon.folder().display().to_string(), "/var/log"),
    ]);
    let name = format!("{}/app:1", registry.host());
    script.file("", &hosts.0.join("hosts.toml"));
    script.run("", &daemon, &["pull", "-q", &name]);
    script.run("", &daemon, &["pull", &name]);
    assert_eq!(registry.seen().len(), 0, "the cache is enough");
    // What the cache was asked, as it would stand in its log.
    let log = daemon.folder().join("requests");
    let asked = cache.seen().into_iter().map(|seen| format!("{} {}\n", seen.method, seen.target));
    std::fs::write(&log, asked.collect::<String>()).expect("a file");
    script.file("cache", &log);
    script.compare("cache-of-any");
}

#[test]
fn air_gapped() {
    if !corten_testing::need_root() {
        return;
    }
    let registry = Registry::start();
    add(&registry, "app", "1", "one");
    add(&registry, "app", "2", "two");
    let [here, there, empty] =
        ["script-here", "script-there", "script-empty"].map(|name| ScratchDaemon::start(name, &[]));
    let name = |tag: &str| format!("{}/app:{tag}", registry.host());
    let stick = here.folder().join("stick");
    std::fs::create_dir(&stick).expect("a folder");
    let file = |name: &str| stick.join(name).display().to_string();
    let mut script = Transcript::new(&[
        (registry.host(), "registry.example:5000"),
        (stick.display().to_string(), "/stick"),
    ]);
    script.run("connected", &here, &["pull", "-q", &name("1")]);
    script.run("connected", &here, &["image", "bundle", "-o", &file("first.tar"), &name("1")]);
    script.run("far", &there, &["load", "-i", &file("first.tar")]);
    script.run("connected", &here, &["pull", "-q", &name("2")]);
    let since = ["image", "bundle", "--since", &file("first.tar"), "-o", &file("news.tar"), &name("2")];
    script.run("connected", &here, &since);
    let sizes = ["first.tar", "news.tar"].map(|name| std::fs::metadata(stick.join(name)).expect("it").len());
    assert!(sizes[1] * 4 < sizes[0], "{sizes:?}");
    script.shell("connected", &["stat", "--format=%s %n", &file("first.tar"), &file("news.tar")]);
    script.run("far", &there, &["load", "-i", &file("news.tar")]);
    script.run("far", &there, &["images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]);
    script.run("empty", &empty, &["load", "-i", &file("news.tar")]);
    script.compare("air-gapped");
}

#[test]
fn signatures() {
    if !corten_testing::need_root() {
        return;
    }
    let folder = Scratch::new("script-policy");
    let registry = Registry::start();
    let signer = Signer::new(folder.path(), "prod.pub");
    let policy = folder.path().join("policy.toml");
    let rule = format!("[[rule]]\nrepository = \"{}/*\"\nsigned = [\"prod.pub\"]\n", registry.host());
    std::fs::write(&policy, rule).expect("a file");
    let daemon = ScratchDaemon::start("script-policy", &["--policy", policy.to_str().expect("a path")]);
    add(&registry, "app", "1", "one");
    let signed = add(&registry, "app", "2", "two");
    signer.cosign(&registry, &signed, &signed);
    let mut script = Transcript::new(&[
        (registry.host(), "registry.example:5000"),
        (folder.path().display().to_string(), "/etc/corten"),
    ]);
    let name = |tag: &str| format!("{}/app:{tag}", registry.host());
    script.file("", &policy);
    script.run("", &daemon, &["pull", &name("1")]);
    script.run("", &daemon, &["pull", &name("2")]);
    // From here on without the registry.
    registry.end();
    script.run("", &daemon, &["pull", "-q", &name("2")]);
    script.run("", &daemon, &["image", "verify", &name("2")]);
    let key = folder.path().join("prod.pub").display().to_string();
    script.run("", &daemon, &["image", "verify", "--key", &key, &name("2")]);
    script.compare("signatures");
}
