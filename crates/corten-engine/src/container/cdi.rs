//! Devices named by their vendor (CDI, the Container Device Interface): files in `/etc/cdi` and `/var/run/cdi` tell what a
//! name like `vendor.com/class=name` adds to a container. `--gpus` asks for names of the vendor `nvidia.com`.
//!
//! The files are the administrator's, but what stands in them may be wrong: each is checked whole before a name of it
//! counts, and one that is wrong is passed over with a warning in the log.

use crate::container::spec::devices;
use crate::error::{EngineError, Result};
use corten_api::container::{DeviceRequest, HostConfig};
use corten_oci::runtime::{Hook, Hooks, LinuxDevice, LinuxDeviceCgroup, Mount, Spec};
use rustix::fs::{FileType, Mode, OFlags};
use serde::Deserialize;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// Where the files are; what a later folder says goes before what an earlier one says.
pub(crate) const FOLDERS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// The names that `--gpus` stands for.
const GPU: &str = "nvidia.com/gpu";

/// No file is read beyond this, in bytes.
const LONGEST_FILE: u64 = 4 << 20;

/// The versions of the format that are known, lowest and highest.
const VERSIONS: [(u32, u32); 2] = [(0, 1), (1, 0)];

/// One file.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Document {
    cdi_version: String,
    /// `vendor.com/class`
    kind: String,
    #[serde(default, deserialize_with = "null")]
    devices: Vec<Device>,
    #[serde(default, deserialize_with = "null")]
    container_edits: Edits,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Device {
    name: String,
    #[serde(default, deserialize_with = "null")]
    container_edits: Edits,
}

/// What is added to a container.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Edits {
    #[serde(default, deserialize_with = "null")]
    env: Vec<String>,
    #[serde(default, deserialize_with = "null")]
    device_nodes: Vec<Node>,
    #[serde(default, deserialize_with = "null")]
    mounts: Vec<EditMount>,
    #[serde(default, deserialize_with = "null")]
    hooks: Vec<EditHook>,
    #[serde(default, rename = "additionalGids", deserialize_with = "null")]
    additional_gids: Vec<u32>,
    #[serde(default)]
    intel_rdt: Option<serde_json::Value>,
    #[serde(default)]
    net_devices: Option<serde_json::Value>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Node {
    path: String,
    #[serde(default)]
    host_path: String,
    #[serde(default, rename = "type")]
    kind: String,
    major: Option<i64>,
    minor: Option<i64>,
    file_mode: Option<u32>,
    #[serde(default)]
    permissions: String,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct EditMount {
    host_path: String,
    container_path: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "null")]
    options: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct EditHook {
    hook_name: String,
    path: String,
    #[serde(default, deserialize_with = "null")]
    args: Vec<String>,
    #[serde(default, deserialize_with = "null")]
    env: Vec<String>,
    timeout: Option<i64>,
}

fn null<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> std::result::Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Adds what a container asks for by name to its document.
pub(super) fn inject(spec: &mut Spec, host: &HostConfig, folders: &[&str]) -> Result<()> {
    let mut names = Vec::new();
    for request in host.device_requests.iter().flatten() {
        names.extend(names_of(request)?.into_iter().map(|name| (name, request)));
    }
    if names.is_empty() {
        return Ok(());
    }
    let documents = read_all(folders);
    let mut unknown = Vec::new();
    let mut edits: Vec<&Edits> = Vec::new();
    for (name, request) in &names {
        match find(&documents, name) {
            Some((document, device)) => {
                // What all devices of a file have in common is added once.
                if !edits.iter().any(|one| std::ptr::eq(*one, &raw const document.container_edits)) {
                    edits.push(&document.container_edits);
                }
                edits.push(&device.container_edits);
            }
            None if request.driver == "cdi" => unknown.push(name.as_str()),
            None => return Err(no_driver(request, Some(name))),
        }
    }
    if !unknown.is_empty() {
        return Err(EngineError::invalid(format!(
            "CDI device injection failed: unresolvable CDI devices {}",
            unknown.join(", ")
        ))
        .with_hint(format!("files that name devices are looked for in {}", folders.join(" and "))));
    }
    edits.into_iter().try_for_each(|edits| apply(spec, edits))
}

