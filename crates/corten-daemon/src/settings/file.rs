//! The daemon's file of settings, in the form of Docker's `daemon.json`: every flag with a key can stand there.

use super::flags::{self, Flag, Form};
use corten_engine::RuntimeProgram;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a file says.
#[derive(Debug, Default)]
pub(crate) struct ConfigFile {
    /// Flags with their values as they would be typed, in the file's order.
    pub(crate) settings: Vec<(&'static Flag, Vec<String>)>,
    /// Other OCI runtimes by their name.
    pub(crate) runtimes: BTreeMap<String, RuntimeProgram>,
    /// What is passed over, to be told.
    pub(crate) warnings: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RuntimeEntry {
    path: String,
    #[serde(default)]
    runtime_args: Vec<String>,
}

/// Docker's keys that mean something which is not so here, and what there is instead. They are refused: who wrote them
/// counts on it.
const REFUSED: &[(&str, &str)] = &[
    ("bip6", "the default bridge's IPv6 subnet is named by fixed-cidr-v6"),
    ("cluster-advertise", "there is no swarm"),
    ("cluster-store", "there is no swarm"),
    ("containerd", "there is no containerd"),
    ("cpu-rt-period", "limit containers by --cpu-rt-period"),
    ("cpu-rt-runtime", "limit containers by --cpu-rt-runtime"),
    ("default-gateway", "the bridge's own address is the gateway"),
    ("default-gateway-v6", "the bridge's own address is the gateway"),
    ("exec-opts", "cgroups are managed by files alone (native.cgroupdriver=cgroupfs)"),
    ("http-proxy", "set the variable HTTP_PROXY of the daemon"),
    ("https-proxy", "set the variable HTTPS_PROXY of the daemon"),
    ("no-proxy", "set the variable NO_PROXY of the daemon"),
    ("node-generic-resources", "there is no swarm"),
    ("storage-opts", "the storage has no options"),
];

/// Docker's keys that tune what works without them, or that are one value here.
const WITHOUT_EFFECT: &[&str] = &[
    "allow-direct-routing",
    "allow-nondistributable-artifacts",
    "builder",
    "containerd-namespace",
    "containerd-plugins-namespace",
    "init-path",
    "log-format",
    "network-control-plane-mtu",
    "network-diagnostic-port",
    "oom-score-adjust",
    "raw-logs",
    "shutdown-timeout",
    "swarm-default-advertise-addr",
    "userland-proxy",
    "userland-proxy-path",
];

/// Docker's switches and words of which one value is how Corten is.
const ONE_VALUE: &[(&str, &[&str])] = &[
    ("experimental", &["false"]),
    ("ip-forward", &["true"]),
    ("ip-forward-no-drop", &["false"]),
    ("ip6tables", &["true"]),
    ("live-restore", &["true"]),
    ("rootless", &["false"]),
    ("storage-driver", &["overlay2", "overlayfs"]),
];

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<ConfigFile, String> {
    let text = corten_std::file::read_to_string(path).map_err(|error| corten_std::chain(&error))?;
    parse(&text).map_err(|error| format!("{} cannot be used: {error}", path.display()))
}

fn parse(text: &str) -> Result<ConfigFile, String> {
    let mut file = ConfigFile::default();
    if text.trim().is_empty() {
        return Ok(file);
    }
    let map: Map<String, Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    for (key, value) in &map {
        let key = key.as_str();
        // An older spelling.
        let known = if key == "host-gateway-ip" { "host-gateway-ips" } else { key };
        if key == "runtimes" {
            file.runtimes = runtimes(value)?;
        } else if key == "proxies" {
            for (name, value) in value.as_object().ok_or("proxies: an object is wanted")? {
                let known = ["http-proxy", "https-proxy", "no-proxy"].contains(&name.as_str());
                let flag = flags::find(&format!("--{name}")).filter(|_| known);
                let flag = flag.ok_or_else(|| format!("proxies: `{name}` is not one"))?;
                file.settings
                    .push((flag, values(flag, value).map_err(|reason| format!("{name}: {reason}"))?));
            }
        } else if let Some(flag) = flags::of_key(known) {
            file.settings.push((flag, values(flag, value).map_err(|reason| format!("{key}: {reason}"))?));
        } else if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == key) {
            if !says_nothing(value) {
                return Err(format!("{key} cannot be honoured: {reason}"));
            }
        } else if let Some((_, words)) = ONE_VALUE.iter().find(|(one, _)| *one == key) {
            let text = scalar(value).map_err(|reason| format!("{key}: {reason}"))?;
            if !words.contains(&text.as_str()) {
                let words = words.join(" or ");
                return Err(format!("{key} cannot be honoured: it is always {words} here, not {text}"));
            }
        } else if key == "features" {
            file.warnings.push("features have no effect here".to_owned());
        } else if WITHOUT_EFFECT.contains(&key) {
            file.warnings.push(format!("{key} has no effect here"));
        } else {
            file.warnings.push(format!("{key} does not match any configuration option and is passed over"));
        }
    }
    Ok(file)
}

/// Whether a value is the same as if it were not there.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// A value as it would be typed behind its flag, once or several times.
fn values(flag: &Flag, value: &Value) -> Result<Vec<String>, String> {
    match (flag.form, value) {
        (Form::Switch, Value::Bool(on)) => Ok(vec![on.to_string()]),
        (Form::Switch, _) => Err("true or false is wanted".to_owned()),
        (Form::Value(_), value) => Ok(vec![scalar(value)?]),
        (Form::List(_), Value::Array(list)) => list.iter().map(|one| element(flag.key, one)).collect(),
        (Form::List(_), Value::Object(map)) => {
            let mut all = Vec::new();
            for (name, value) in map {
                match (flag.key, value) {
                    ("default-network-opts", Value::Object(options)) => {
                        for (option, value) in options {
                            all.push(format!("{name}={option}={}", scalar(value)?));
                        }
                    }
                    ("default-ulimits", Value::Object(limit)) => {
                        let number = |field: &str| limit.get(field).and_then(Value::as_i64);
                        let (Some(soft), Some(hard)) = (number("Soft"), number("Hard")) else {
                            return Err(format!("{name}: \"Soft\" and \"Hard\" are wanted"));
                        };
                        all.push(format!("{name}={soft}:{hard}"));
                    }
                    (_, value) => all.push(format!("{name}={}", scalar(value)?)),
                }
            }
            Ok(all)
        }
        (Form::List(_), value) => Ok(vec![scalar(value)?]),
    }
}

/// One of a list.
fn element(key: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::Object(pool) if key == "default-address-pools" => {
            let field = |name: &str| pool.get(name).map_or(Ok(String::new()), scalar);
            Ok(format!("base={},size={}", field("base")?, field("size")?))
        }
        value => scalar(value),
    }
}

