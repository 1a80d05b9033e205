//! Plugins by Docker's protocol: a volume driver that a program of somebody else is.

use std::io::{Read, Write};

use corten_testing::plugin::Plugin;
use serde_json::json;

#[test]
fn a_plugins_volume_is_mounted_while_it_is_used() {
    let Some(daemon) = super::daemon("volume-plugin") else { return };
    let content = daemon.folder().join("plugin-content");
    std::fs::create_dir(&content).unwrap();
    let folder = content.clone();
    let plugin = Plugin::start(
        "corten-story-volumes",
        Box::new(move |method, request| match method {
            "Plugin.Activate" => json!({"Implements": ["VolumeDriver"]}),
            "VolumeDriver.Create" if request["Opts"]["bad"] == "yes" => json!({"Err": "no such option"}),
            "VolumeDriver.Mount" | "VolumeDriver.Path" => json!({"Mountpoint": folder}),
            "VolumeDriver.Get" => {
                json!({"Volume": {"Name": request["Name"], "Mountpoint": folder, "Status": {"state": "fine"}}})
            }
            "VolumeDriver.Capabilities" => json!({"Capabilities": {"Scope": "global"}}),
            _ => json!({}),
        }),
    );
    let name = plugin.name.as_str();
    let refused = daemon.corten(&["volume", "create", "-d", name, "-o", "bad=yes", "v0"]);
    assert!(refused.err.contains("create v0: VolumeDriver.Create: no such option"), "{refused:?}");
    let missing = daemon.corten(&["volume", "create", "-d", "corten-no-such-plugin", "v0"]);
    assert!(
        missing.err.contains("create v0: error looking up volume plugin corten-no-such-plugin: plugin \"corten-no-such-plugin\" not found"),
        "{missing:?}"
    );
    assert_eq!(daemon.corten(&["volume", "create", "-d", name, "plugged"]).out, "plugged\n");
    let shown =
        daemon.corten(&["volume", "inspect", "-f", "{{.Driver}} {{.Scope}} {{.Mountpoint}}", "plugged"]);
    assert_eq!(shown.out, format!("{name} global {}\n", content.display()));
    // Used by `-v` of a volume that is there, and by `--volume-driver` of one that is not.
    let write = "echo from-inside > /v/file";
    let said = daemon.corten(&["run", "--rm", "-v", "plugged:/v", "busybox", "sh", "-c", write]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(std::fs::read_to_string(content.join("file")).unwrap(), "from-inside\n");
    let read = ["run", "--rm", "--volume-driver", name, "-v", "other:/v", "busybox", "cat", "/v/file"];
    assert_eq!(daemon.corten(&read).out, "from-inside\n");
    // A conflict of drivers, a listing by driver, and the end.
    let conflict = daemon.corten(&["volume", "create", "-d", "local", "plugged"]);
    assert!(conflict.err.contains("volume name must be unique"), "{conflict:?}");
    let listed = daemon.corten(&["volume", "ls", "-q", "-f", &format!("driver={name}")]);
    assert_eq!(listed.out, "other\nplugged\n");
    assert_eq!(daemon.corten(&["volume", "rm", "plugged", "other"]).code, 0);
    let calls = plugin.calls.lock().unwrap().join("\n");
    for call in ["Create", "Mount", "Unmount", "Remove"] {
        assert!(calls.contains(&format!("VolumeDriver.{call} plugged")), "{call} is missing:\n{calls}");
    }
    let count = |call: &str| calls.matches(&format!("VolumeDriver.{call} ")).count();
    assert_eq!(count("Mount"), count("Unmount"), "{calls}");
    assert!(content.join("file").exists(), "what the plugin has is the plugin's");
}

/// Sends bytes as they are and gives the status of what comes back.
fn status(daemon: &corten_testing::daemon::ScratchDaemon, request: &[u8]) -> (u16, String) {
    let mut stream = std::os::unix::net::UnixStream::connect(daemon.socket()).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(3))).unwrap();
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    (answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0), answer)
}

