//! `install` and `uninstall` in a folder that stands for the machine.

use crate::{Output, run};
use corten_testing::Scratch;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

struct Machine(Scratch);

impl Machine {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        std::fs::create_dir(scratch.path().join("root")).unwrap();
        Self(scratch)
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    fn run(&self, command: &str, words: &[&str]) -> Output {
        let root = self.root().display().to_string();
        let words = [&[command, "--root", &root], words].concat();
        let output = run(&self.0.path().join("no.sock"), &words);
        let short = |text: &str| text.replace(&root, "ROOT");
        Output { out: short(&output.out), err: short(&output.err), code: output.code }
    }

    /// Every file and link below the root, with its mode or what it leads to; folders end in a slash.
    fn tree(&self) -> BTreeMap<String, String> {
        fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(root).unwrap().display().to_string();
                let metadata = std::fs::symlink_metadata(&path).unwrap();
                if metadata.is_dir() {
                    found.insert(format!("{name}/"), String::new());
                    walk(root, &path, found);
                } else if metadata.is_symlink() {
                    found.insert(name, std::fs::read_link(&path).unwrap().display().to_string());
                } else {
                    found.insert(name, format!("{:o}", metadata.permissions().mode() & 0o7777));
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(&self.root(), &self.root(), &mut found);
        found
    }
}

const ALL: &str = "\
ROOT/usr/local/bin/corten
ROOT/usr/local/share/bash-completion/completions/corten
ROOT/usr/local/share/zsh/site-functions/_corten
ROOT/usr/local/share/fish/vendor_completions.d/corten.fish
ROOT/usr/local/lib/systemd/system/corten.service
ROOT/usr/local/lib/systemd/system/corten.socket
";

#[test]
fn what_was_put_is_taken_away_and_nothing_else() {
    let machine = Machine::new("install");
    std::fs::create_dir_all(machine.at("usr/local/bin")).unwrap();
    std::fs::write(machine.at("usr/local/bin/other"), "").unwrap();
    std::fs::create_dir_all(machine.at("var/lib/corten")).unwrap();
    let before = machine.tree();
    let dry = machine.run("install", &["--dry-run"]);
    assert_eq!((dry.out.as_str(), dry.code), (ALL, 0));
    assert_eq!(machine.tree(), before, "--dry-run");

    let installed = machine.run("install", &[]);
    assert_eq!((installed.out.as_str(), installed.err.as_str(), installed.code), (ALL, "", 0));
    let tree = machine.tree();
    assert_eq!(tree["usr/local/bin/corten"], "755");
    assert_eq!(tree["usr/local/lib/systemd/system/corten.service"], "644");
    let program = std::fs::read(machine.at("usr/local/bin/corten")).unwrap();
    assert!(program == std::fs::read(std::env::current_exe().unwrap()).unwrap(), "the program itself");
    // Over itself, as an upgrade does it; what is left out now is still known.
    assert_eq!(machine.run("install", &["--no-systemd"]).code, 0);
    assert_eq!(machine.tree(), tree);

    assert_eq!(machine.run("uninstall", &["--dry-run"]).out, ALL);
    assert_eq!(machine.tree(), tree, "--dry-run");
    let removed = machine.run("uninstall", &[]);
    assert_eq!((removed.out.as_str(), removed.code), (ALL, 0));
    assert_eq!(removed.err, "ROOT/var/lib/corten stays: images, containers, volumes\n");
    assert_eq!(machine.tree(), before);
    let again = machine.run("uninstall", &[]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("nothing is installed there"), "{}", again.err);
}

#[test]
fn what_others_put_is_not_written_over() {
    let machine = Machine::new("install-others");
    let units = machine.at("usr/local/lib/systemd/system");
    std::fs::create_dir_all(machine.at("usr/local/bin")).unwrap();
    std::fs::create_dir_all(&units).unwrap();
    std::fs::write(machine.at("usr/local/bin/docker"), "Docker's").unwrap();
    std::fs::write(units.join("corten.socket"), "mine").unwrap();
    let before = machine.tree();
    let refused = machine.run("install", &["--docker"]);
    assert_eq!(refused.code, 1);
    for name in
        ["`ROOT/usr/local/bin/docker` was not", "`ROOT/usr/local/lib/systemd/system/corten.socket` was not"]
    {
        assert!(refused.err.contains(name), "{}", refused.err);
    }
    assert_eq!(machine.tree(), before, "refused before anything changed");

    std::fs::remove_file(units.join("corten.socket")).unwrap();
    assert_eq!(machine.run("install", &[]).code, 0);
    std::fs::write(units.join("corten.service"), "changed").unwrap();
    let refused = machine.run("install", &[]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("corten.service` was changed since"), "{}", refused.err);
    let removed = machine.run("uninstall", &[]);
    assert!(
        removed.err.contains("corten.service was changed since it was installed, and stays"),
        "{}",
        removed.err
    );
    assert!(!machine.at("usr/local/bin/corten").exists());
    assert_eq!(std::fs::read_to_string(units.join("corten.service")).unwrap(), "changed");
    assert_eq!(std::fs::read_to_string(machine.at("usr/local/bin/docker")).unwrap(), "Docker's");
    // What stayed is still known: put as it was, it goes.
    std::fs::remove_file(units.join("corten.service")).unwrap();
    assert_eq!(machine.run("uninstall", &[]).code, 0);
    assert!(!machine.at("usr/local/share").exists());
}

#[test]
fn dockers_place_is_taken_where_it_is_free() {
    let machine = Machine::new("install-docker");
    let words = ["--docker", "--group", "docker", "--prefix", "/opt/corten/"];
    let installed = machine.run("install", &words);
    assert_eq!((installed.err.as_str(), installed.code), ("", 0));
    assert_eq!(machine.tree()["opt/corten/bin/docker"], "corten");
    let unit = |name: &str| std::fs::read_to_string(machine.at("etc/systemd/system").join(name)).unwrap();
    let socket = unit("corten.socket");
    assert!(
        socket.contains("ListenStream=/run/docker.sock\n") && socket.contains("SocketGroup=docker\n"),
        "{socket}"
    );
    assert!(unit("corten.service").contains("\nExecStart=/opt/corten/bin/corten daemon -H fd://\n"));
    let completion = machine.at("opt/corten/share/bash-completion/completions/docker");
    assert!(std::fs::read_to_string(completion).unwrap().contains("_docker_complete docker"));

    // Enabled units are a reason to wait.
    let wants = machine.at("etc/systemd/system/sockets.target.wants");
    std::fs::create_dir(&wants).unwrap();
    std::os::unix::fs::symlink("../corten.socket", wants.join("corten.socket")).unwrap();
    let refused = machine.run("uninstall", &["--prefix", "/opt/corten"]);
    assert!(refused.err.contains("systemctl disable --now"), "{}", refused.err);
    std::fs::remove_dir_all(&wants).unwrap();
    assert_eq!(machine.run("uninstall", &["--prefix", "/opt/corten"]).code, 0);
    assert_eq!(machine.tree(), BTreeMap::new());

    std::fs::create_dir_all(machine.at("usr/lib/systemd/system")).unwrap();
    std::fs::write(machine.at("usr/lib/systemd/system/docker.socket"), "").unwrap();
    let installed = machine.run("install", &words);
    assert!(installed.err.contains("Docker's socket stays Docker's"), "{}", installed.err);
    assert!(!unit("corten.socket").contains("docker.sock"));
}

#[test]
fn what_fails_half_way_leaves_nothing() {
    let machine = Machine::new("install-fails");
    // A file where a folder is needed, seen only on the way.
    std::fs::create_dir_all(machine.at("usr/local/lib")).unwrap();
    std::fs::write(machine.at("usr/local/lib/systemd"), "").unwrap();
    let before = machine.tree();
    let failed = machine.run("install", &[]);
    assert_eq!(failed.code, 1, "{}", failed.err);
    assert!(failed.err.contains("usr/local/lib/systemd"), "{}", failed.err);
    assert_eq!(machine.tree(), before);
    for (words, text) in [
        (&["--prefix", "usr"][..], "a path from / on is wanted"),
        (&["--prefix", "/a/../b"], "a path from / on is wanted"),
        (&["--prefix", "/a b"], "a path from / on is wanted"),
        (&["--group", "a b"], "the name or number of a group is wanted"),
    ] {
        let failed = machine.run("install", words);
        assert!(failed.code == 1 && failed.err.contains(text), "{words:?}: {}", failed.err);
    }
    assert_eq!(machine.tree(), before);
}

#[test]
fn the_page_has_the_units() {
    let machine = Machine::new("install-page");
    assert_eq!(machine.run("install", &[]).code, 0);
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/systemd.md")).unwrap();
    for unit in ["corten.service", "corten.socket"] {
        let unit = std::fs::read_to_string(machine.at("usr/local/lib/systemd/system").join(unit)).unwrap();
        assert!(page.contains(&format!("```ini\n{unit}```")), "docs/systemd.md lacks:\n{unit}");
    }
}
