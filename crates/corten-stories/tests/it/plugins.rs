//! Plugins by Docker's protocol: a volume driver that a program of somebody else is.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// Where Docker's plugins have their sockets.
const SOCKETS: &str = "/run/docker/plugins";

/// What is answered to a method with a request.
type Answers = Box<dyn Fn(&str, &Value) -> Value + Send>;

/// A plugin of this test's own name; its socket goes with it.
pub(crate) struct Plugin {
    pub(crate) name: String,
    socket: PathBuf,
    /// Every call, `Method Name`.
    pub(crate) calls: Arc<Mutex<Vec<String>>>,
}

impl Plugin {
    pub(crate) fn start(name: &str, answers: Answers) -> Self {
        let name = format!("{name}-{}", std::process::id());
        std::fs::create_dir_all(SOCKETS).unwrap();
        let socket = Path::new(SOCKETS).join(format!("{name}.sock"));
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&calls);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream);
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let method = line.split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
                let mut length = 0;
                loop {
                    let mut header = String::new();
                    reader.read_line(&mut header).unwrap();
                    if header.trim().is_empty() {
                        break;
                    }
                    if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let request: Value = serde_json::from_slice(&body).unwrap_or_default();
                let subject = request["Name"].as_str().or(request["RequestUri"].as_str()).unwrap_or_default();
                told.lock().unwrap().push(format!("{method} {subject}"));
                let answer = answers(&method, &request).to_string();
                let _ = write!(
                    reader.get_mut(),
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
                    answer.len()
                );
            }
        });
        Self { name, socket, calls }
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

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