#[test]
fn an_authorization_plugin_sees_all_that_is_done() {
    if !corten_testing::need_root() {
        return;
    }
    let plugin = Plugin::start(
        "corten-story-authz",
        Box::new(|method, request| {
            let uri = request["RequestUri"].as_str().unwrap_or_default();
            // The plugin forbids privileged containers, by the body that it is shown, and one name, by the address.
            let body = request["RequestBody"].as_str().map(base64).unwrap_or_default();
            let denied = body.contains("\"Privileged\":true") || uri.contains("forbidden");
            match method {
                "Plugin.Activate" => json!({"Implements": ["authz"]}),
                "AuthZPlugin.AuthZRes" if uri.ends_with("/secretive/json") => {
                    json!({"Allow": false, "Msg": "unseen"})
                }
                _ if denied => json!({"Allow": false, "Msg": "not here"}),
                _ => json!({"Allow": true}),
            }
        }),
    );
    let name = plugin.name.clone();
    let Some(daemon) = super::daemon_with("authz", &["--authorization-plugin", &name]) else { return };
    let said = daemon.corten(&["run", "--rm", "busybox", "echo", "fine"]);
    assert_eq!((said.out.as_str(), said.code), ("fine\n", 0), "{said:?}");
    let denied = format!("authorization denied by plugin {name}: not here");
    let said = daemon.corten(&["run", "--rm", "--privileged", "busybox", "true"]);
    assert!(said.err.contains(&denied) && said.code == 125, "{said:?}");
    let said = daemon.corten(&["inspect", "--type", "container", "forbidden"]);
    assert!(said.err.contains(&denied), "{said:?}");
    daemon.corten(&["create", "--name", "secretive", "busybox", "true"]);
    let said = daemon.corten(&["inspect", "--type", "container", "secretive"]);
    assert!(said.err.contains("unseen") && said.out.trim() == "[]", "{said:?}");
    // Ways around it that were found in Docker: nothing is made by any of them.
    let bad = r#"{"Image":"busybox","HostConfig":{"Privileged":true}}"#;
    let head = "POST /v1.51/containers/create?name=around HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\
        Content-Type: application/json\r\n";
    let padded = format!("{}{}", bad, " ".repeat(2 << 20));
    let long = format!("{head}Content-Length: {}\r\n\r\n{padded}", padded.len());
    assert_eq!(status(&daemon, long.as_bytes()).0, 403, "a body of more than 1 MB passes unseen");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{bad}\r\n0\r\n\r\n", bad.len());
    let (code, answer) = status(&daemon, chunked.as_bytes());
    assert!(code == 403 && answer.contains(&denied), "a chunked body passes unseen: {answer}");
    let split = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n5\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        &bad[..5],
        bad.len() - 5,
        &bad[5..]
    );
    assert_eq!(status(&daemon, split.as_bytes()).0, 403, "a body in pieces passes unseen");
    // CVE-2024-41110: a length of zero in front of a body.
    let zero = format!("{head}Content-Length: 0\r\n\r\n{bad}");
    assert_eq!(status(&daemon, zero.as_bytes()).0, 400, "a body behind a length of zero is read");
    let both = format!(
        "{head}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{bad}\r\n0\r\n\r\n",
        bad.len()
    );
    assert_eq!(status(&daemon, both.as_bytes()).0, 400, "two lengths are a choice of bodies");
    // Hijacked requests are asked about as well.
    let attach = "POST /v1.51/containers/forbidden/attach?stream=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    assert_eq!(status(&daemon, attach.as_bytes()).0, 403);
    let names = daemon.corten(&["ps", "-a", "--format", "{{.Names}}"]).out;
    assert_eq!(names, "secretive\n", "nothing was made on a way around");
    // Without the plugin nothing is allowed.
    drop(plugin);
    let said = daemon.corten(&["ps"]);
    assert!(said.code != 0 && said.err.contains(&name), "{said:?}");
    // The daemon removes its containers at the test's end: for that the plugin is there again.
    let _again = Plugin::start(
        "corten-story-authz",
        Box::new(|method, _| match method {
            "Plugin.Activate" => json!({"Implements": ["authz"]}),
            _ => json!({"Allow": true}),
        }),
    );
    drop(daemon);
}

/// The text of base64.
fn base64(text: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0_u32, 0);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let value = LETTERS.iter().position(|known| *known == letter).expect("a letter of base64");
        held = (held << 6) | value as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_start_whose_neighbour_goes_meanwhile_says_so() {
    let Some(daemon) = super::daemon("going-neighbour") else { return };
    let content = daemon.folder().join("plugin-content");
    std::fs::create_dir(&content).unwrap();
    let socket = daemon.socket();
    // Between the look at the neighbour and the use of its namespace and files, the volume is mounted: there it goes.
    let plugin = Plugin::start(
        "corten-story-between",
        Box::new(move |method, request| match method {
            "Plugin.Activate" => json!({"Implements": ["VolumeDriver"]}),
            "VolumeDriver.Mount" => {
                let mut remove = std::process::Command::new(corten_testing::daemon::program());
                remove.env("DOCKER_HOST", format!("unix://{}", socket.display()));
                assert!(remove.args(["rm", "-f", "first"]).output().unwrap().status.success());
                json!({"Mountpoint": content})
            }
            "VolumeDriver.Path" => json!({"Mountpoint": content}),
            "VolumeDriver.Get" => json!({"Volume": {"Name": request["Name"], "Mountpoint": content}}),
            _ => json!({}),
        }),
    );
    let first = daemon.ok(&["run", "-d", "--init", "--name", "first", "busybox", "sleep", "1000"]);
    daemon.ok(&["volume", "create", "-d", &plugin.name, "plugged"]);
    let second =
        ["create", "--name", "second", "--network", "container:first", "-v", "plugged:/v", "busybox", "true"];
    daemon.ok(&second);
    let said = daemon.corten(&["start", "second"]);
    let expected = format!("joining network namespace of container: No such container: {first}");
    assert!(said.code == 1 && said.err.contains(&expected), "{said:?}");
    daemon.ok(&["rm", "second"]);
    daemon.ok(&["volume", "rm", "plugged"]);
}