/// The names that a request stands for.
fn names_of(request: &DeviceRequest) -> Result<Vec<String>> {
    let ids = request.device_ids.clone().unwrap_or_default();
    if request.driver == "cdi" {
        return Ok(ids);
    }
    let capable = request.capabilities.iter().flatten().any(|all| all.iter().any(|one| one == "gpu"));
    if !capable || !matches!(request.driver.as_str(), "" | "nvidia") {
        return Err(no_driver(request, None));
    }
    Ok(match (ids.is_empty(), request.count) {
        (false, _) => ids.iter().map(|id| format!("{GPU}={id}")).collect(),
        (true, count) if count < 0 => vec![format!("{GPU}=all")],
        // A machine has fewer; a number beyond that is not there.
        (true, count) => (0..count.min(1024)).map(|number| format!("{GPU}={number}")).collect(),
    })
}

fn no_driver(request: &DeviceRequest, name: Option<&str>) -> EngineError {
    let capabilities = request.capabilities.iter().flatten().map(|all| format!("[{}]", all.join(" ")));
    let error = EngineError::system(format!(
        "could not select device driver \"{}\" with capabilities: [{}]",
        request.driver,
        capabilities.collect::<Vec<_>>().join(" ")
    ));
    match name {
        Some(name) => error.with_hint(format!(
            "no file in {} names the device {name}; `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml` writes one",
            FOLDERS.join(" or ")
        )),
        None => error,
    }
}

/// A file with the folder's rank.
struct Found {
    rank: usize,
    path: PathBuf,
    document: Document,
}

/// Every file that is right.
fn read_all(folders: &[&str]) -> Vec<Found> {
    let mut all = Vec::new();
    for (rank, folder) in folders.iter().enumerate() {
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let Some(form) = path.extension().and_then(|extension| extension.to_str()).and_then(Form::of)
            else {
                continue;
            };
            match read(&path, form) {
                Ok(document) => all.push(Found { rank, path, document }),
                Err(why) => {
                    tracing::warn!(path = %path.display(), why, "a CDI file is wrong and passed over");
                }
            }
        }
    }
    all
}

/// How a file is written, told by its name.
#[derive(Clone, Copy, Debug)]
enum Form {
    Json,
    Yaml,
}

impl Form {
    /// Of an extension; any other is no file of ours.
    fn of(extension: &str) -> Option<Self> {
        match extension {
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            _ => None,
        }
    }
}

fn read(path: &Path, form: Form) -> std::result::Result<Document, String> {
    // Non-blocking: it may be a pipe that nobody writes to.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| error.to_string())?;
    let about = rustix::fs::fstat(&file).map_err(|error| error.to_string())?;
    if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
        return Err("it is no plain file".to_owned());
    }
    let mut bytes = Vec::new();
    std::fs::File::from(file)
        .take(LONGEST_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(format!("it is longer than {LONGEST_FILE} bytes"));
    }
    parse(&bytes, form)
}

