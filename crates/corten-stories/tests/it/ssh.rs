//! `ssh://` endpoints: a stand-in for `ssh` runs on this machine what a real one would run on the far one, which is our own
//! `docker system dial-stdio`.

use crate::daemon;
use corten_testing::daemon::{Said, ScratchDaemon};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What the words before `--` were goes to a log; the host is passed over; the rest is given to a shell, as sshd does it.
const SSH: &str = "#!/bin/sh
echo \"$@\" >>FOLDER/ssh.log
while [ \"$1\" != -- ]; do shift; done
[ \"$2\" = nowhere ] && { echo 'ssh: Could not resolve hostname nowhere' >&2; exit 255; }
shift 2
DOCKER_HOST=unix://SOCKET exec sh -c \"$*\"
";

struct Far {
    path: String,
    log: PathBuf,
}

impl Far {
    fn new(daemon: &ScratchDaemon) -> Self {
        let folder = daemon.folder().join("far");
        std::fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(corten_testing::daemon::program(), folder.join("docker")).unwrap();
        let script = SSH
            .replace("FOLDER", &folder.display().to_string())
            .replace("SOCKET", &daemon.socket().display().to_string());
        let ssh = folder.join("ssh");
        std::fs::write(&ssh, script).unwrap();
        std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
        Self { path, log: folder.join("ssh.log") }
    }

    fn command(&self, daemon: &ScratchDaemon, host: &str, words: &[&str]) -> Command {
        let mut command = daemon.command(words);
        command.env("PATH", &self.path).env("DOCKER_HOST", host);
        command
    }

    fn run(&self, daemon: &ScratchDaemon, host: &str, words: &[&str]) -> Said {
        self.command(daemon, host, words).output().unwrap().into()
    }
}

#[test]
fn a_far_daemon_is_reached_over_ssh() {
    let Some(daemon) = daemon("ssh") else { return };
    let far = Far::new(&daemon);
    let host = "ssh://me@far:2222";
    let run = |words: &[&str]| far.run(&daemon, host, words);

    let said = run(&["version", "-f", "{{.Server.Os}}"]);
    assert_eq!((said.out.as_str(), said.err.as_str(), said.code), ("linux\n", "", 0));
    let log = std::fs::read_to_string(&far.log).unwrap();
    let first = log.lines().next().unwrap();
    assert!(first.starts_with("-o ConnectTimeout=30 -T -l me -p 2222 -- far docker"), "{first}");
    assert!(first.ends_with("system dial-stdio"), "{first}");

    // Taken-over connections, in both directions, with their ends.
    let mut child = far
        .command(&daemon, host, &["run", "-i", "--rm", "busybox", "sh", "-c", "cat; echo end >&2; exit 7"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let big = "0123456789abcdef".repeat(16 << 10);
    child.stdin.take().unwrap().write_all(big.as_bytes()).unwrap();
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!((said.err.as_str(), said.code), ("end\n", 7));
    assert!(said.out == big, "{} of {} bytes came back", said.out.len(), big.len());

    assert_eq!(run(&["run", "-d", "--name", "long", "busybox", "sh", "-c", "echo one; sleep 1000"]).code, 0);
    assert_eq!(run(&["exec", "long", "echo", "two"]).out, "two\n");
    assert_eq!(run(&["logs", "long"]).out, "one\n");
    let copied = daemon.folder().join("hostname");
    assert_eq!(run(&["cp", "long:/etc/hostname", &copied.display().to_string()]).code, 0);
    assert!(copied.exists());
    assert_eq!(run(&["rm", "-f", "long"]).out, "long\n");

    // A socket of its own name on the far machine, and a host that is not there.
    let named = format!("ssh://far{}", daemon.socket().display());
    assert_eq!(
        far.run(&daemon, &named, &["ps", "-q"]),
        Said { out: String::new(), err: String::new(), code: 0 }
    );
    let said = far.run(&daemon, "ssh://nowhere", &["ps"]);
    assert_eq!(said.code, 1);
    assert_eq!(said.err.matches("Could not resolve hostname nowhere").count(), 1, "tried once: {}", said.err);
    assert!(
        said.err.contains("-- nowhere docker system dial-stdio` ended without an answer"),
        "{}",
        said.err
    );
}
