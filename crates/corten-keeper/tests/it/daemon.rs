//! A daemon that answers one line per connection.

#![expect(clippy::default_trait_access, reason = "types of other crates that this one need not name")]

use corten_keeper::Keeper;
use corten_shim::client::{StartDescriptors, prepare};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;

pub(crate) fn role(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    if arguments.next().as_deref() == Some("refuse") {
        return ExitCode::from(5);
    }
    let keeper = Keeper::from_environment().unwrap();
    let exec_root = std::path::PathBuf::from(std::env::var_os("EXEC_ROOT").unwrap());
    let listener = keeper.listeners().unwrap().pop().unwrap();
    assert_eq!(listener.name, "api");
    let listener = UnixListener::from(listener.descriptor);
    keeper.ready().unwrap();
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let answer = match word {
            "pid" => std::process::id().to_string(),
            "hold" => {
                let file = corten_shim::packet::memory_file(b"kept").unwrap();
                keeper.hold(rest, vec![file]).unwrap();
                String::new()
            }
            "held" => keeper.held().unwrap().into_iter().map(held).collect::<Vec<_>>().join(","),
            "release" => {
                keeper.release(rest).unwrap();
                String::new()
            }
            // The request is none: the shim ends at once. What counts is that it was forked, and once.
            "fork" => {
                let (ours, theirs) = corten_shim::packet::pair().unwrap();
                keeper.fork_shim(b"{}", &[theirs.as_fd()]).unwrap();
                drop(theirs);
                let told = corten_shim::packet::receive(ours.as_fd());
                if told.is_ok() { "forked".to_owned() } else { format!("{told:?}") }
            }
            "namespaces" => namespaces(&keeper),
            "run" => run(&keeper, &exec_root),
            "shutdown" => {
                keeper.shutdown().unwrap();
                let _ = stream.write_all(b"\n");
                return ExitCode::SUCCESS;
            }
            _ => format!("unknown: {word}"),
        };
        let _ = writeln!(stream, "{answer}");
    }
}

fn held((name, mut descriptors): (String, Vec<OwnedFd>)) -> String {
    let bytes = corten_shim::packet::read_memory_file(descriptors.pop().unwrap()).unwrap();
    format!("{name}={}", String::from_utf8(bytes).unwrap())
}

/// A network namespace and its user namespace, or what is wrong with them.
fn namespaces(keeper: &Keeper) -> String {
    let map = "0 100000 1000\n";
    let users = match keeper.user_namespace(map, map) {
        Ok(users) => users,
        Err(error) => return corten_std::chain(&error),
    };
    let network = keeper.network_namespace(users.as_fd()).unwrap();
    let owner = corten_sys::user_namespace::owner_of(network.as_fd()).unwrap();
    let refused = keeper.user_namespace("0 100000 0\n", map).unwrap_err();
    assert!(corten_std::chain(&refused).contains("cannot make a namespace"), "{refused}");
    if corten_sys::user_namespace::is_same(owner.as_fd(), users.as_fd()).unwrap() {
        "made".to_owned()
    } else {
        "another's".to_owned()
    }
}

/// Starts the one container: this program in a root of its own.
fn run(keeper: &Keeper, exec_root: &Path) -> String {
    let run_dir = exec_root.join("containers/c1");
    let root = exec_root.join("root");
    for folder in ["proc", "dev"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    std::fs::create_dir_all(&run_dir).unwrap();
    std::fs::copy("/proc/self/exe", root.join("it")).unwrap();
    let request = serde_json::json!({
        "version": 1,
        "id": "c1",
        "spec": {
            "ociVersion": "1.2.0",
            "process": {"user": {"uid": 0, "gid": 0}, "args": ["/it", "inside"], "cwd": "/"},
            "root": {"path": "rootfs"},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "network"}]},
        },
        "log": {"format": "json-file", "path": run_dir.join("c.log")},
        "run_dir": run_dir,
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let descriptors = StartDescriptors {
            root: corten_sys::mount::clone_tree(&root, false).unwrap(),
            mount_trees: Vec::new(),
            network_namespace: None,
            user_namespace: None,
            devices: Vec::new(),
            cgroup: Default::default(),
            seccomp: None,
            init: None,
            host: None,
            attach: Vec::new(),
            keep: Vec::new(),
        };
        let (prepared, shim, _events) =
            prepare(serde_json::from_value(request).unwrap(), descriptors).unwrap();
        let begin = std::time::Instant::now();
        keeper.fork_shim(&prepared.bytes, &prepared.borrowed()).unwrap();
        let forked = begin.elapsed();
        drop(prepared);
        match shim.started().await {
            Ok(_) => {
                eprintln!("forked after {forked:?}, started after {:?}", begin.elapsed());
                "runs".to_owned()
            }
            Err(error) => format!("{error:?}"),
        }
    })
}