/// Reads and checks one file.
fn parse(bytes: &[u8], form: Form) -> std::result::Result<Document, String> {
    let document: Document = match form {
        Form::Json => serde_json::from_slice(bytes).map_err(|error| error.to_string())?,
        Form::Yaml => serde_yaml_ng::from_slice(bytes).map_err(|error| error.to_string())?,
    };
    let mut numbers = document.cdi_version.splitn(3, '.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor)), Some(Ok(_)))
            if (VERSIONS[0]..=VERSIONS[1]).contains(&(major, minor)) => {}
        _ => return Err(format!("unknown CDI version {:?}", document.cdi_version)),
    }
    let (vendor, class) = document.kind.split_once('/').unwrap_or_default();
    if !is_word(vendor, "_-.") || !is_word(class, "_-") {
        return Err(format!("invalid kind {:?}", document.kind));
    }
    if document.devices.is_empty() {
        return Err("it names no device".to_owned());
    }
    check_edits(&document.container_edits)?;
    let mut seen = std::collections::BTreeSet::new();
    for device in &document.devices {
        if !is_word(&device.name, "_-.:") {
            return Err(format!("invalid device name {:?}", device.name));
        }
        if !seen.insert(&device.name) {
            return Err(format!("the device {:?} is named twice", device.name));
        }
        check_edits(&device.container_edits).map_err(|why| format!("device {:?}: {why}", device.name))?;
    }
    Ok(document)
}

/// Letters and digits, and between them some of `more`.
fn is_word(text: &str, more: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric();
    text.starts_with(plain)
        && text.ends_with(plain)
        && text.chars().all(|one| plain(one) || more.contains(one))
}

fn check_edits(edits: &Edits) -> std::result::Result<(), String> {
    let path = |path: &str| {
        let plain = Path::new(path).components().all(|part| part != Component::ParentDir);
        if path.starts_with('/') && plain && !path.contains('\0') {
            Ok(())
        } else {
            Err(format!("invalid path {path:?}"))
        }
    };
    for variable in &edits.env {
        if variable.find('=').is_none_or(|at| at == 0) || variable.contains('\0') {
            return Err(format!("invalid environment variable {variable:?}"));
        }
    }
    for node in &edits.device_nodes {
        path(&node.path)?;
        if !node.host_path.is_empty() {
            path(&node.host_path)?;
        }
        if !matches!(node.kind.as_str(), "" | "b" | "c" | "u" | "p") {
            return Err(format!("device node {}: invalid type {:?}", node.path, node.kind));
        }
        if node.permissions.bytes().any(|byte| !b"rwm".contains(&byte)) {
            return Err(format!("device node {}: invalid permissions {:?}", node.path, node.permissions));
        }
    }
    for mount in &edits.mounts {
        path(&mount.container_path)?;
        if is_bind(mount) {
            path(&mount.host_path)?;
        }
    }
    for hook in &edits.hooks {
        path(&hook.path)?;
        if place(&mut Hooks::default(), &hook.hook_name).is_none() {
            return Err(format!("unknown hook {:?}", hook.hook_name));
        }
    }
    if edits.intel_rdt.is_some() || edits.net_devices.is_some() {
        return Err("intelRdt and netDevices are not supported".to_owned());
    }
    Ok(())
}

/// The device of a full name: that of the folder that counts most. Where two files there name it, none does.
fn find<'found>(all: &'found [Found], name: &str) -> Option<(&'found Document, &'found Device)> {
    let (kind, device) = name.split_once('=')?;
    let of_kind = all.iter().filter(|found| found.document.kind == kind);
    let named: Vec<(&Found, &Device)> = of_kind
        .filter_map(|found| Some((found, found.document.devices.iter().find(|one| one.name == device)?)))
        .collect();
    let best = named.iter().map(|(found, _)| found.rank).max()?;
    let mut best = named.into_iter().filter(|(found, _)| found.rank == best);
    let (found, device) = best.next()?;
    if let Some((other, _)) = best.next() {
        tracing::warn!(
            name,
            first = %found.path.display(),
            second = %other.path.display(),
            "two CDI files of one folder name the same device, so none does"
        );
        return None;
    }
    Some((&found.document, device))
}

