//! Without root: the whole life of a container that belongs to somebody else, as `runc spec --rootless` begins it.
//! `CORTEN_TEST_USER=65534` tells the other tests in the same way; those about cgroups, devices and further ids cannot pass then.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Bundle, Said, bundle, somebody, wait};

/// Who has no rights.
const NOBODY: u32 = 65534;

/// A bundle of nobody's, the program where nobody can read it, and the document that `spec --rootless` writes.
struct Rootless {
    bundle: Bundle,
    program: PathBuf,
}

impl Rootless {
    fn new(name: &str) -> Option<Self> {
        // Who is told of as somebody else already needs no test of it.
        let mut bundle = bundle(name, "").filter(|_| somebody().is_none())?;
        let program = bundle.folder().join("runc");
        bundle.belong_to(NOBODY);
        fs::copy(corten_testing::daemon::program(), &program).unwrap();
        let _ = fs::remove_file(bundle.path().join("config.json"));
        let rootless = Self { bundle, program };
        assert_eq!(rootless.call(&["spec", "--rootless"]).code, 0);
        Some(rootless)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.uid(NOBODY).gid(NOBODY).current_dir(self.bundle.path()).stdin(Stdio::null());
        command.env("XDG_RUNTIME_DIR", self.bundle.folder()).args(words);
        command
    }

    fn call(&self, words: &[&str]) -> Said {
        Said::of(&self.command(words).output().unwrap())
    }

    /// The document's process runs this, without a terminal.
    fn runs(&self, script: &str, change: impl FnOnce(&mut Value)) {
        let path = self.bundle.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/bin/sh", "-c", script]);
        config["root"]["readonly"] = json!(false);
        change(&mut config);
        fs::write(&path, config.to_string()).unwrap();
    }
}

#[test]
fn somebody_runs_a_container() {
    let Some(rootless) = Rootless::new("rootless") else { return };
    rootless.runs("id -u; cat /proc/self/uid_map; touch /made; echo $$; exit 3", |_| ());
    let said = rootless.call(&["run", "one"]);
    assert_eq!((said.code, said.err.as_str()), (3, ""), "{said:?}");
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!((lines[0], lines[2]), ("0", "1"), "{said:?}");
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["0", "65534", "1"]);
    let made = fs::metadata(rootless.bundle.rootfs().join("made")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), NOBODY);

    // In steps, each a call of its own.
    rootless.runs("trap 'exit 5' TERM; touch /ready; while :; do sleep 0.1; done", |_| ());
    let out = fs::File::create(rootless.bundle.folder().join("out")).unwrap();
    let created = rootless.command(&["create", "two"]).stdout(out.try_clone().unwrap()).stderr(out).status();
    assert!(created.unwrap().success(), "{}", rootless.bundle.output());
    let state = || -> Value { serde_json::from_str(&rootless.call(&["state", "two"]).out).expect("a state") };
    assert_eq!((&state()["status"], &state()["owner"]), (&json!("created"), &json!("65534")));
    let folder = rootless.bundle.folder().join("corten-oci/two");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(folder).unwrap()), NOBODY);
    assert_eq!(rootless.call(&["start", "two"]).code, 0);
    wait("the command", || rootless.bundle.rootfs().join("ready").exists());
    let said = rootless.call(&[
        "exec",
        "--env",
        "A=b",
        "two",
        "/bin/sh",
        "-c",
        "echo $A; id -u; ls /proc | grep -c '^1$'; exit 4",
    ]);
    assert_eq!((said.code, said.out.as_str()), (4, "b\n0\n1\n"), "{said:?}");
    // The program is read-only for whoever runs in there.
    let pid = state()["pid"].to_string();
    assert!(fs::read_link(format!("/proc/{pid}/exe")).unwrap().ends_with("bin/busybox"));
    assert_eq!(rootless.call(&["kill", "two", "TERM"]).code, 0);
    wait("the end", || state()["status"] == "stopped");
    assert_eq!(rootless.call(&["delete", "two"]).code, 0);
    assert!(rootless.call(&["list", "--quiet"]).out.is_empty());
    // One that is not started goes all the same.
    let made = rootless.command(&["create", "three"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(made.unwrap().success());
    assert_eq!(rootless.call(&["delete", "--force", "three"]).code, 0);
}

#[test]
fn what_somebody_may_not_is_said() {
    let Some(rootless) = Rootless::new("rootless-refused") else { return };
    let refused = |flags: &[&str], said: &str, change: &dyn Fn(&mut Value)| {
        rootless.runs("true", |config| change(config));
        let got = rootless.call(&[flags, &["run", "bad"]].concat());
        assert!(got.code != 0 && got.err.contains(said), "{said}: {got:?}");
        assert!(rootless.call(&["list", "--quiet"]).out.is_empty(), "{said}");
    };
    let own = json!([{ "containerID": 0, "hostID": NOBODY, "size": 1 }]);
    refused(&[], "rootless container requires user namespaces", &|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().retain(|one| one["type"] != "user");
        config["linux"]["uidMappings"] = json!([]);
        config["linux"]["gidMappings"] = json!([]);
    });
    refused(&[], "must map 0 to 65534", &|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
        config["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 7, "size": 1 }]);
        config["linux"]["gidMappings"] = own.clone();
    });
    refused(&[], "cannot set limits", &|config| {
        config["linux"]["uidMappings"] = own.clone();
        config["linux"]["resources"] = json!({ "pids": { "limit": 5 } });
    });
    refused(&["--rootless=false"], "cgroup", &|config| config["linux"]["resources"] = json!({}));
    refused(&[], "additional groups", &|config| config["process"]["user"]["additionalGids"] = json!([7]));
}

