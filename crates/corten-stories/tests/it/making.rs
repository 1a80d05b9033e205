//! Images made of containers and archives; what containers use.

use crate::daemon;
use corten_testing::fixture::{Entry, tar};
use corten_testing::registry::{Fault, Registry, digest};

#[test]
fn a_container_becomes_an_image() {
    let Some(daemon) = daemon("commit") else { return };
    daemon.ok(&[
        "run",
        "--name",
        "c1",
        "-e",
        "A=1",
        "busybox",
        "sh",
        "-c",
        "echo made > /f; rm /etc/group; mkdir /empty",
    ]);
    let id = daemon.ok(&[
        "commit",
        "-a",
        "Me",
        "-m",
        "a note",
        "-c",
        "CMD [\"cat\", \"/f\"]",
        "-c",
        "LABEL of=$A",
        "c1",
        "made:1",
    ]);
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(daemon.ok(&["run", "--rm", "made:1"]), "made");
    assert_eq!(daemon.corten(&["run", "--rm", "made:1", "test", "-e", "/etc/group"]).code, 1);
    let format = "{{.Author}} {{.Comment}} {{json .Config.Labels}} {{len .RootFS.Layers}}";
    assert_eq!(daemon.ok(&["image", "inspect", "-f", format, "made:1"]), r#"Me a note {"of":"1"} 2"#);
    // The places for mounts that a start made are no part of it.
    let archive = daemon.ok(&["create", "--name", "c2", "made:1"]);
    assert_eq!(daemon.ok(&["diff", "c2"]), "", "{archive}");
    // A running container stands still meanwhile, and goes on.
    daemon.ok(&["run", "-d", "--name", "c3", "busybox", "sleep", "1000"]);
    daemon.ok(&["commit", "c3"]);
    assert_eq!(daemon.ok(&["inspect", "-f", "{{.State.Status}}", "c3"]), "running");
    // What is wrong leaves nothing.
    let before = daemon.ok(&["images", "-q"]);
    let said = daemon.corten(&["commit", "-c", "RUN true", "c1", "made:2"]);
    assert!(said.err.contains("run is not a valid change command"), "{said:?}");
    assert_eq!(daemon.ok(&["images", "-q"]), before);
}

#[test]
fn an_archive_becomes_an_image() {
    let Some(daemon) = daemon("import") else { return };
    daemon.ok(&["run", "--name", "c1", "busybox", "sh", "-c", "echo text > /f; ln -s f /link"]);
    let archive = daemon.command(&["export", "c1"]).output().expect("an export").stdout;
    let said = daemon
        .with_input(&["import", "-c", "CMD [\"cat\", \"/link\"]", "-m", "flat", "-", "flat:1"], &archive);
    assert!(said.out.starts_with("sha256:"), "{said:?}");
    assert_eq!(daemon.ok(&["run", "--rm", "flat:1"]), "text");
    assert_eq!(
        daemon.ok(&["image", "inspect", "-f", "{{.Comment}} {{len .RootFS.Layers}}", "flat:1"]),
        "flat 1"
    );
    let cut = &archive[..archive.len() / 2];
    let said = daemon.with_input(&["import", "-", "cut:1"], cut);
    assert!(said.code != 0 && daemon.ok(&["images", "-q", "cut:1"]).is_empty(), "{said:?}");
}

#[test]
fn an_archive_of_a_server_becomes_an_image() {
    let Some(daemon) = daemon("import-url") else { return };
    let archive = tar(&[Entry::File("f", 0o644, &vec![b'x'; 3 << 20])]);
    let server = Registry::start();
    let other = Registry::start();
    other.add_image("app", "latest", b"no archive at all", std::slice::from_ref(&archive));
    server.keep_blobs_at(&other);
    let (host, path) = (server.host(), format!("v2/app/blobs/{}", digest(&archive)));
    let url = format!("http://{host}/{path}");
    // Sent to another place, as downloads are.
    let said = daemon.ok(&["import", "-c", "CMD x", &url, "from:1"]);
    assert!(said.starts_with(&format!("Downloading from {url}")) && said.contains("sha256:"), "{said}");
    assert_eq!(
        daemon.ok(&["image", "inspect", "-f", "{{.Comment}} {{.Config.Cmd}}", "from:1"]),
        format!("Imported from {url} [/bin/sh -c x]")
    );
    daemon.ok(&["create", "--name", "look", "from:1"]);
    let into = daemon.folder().join("f");
    daemon.ok(&["cp", "look:/f", into.to_str().expect("a path")]);
    assert_eq!(std::fs::metadata(&into).map(|about| about.len()).ok(), Some(3 << 20));
    daemon.ok(&["rm", "look"]);
    // What goes wrong is told with the address, and leaves nothing.
    let config = format!("http://{host}/v2/app/blobs/{}", digest(b"no archive at all"));
    let nobody = "http://127.0.0.1:1/x.tar";
    for (source, said) in [
        (
            format!("http://{host}/none"),
            format!("failed to GET http://{host}/none with status 404 Not Found"),
        ),
        (nobody.to_owned(), format!("Get \"{nobody}\": dial tcp 127.0.0.1:1: connect: connection refused")),
        (format!("https://{host}/none"), format!("Get \"https://{host}/none\": tls: ")),
        ("http:///x".to_owned(), "Get \"http:///x\": http: no Host in request URL".to_owned()),
        (config.clone(), format!("importing the archive from {config}: ")),
    ] {
        let got = daemon.corten(&["import", &source, "bad:1"]);
        assert!(got.code == 1 && got.err.contains(&said), "{source}: {got:?}");
    }
    for fault in [Fault::Drop, Fault::Truncate, Fault::RedirectLoop, Fault::WrongLength, Fault::Status(500)] {
        other.fault(0, fault, true);
        let got = daemon.corten(&["import", &url, "bad:1"]);
        assert!(got.code == 1 && got.err.contains("127.0.0.1:"), "{fault:?}: {got:?}");
        other.mend();
    }
    // A client that leaves ends it.
    other.pace(std::time::Duration::from_millis(200));
    let mut leaving = daemon.command(&["import", &url, "bad:1"]).spawn().expect("the program");
    std::thread::sleep(std::time::Duration::from_millis(600));
    leaving.kill().expect("a kill");
    leaving.wait().expect("an end");
    let sent = other.sent();
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(other.sent() - sent < 1 << 20, "it went on");
    assert_eq!(daemon.ok(&["images", "-q", "bad:1"]), "");
}

#[test]
fn use_of_resources() {
    let Some(daemon) = daemon("stats") else { return };
    daemon.ok(&["run", "-d", "--name", "busy", "busybox", "sh", "-c", "while :; do :; done"]);
    daemon.ok(&["create", "--name", "idle", "busybox", "true"]);
    let format = "{{.Name}} {{.PIDs}} {{.CPUPerc}}";
    let out = daemon.ok(&["stats", "--no-stream", "--format", format]);
    let words: Vec<&str> = out.split_whitespace().collect();
    assert_eq!(&words[..2], ["busy", "1"], "{out}");
    let percent: f64 = words[2].trim_end_matches('%').parse().expect("a number");
    assert!(percent > 5.0, "{out}");
    let out = daemon.ok(&["stats", "--no-stream", "-a", "--format", format]);
    assert!(out.contains("idle 0 0.00%"), "{out}");
    assert!(daemon.corten(&["stats", "--no-stream", "nobody"]).err.contains("No such container: nobody"));
}