fn apply(spec: &mut Spec, edits: &Edits) -> Result<()> {
    if let Some(process) = &mut spec.process {
        super::spec::replace_variables(&mut process.env, &edits.env);
        for gid in edits.additional_gids.iter().filter(|gid| **gid != 0) {
            if !process.user.additional_gids.contains(gid) {
                process.user.additional_gids.push(*gid);
            }
        }
    }
    for node in &edits.device_nodes {
        let (device, rule) = node_of(node)?;
        let linux = spec.linux.get_or_insert_default();
        linux.devices.retain(|other| other.path != device.path);
        linux.devices.push(device);
        linux.resources.get_or_insert_default().devices.extend(rule);
    }
    for mount in &edits.mounts {
        spec.mounts.retain(|other| other.destination != mount.container_path);
        let bind = is_bind(mount);
        spec.mounts.push(Mount {
            destination: mount.container_path.clone(),
            kind: Some(if bind { "bind".to_owned() } else { mount.kind.clone() }),
            source: Some(mount.host_path.clone()),
            options: mount.options.clone(),
            ..Mount::default()
        });
    }
    for hook in &edits.hooks {
        let hooks = spec.hooks.get_or_insert_default();
        if let Some(list) = place(hooks, &hook.hook_name) {
            list.push(Hook {
                path: hook.path.clone(),
                args: hook.args.clone(),
                env: hook.env.clone(),
                timeout: hook.timeout,
            });
        }
    }
    Ok(())
}

fn is_bind(mount: &EditMount) -> bool {
    matches!(mount.kind.as_str(), "" | "bind" | "none")
        || mount.options.iter().any(|option| option == "bind" || option == "rbind")
}

/// The list of a kind of hook.
fn place<'hooks>(hooks: &'hooks mut Hooks, name: &str) -> Option<&'hooks mut Vec<Hook>> {
    Some(match name {
        "prestart" => &mut hooks.prestart,
        "createRuntime" => &mut hooks.create_runtime,
        "createContainer" => &mut hooks.create_container,
        "startContainer" => &mut hooks.start_container,
        "poststart" => &mut hooks.poststart,
        "poststop" => &mut hooks.poststop,
        _ => return None,
    })
}

/// A node and the rule that lets the container use it; what the file leaves open is asked of the host's own node.
fn node_of(node: &Node) -> Result<(LinuxDevice, Option<LinuxDeviceCgroup>)> {
    let host = if node.host_path.is_empty() { &node.path } else { &node.host_path };
    let given = node.kind == "p" || (!node.kind.is_empty() && node.major.is_some() && node.minor.is_some());
    let mut device = if given {
        LinuxDevice {
            kind: node.kind.clone(),
            path: node.path.clone(),
            major: node.major.unwrap_or(0),
            minor: node.minor.unwrap_or(0),
            file_mode: None,
            uid: None,
            gid: None,
        }
    } else {
        devices::of_host(Path::new(host), Path::new(&node.path)).map_err(|why| {
            EngineError::invalid(format!("CDI device injection failed: the device node {host}: {why}"))
        })?
    };
    device.file_mode = node.file_mode.or(device.file_mode);
    device.uid = node.uid.or(device.uid);
    device.gid = node.gid.or(device.gid);
    let rule = matches!(device.kind.as_str(), "b" | "c" | "u").then(|| LinuxDeviceCgroup {
        allow: true,
        kind: Some(if device.kind == "b" { "b" } else { "c" }.to_owned()),
        major: Some(device.major),
        minor: Some(device.minor),
        access: Some(if node.permissions.is_empty() { "rwm".to_owned() } else { node.permissions.clone() }),
    });
    Ok((device, rule))
}