fn scalar(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(on) => Ok(on.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err("one value is wanted".to_owned()),
    }
}

fn runtimes(value: &Value) -> Result<BTreeMap<String, RuntimeProgram>, String> {
    let entries: BTreeMap<String, RuntimeEntry> =
        serde_json::from_value(value.clone()).map_err(|error| format!("runtimes: {error}"))?;
    let checked = |(name, entry): (String, RuntimeEntry)| {
        let program = runtime(&name, &entry.path, entry.runtime_args)?;
        Ok((name, program))
    };
    entries.into_iter().map(checked).collect()
}

/// A runtime by its name and path; a bare name is looked up in the search path.
pub(crate) fn runtime(name: &str, path: &str, arguments: Vec<String>) -> Result<RuntimeProgram, String> {
    if name.is_empty() {
        return Err("a runtime needs a name: NAME=PATH".to_owned());
    }
    if corten_engine::is_own_runtime(name) {
        return Err(format!("invalid runtime: runtime name '{name}' is reserved"));
    }
    if path.is_empty() {
        return Err(format!("invalid runtime {name}: a path is missing"));
    }
    Ok(RuntimeProgram { path: find(path)?, arguments })
}

fn find(path: &str) -> Result<PathBuf, String> {
    if path.starts_with('/') {
        return Ok(PathBuf::from(path));
    }
    if path.contains('/') {
        return Err(format!("the path {path} of a runtime must begin with /, or be a name alone"));
    }
    let search = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&search)
        .map(|folder| folder.join(path))
        .find(|file| file.is_absolute() && file.is_file())
        .ok_or_else(|| format!("no program {path} was found in the search path"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the flags would be, in the file's order.
    fn typed(json: &str) -> Vec<String> {
        let file = parse(json).unwrap();
        assert!(file.warnings.is_empty(), "{:?}", file.warnings);
        let all = file.settings.into_iter();
        all.flat_map(|(flag, values)| values.into_iter().map(move |value| format!("{}={value}", flag.name)))
            .collect()
    }

    #[test]
    fn dockers_form_is_read() {
        let file =
            parse(r#"{"runtimes":{"crun":{"path":"/usr/bin/crun","runtimeArgs":["--debug"]}}}"#).unwrap();
        assert_eq!(file.runtimes["crun"].arguments, ["--debug"]);
        assert!(parse("").unwrap().settings.is_empty());
        assert_eq!(
            typed(
                r#"{"debug": true, "default-address-pools": [{"base": "10.1.0.0/16", "size": 24}],
                    "default-network-opts": {"bridge": {"com.docker.network.driver.mtu": "1400"}},
                    "default-shm-size": "1g", "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 20, "Soft": 10}},
                    "hosts": ["unix:///a", "unix:///b"], "log-opts": {"max-size": "1m"}, "mtu": 1400,
                    "userns-remap": "default"}"#
            ),
            [
                "--debug=true",
                "--default-address-pool=base=10.1.0.0/16,size=24",
                "--default-network-opt=bridge=com.docker.network.driver.mtu=1400",
                "--default-shm-size=1g",
                "--default-ulimit=nofile=10:20",
                "--host=unix:///a",
                "--host=unix:///b",
                "--log-opt=max-size=1m",
                "--mtu=1400",
                "--userns-remap=default",
            ]
        );
    }

    #[test]
    fn what_is_not_so_here_is_refused_and_what_nobody_knows_is_told() {
        for (json, text) in [
            (r#"{"containerd": "/run/x"}"#, "containerd cannot be honoured"),
            (r#"{"live-restore": false}"#, "live-restore cannot be honoured: it is always true here"),
            (r#"{"storage-driver": "btrfs"}"#, "storage-driver cannot be honoured"),
            (r#"{"debug": "yes"}"#, "debug: true or false is wanted"),
            (r#"{"mtu": []}"#, "mtu: one value is wanted"),
            (r#"{"default-ulimits": {"nofile": {"Soft": 1}}}"#, "\"Soft\" and \"Hard\" are wanted"),
            ("[]", "invalid type"),
        ] {
            let error = parse(json).unwrap_err();
            assert!(error.contains(text), "{json}: {error}");
        }
        let file =
            parse(r#"{"storage-driver": "overlay2", "containerd": "", "odd": 1, "raw-logs": true}"#).unwrap();
        assert_eq!(
            file.warnings,
            ["odd does not match any configuration option and is passed over", "raw-logs has no effect here"]
        );
    }

    #[test]
    fn names_and_paths_are_checked() {
        assert!(runtime("runc", "/usr/bin/runc", Vec::new()).unwrap_err().contains("reserved"));
        assert!(runtime("x", "a/b", Vec::new()).is_err());
        assert!(runtime("x", "no-such-program-anywhere", Vec::new()).is_err());
        assert_eq!(runtime("x", "sh", Vec::new()).unwrap().path.file_name().unwrap(), "sh");
    }
}
