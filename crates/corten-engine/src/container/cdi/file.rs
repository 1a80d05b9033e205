//! The files: their form, and whether what stands in them can be.

use corten_oci::runtime::{Hook, Hooks};
use rustix::fs::{FileType, Mode, OFlags};
use serde::Deserialize;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// No file is read beyond this, in bytes.
const LONGEST_FILE: u64 = 4 << 20;

/// The versions of the format that are known, lowest and highest.
const VERSIONS: [(u32, u32); 2] = [(0, 1), (1, 0)];

/// One file.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    pub(super) cdi_version: String,
    /// `vendor.com/class`
    pub(super) kind: String,
    #[serde(default, deserialize_with = "null")]
    pub(super) devices: Vec<Device>,
    #[serde(default, deserialize_with = "null")]
    pub(super) container_edits: Edits,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Device {
    pub(super) name: String,
    #[serde(default, deserialize_with = "null")]
    pub(super) container_edits: Edits,
}

/// What is added to a container.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Edits {
    #[serde(default, deserialize_with = "null")]
    pub(super) env: Vec<String>,
    #[serde(default, deserialize_with = "null")]
    pub(super) device_nodes: Vec<Node>,
    #[serde(default, deserialize_with = "null")]
    pub(super) mounts: Vec<EditMount>,
    #[serde(default, deserialize_with = "null")]
    pub(super) hooks: Vec<EditHook>,
    #[serde(default, rename = "additionalGids", deserialize_with = "null")]
    pub(super) additional_gids: Vec<u32>,
    #[serde(default)]
    pub(super) intel_rdt: Option<serde_json::Value>,
    #[serde(default, deserialize_with = "null")]
    pub(super) net_devices: Vec<NetDevice>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    pub(super) path: String,
    #[serde(default)]
    pub(super) host_path: String,
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    pub(super) major: Option<i64>,
    pub(super) minor: Option<i64>,
    pub(super) file_mode: Option<u32>,
    #[serde(default)]
    pub(super) permissions: String,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct EditMount {
    pub(super) host_path: String,
    pub(super) container_path: String,
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    #[serde(default, deserialize_with = "null")]
    pub(super) options: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct NetDevice {
    pub(super) host_interface_name: String,
    pub(super) name: String,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct EditHook {
    pub(super) hook_name: String,
    pub(super) path: String,
    #[serde(default, deserialize_with = "null")]
    pub(super) args: Vec<String>,
    #[serde(default, deserialize_with = "null")]
    pub(super) env: Vec<String>,
    pub(super) timeout: Option<i64>,
}

fn null<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> std::result::Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A file with the folder's rank.
pub(super) struct Found {
    pub(super) rank: usize,
    pub(super) path: PathBuf,
    pub(super) document: Document,
}

/// Every file that is right.
pub(super) fn read_all(folders: &[PathBuf]) -> Vec<Found> {
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
    for device in &edits.net_devices {
        // As the kernel has them: at most 15 bytes, and nothing that makes a path of it.
        let is_name = |name: &str| (1..16).contains(&name.len()) && is_word(name, "_-.:");
        if !is_name(&device.host_interface_name) || !is_name(&device.name) {
            return Err(format!("invalid network device {:?}", device.host_interface_name));
        }
    }
    Ok(())
}

pub(super) fn is_bind(mount: &EditMount) -> bool {
    matches!(mount.kind.as_str(), "" | "bind" | "none")
        || mount.options.iter().any(|option| option == "bind" || option == "rbind")
}

/// The list of a kind of hook.
pub(super) fn place<'hooks>(hooks: &'hooks mut Hooks, name: &str) -> Option<&'hooks mut Vec<Hook>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"cdiVersion":"0.6.0","kind":"vendor.com/class","containerEdits":{"env":["ALL=1"]},
        "devices":[{"name":"one","containerEdits":{"env":["ONE=1"],"additionalGids":[44,0],
        "deviceNodes":[{"path":"/dev/vendor0","hostPath":"/dev/null","permissions":"rw"}],
        "mounts":[{"hostPath":"/usr","containerPath":"/vendor","options":["ro","rbind"]}]}},
        {"name":"two","containerEdits":{"hooks":[{"hookName":"createContainer","path":"/bin/true"}]}}]}"#;

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
            (
                "\"additionalGids\":[44,0]",
                "\"netDevices\":[{\"hostInterfaceName\":\"../x\",\"name\":\"eth0\"}]",
                "invalid network device",
            ),
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
}