/// Which of a document's hooks only another runtime runs: ours has no program of the host in sight where it builds.
pub(super) fn check_hooks(spec: &Spec) -> Result<()> {
    let first = spec.hooks.as_ref().and_then(|hooks| {
        [
            &hooks.prestart,
            &hooks.create_runtime,
            &hooks.create_container,
            &hooks.start_container,
            &hooks.poststart,
            &hooks.poststop,
        ]
        .into_iter()
        .find_map(|list| list.first())
    });
    match first {
        None => Ok(()),
        Some(hook) => Err(EngineError::not_implemented(format!(
            "a device of this container has a hook ({}), which the built-in runtime does not run",
            hook.path
        ))
        .with_hint("choose another runtime by --runtime, as in `--runtime runc`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"cdiVersion":"0.6.0","kind":"vendor.com/class","containerEdits":{"env":["ALL=1"]},
        "devices":[{"name":"one","containerEdits":{"env":["ONE=1"],"additionalGids":[44,0],
        "deviceNodes":[{"path":"/dev/vendor0","hostPath":"/dev/null","permissions":"rw"}],
        "mounts":[{"hostPath":"/usr","containerPath":"/vendor","options":["ro","rbind"]}]}},
        {"name":"two","containerEdits":{"hooks":[{"hookName":"createContainer","path":"/bin/true"}]}}]}"#;

    fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("corten-cdi-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        for (file, text) in files {
            std::fs::write(folder.join(file), text).unwrap();
        }
        folder
    }

    fn asking(ids: &[&str]) -> HostConfig {
        HostConfig {
            device_requests: Some(vec![DeviceRequest {
                driver: "cdi".to_owned(),
                device_ids: Some(ids.iter().map(|&id| id.to_owned()).collect()),
                ..DeviceRequest::default()
            }]),
            ..HostConfig::default()
        }
    }

    fn spec() -> Spec {
        Spec { process: Some(corten_oci::runtime::Process::default()), ..Spec::default() }
    }

    #[test]
    fn a_device_adds_what_its_file_says() {
        let folder = folder("good", &[("a.json", GOOD), ("b.txt", "x"), ("bad.json", "{")]);
        let folders = [folder.to_str().unwrap()];
        let mut spec = spec();
        inject(&mut spec, &asking(&["vendor.com/class=one"]), &folders).unwrap();
        let process = spec.process.clone().unwrap();
        assert_eq!(process.env, ["ALL=1", "ONE=1"]);
        assert_eq!(process.user.additional_gids, [44]);
        let linux = spec.linux.clone().unwrap();
        assert_eq!((linux.devices[0].path.as_str(), linux.devices[0].major), ("/dev/vendor0", 1));
        assert_eq!(linux.resources.unwrap().devices[0].access.as_deref(), Some("rw"));
        assert_eq!(
            (spec.mounts[0].destination.as_str(), spec.mounts[0].kind.as_deref()),
            ("/vendor", Some("bind"))
        );
        check_hooks(&spec).unwrap();

        inject(&mut spec, &asking(&["vendor.com/class=two"]), &folders).unwrap();
        assert!(check_hooks(&spec).unwrap_err().to_string().contains("/bin/true"));
        let error = inject(&mut spec, &asking(&["vendor.com/class=three", "odd"]), &folders).unwrap_err();
        assert_eq!(
            error.message(),
            "CDI device injection failed: unresolvable CDI devices vendor.com/class=three, odd"
        );
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_later_folder_counts_and_two_files_contradict() {
        let other = GOOD.replace("ALL=1", "ALL=2");
        let (low, high) = (folder("low", &[("a.json", GOOD)]), folder("high", &[("a.json", &other)]));
        let folders = [low.to_str().unwrap(), high.to_str().unwrap()];
        let mut first = spec();
        inject(&mut first, &asking(&["vendor.com/class=one"]), &folders).unwrap();
        assert_eq!(first.process.unwrap().env[0], "ALL=2");
        std::fs::write(high.join("b.json"), GOOD).unwrap();
        assert!(inject(&mut spec(), &asking(&["vendor.com/class=one"]), &folders).is_err());
        for folder in [low, high] {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }

    #[test]
    fn files_that_are_wrong_are_refused_whole() {
        parse(GOOD.as_bytes(), Form::Json).unwrap();
        for (from, to, why) in [
            ("0.6.0", "9.0.0", "unknown CDI version"),
            ("0.6.0", "x", "unknown CDI version"),
            ("vendor.com/class", "vendor.com", "invalid kind"),
            ("vendor.com/class", "../x/class", "invalid kind"),
            ("\"one\"", "\"o ne\"", "invalid device name"),
            ("\"two\"", "\"one\"", "named twice"),
            ("/dev/vendor0", "/dev/../etc/x", "invalid path"),
            ("/usr", "usr", "invalid path"),
            ("\"rw\"", "\"rx\"", "invalid permissions"),
            ("createContainer", "sometimes", "unknown hook"),
            ("ONE=1", "=1", "invalid environment variable"),
            ("\"additionalGids\":[44,0]", "\"intelRdt\":{}", "not supported"),
        ] {
            let error = parse(GOOD.replacen(from, to, 1).as_bytes(), Form::Json).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn yaml_says_the_same() {
        let text = "cdiVersion: \"0.6.0\"
kind: vendor.com/class
containerEdits:
  env:
  - ALL=1
devices:
- name: one
  containerEdits:
    env:
    - ONE=1
    additionalGids: [44, 0]
    deviceNodes:
    - path: /dev/vendor0
      hostPath: /dev/null
      permissions: rw
    mounts:
    - hostPath: /usr
      containerPath: /vendor
      options: [ro, rbind]
- name: two
  containerEdits:
    hooks:
    - {hookName: createContainer, path: /bin/true}
";
        let (yaml, json) = (parse(text.as_bytes(), Form::Yaml), parse(GOOD.as_bytes(), Form::Json));
        assert_eq!(yaml.unwrap(), json.unwrap());
        let folder = folder("yaml", &[("a.yaml", text)]);
        let mut spec = spec();
        inject(&mut spec, &asking(&["vendor.com/class=one"]), &[folder.to_str().unwrap()]).unwrap();
        assert_eq!(spec.process.unwrap().env, ["ALL=1", "ONE=1"]);
        std::fs::remove_dir_all(folder).unwrap();
        // A file that would grow without end, and one that is no mapping.
        let line = |(this, last): (char, char)| {
            let eight = format!("*{last},").repeat(8);
            format!("{this}: &{this} [{eight}]\n")
        };
        let laughs: String = ('b'..='i').zip('a'..).map(line).collect();
        let laughs = format!("cdiVersion: &a [x,x,x,x,x,x,x,x,x,x]\n{laughs}");
        for wrong in
            [laughs.as_str(), "- 1", "", "kind: [", "cdiVersion: 0.6\nkind: vendor.com/class\ndevices: []"]
        {
            parse(wrong.as_bytes(), Form::Yaml).unwrap_err();
        }
    }

    #[test]
    fn graphics_processors_are_names_of_one_vendor() {
        let request = |count, ids: &[&str]| DeviceRequest {
            count,
            device_ids: (!ids.is_empty()).then(|| ids.iter().map(|&id| id.to_owned()).collect()),
            capabilities: Some(vec![vec!["gpu".to_owned()]]),
            ..DeviceRequest::default()
        };
        assert_eq!(names_of(&request(-1, &[])).unwrap(), ["nvidia.com/gpu=all"]);
        assert_eq!(names_of(&request(2, &[])).unwrap(), ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]);
        assert_eq!(names_of(&request(0, &["7"])).unwrap(), ["nvidia.com/gpu=7"]);
        let host = HostConfig { device_requests: Some(vec![request(-1, &[])]), ..HostConfig::default() };
        let error = inject(&mut spec(), &host, &["/no/such/folder"]).unwrap_err();
        assert_eq!(error.message(), "could not select device driver \"\" with capabilities: [[gpu]]");
        let other = DeviceRequest { driver: "odd".to_owned(), ..request(1, &[]) };
        assert!(names_of(&other).is_err());
    }
}