/// Several ids are mapped by `newuidmap` and `newgidmap`, which look into `/etc/subuid` and `/etc/subgid`.
#[test]
fn somebody_has_further_ids() {
    let there = ["newuidmap", "newgidmap", "unshare"].into_iter().all(corten_testing::program);
    if !corten_testing::need("newuidmap and newgidmap", there) {
        return;
    }
    let Some(rootless) = Rootless::new("rootless-ids") else { return };
    let map = json!([
        { "containerID": 0, "hostID": NOBODY, "size": 1 },
        { "containerID": 1, "hostID": 200_000, "size": 1000 },
    ]);
    rootless.runs("id -u; id -g; cat /proc/self/uid_map | wc -l; touch /tmp/made", |config| {
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map.clone();
        config["process"]["user"] = json!({ "uid": 12, "gid": 34, "additionalGids": [56] });
    });
    let temporary = rootless.bundle.rootfs().join("tmp");
    fs::set_permissions(&temporary, std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    let call = |subordinate: &str| {
        let file = rootless.bundle.folder().join("subordinate");
        fs::write(&file, subordinate).unwrap();
        // In mounts of its own, so that the machine's files stay as they are.
        let script = "for f in /etc/subuid /etc/subgid; do [ -e $f ] || exit 99; mount --bind \"$1\" $f; done
            shift; exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(&file)
            .arg(&rootless.program)
            .args(["run", "many"])
            .env("XDG_RUNTIME_DIR", rootless.bundle.folder())
            .current_dir(rootless.bundle.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Said::of(&output)
    };
    if !Path::new("/etc/subuid").exists() || !Path::new("/etc/subgid").exists() {
        return;
    }
    let said = call("nobody:200000:1000\n");
    assert_eq!((said.code, said.out.as_str()), (0, "12\n34\n2\n"), "{said:?}");
    let made = fs::metadata(temporary.join("made")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), 200_011);
    let said = call("nobody:300000:1000\n");
    assert!(said.code != 0 && said.err.contains("newuidmap"), "{said:?}");
}
