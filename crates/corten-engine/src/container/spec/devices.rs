//! Devices of the host inside: `--device`, `--device-cgroup-rule`, and all of them for `--privileged`.

use crate::error::{EngineError, Result};
use corten_api::container::{DeviceMapping, HostConfig};
use corten_oci::runtime::{LinuxDevice, LinuxDeviceCgroup};
use rustix::fs::{FileType, Stat, major, minor, stat};
use std::path::{Path, PathBuf};

/// Folders below the host's `/dev` that are other file systems or no devices.
const PASSED_OVER: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];

/// The devices asked for, and the rules that let the container use them.
pub(super) fn given(host: &HostConfig) -> Result<(Vec<LinuxDevice>, Vec<LinuxDeviceCgroup>)> {
    let mut devices = Vec::new();
    let mut rules = Vec::new();
    for mapping in host.devices.iter().flatten() {
        // All of the host's come anyway; another name for one is still made.
        let same = mapping.path_in_container.is_empty() || mapping.path_in_container == mapping.path_on_host;
        if host.privileged && same {
            continue;
        }
        let access = if mapping.cgroup_permissions.is_empty() { "rwm" } else { &mapping.cgroup_permissions };
        for device in resolve(mapping)? {
            rules.push(LinuxDeviceCgroup {
                allow: true,
                kind: Some(device.kind.clone()),
                major: Some(device.major),
                minor: Some(device.minor),
                access: Some(access.to_owned()),
            });
            devices.push(device);
        }
    }
    for rule in host.device_cgroup_rules.iter().flatten() {
        rules.push(parse_rule(rule)?);
    }
    Ok((devices, rules))
}

/// A device, or every device below a folder.
fn resolve(mapping: &DeviceMapping) -> Result<Vec<LinuxDevice>> {
    let host = Path::new(&mapping.path_on_host);
    let inside =
        if mapping.path_in_container.is_empty() { &mapping.path_on_host } else { &mapping.path_in_container };
    let failed = |why: String| {
        EngineError::invalid(format!(
            "error gathering device information while adding custom device \"{}\": {why}",
            mapping.path_on_host
        ))
    };
    let about = stat(host).map_err(|_| failed("no such file or directory".to_owned()))?;
    if let Some(device) = device(Path::new(inside), &about) {
        return Ok(vec![device]);
    }
    if FileType::from_raw_mode(about.st_mode) != FileType::Directory {
        return Err(failed("not a device node".to_owned()));
    }
    let mut found = Vec::new();
    walk(host, &mut |path, about| {
        let below = path.strip_prefix(host).unwrap_or(path);
        found.extend(device(&Path::new(inside).join(below), about));
    });
    Ok(found)
}

/// A device of the host under a name inside, or why it is none.
pub(crate) fn of_host(host: &Path, inside: &Path) -> std::result::Result<LinuxDevice, &'static str> {
    let about = stat(host).map_err(|_| "no such file or directory")?;
    device(inside, &about).ok_or("not a device node")
}

/// Every device of the host, for `--privileged`.
pub(super) fn all() -> Vec<LinuxDevice> {
    let mut found = Vec::new();
    walk(Path::new("/dev"), &mut |path, about| {
        // The runtime makes these two, of the container's own terminals.
        if path != Path::new("/dev/console") && path != Path::new("/dev/ptmx") {
            found.extend(device(path, about));
        }
    });
    found
}

/// Shows every entry below a folder that is no folder; what cannot be read is passed over.
fn walk(folder: &Path, visit: &mut dyn FnMut(&Path, &Stat)) {
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(about) = rustix::fs::lstat(&path) else { continue };
            match FileType::from_raw_mode(about.st_mode) {
                FileType::Directory if PASSED_OVER.iter().any(|name| *name == entry.file_name()) => {}
                FileType::Directory => folders.push(path),
                _ => visit(&path, &about),
            }
        }
    }
}

fn device(path: &Path, about: &Stat) -> Option<LinuxDevice> {
    let kind = match FileType::from_raw_mode(about.st_mode) {
        FileType::CharacterDevice => "c",
        FileType::BlockDevice => "b",
        _ => return None,
    };
    Some(LinuxDevice {
        kind: kind.to_owned(),
        path: path.to_string_lossy().into_owned(),
        major: i64::from(major(about.st_rdev)),
        minor: i64::from(minor(about.st_rdev)),
        file_mode: Some(about.st_mode & 0o7777),
        uid: Some(about.st_uid),
        gid: Some(about.st_gid),
    })
}

/// `c 42:* rwm`.
fn parse_rule(text: &str) -> Result<LinuxDeviceCgroup> {
    let wrong = || EngineError::invalid(format!("invalid device cgroup rule format: '{text}'"));
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [kind, numbers, access] = words[..] else { return Err(wrong()) };
    let number = |text: &str| if text == "*" { Some(None) } else { text.parse::<i64>().ok().map(Some) };
    let (first, second) = numbers.split_once(':').ok_or_else(wrong)?;
    if !["a", "b", "c"].contains(&kind)
        || access.is_empty()
        || access.bytes().any(|byte| !b"rwm".contains(&byte))
    {
        return Err(wrong());
    }
    Ok(LinuxDeviceCgroup {
        allow: true,
        kind: Some(kind.to_owned()),
        major: number(first).ok_or_else(wrong)?,
        minor: number(second).ok_or_else(wrong)?,
        access: Some(access.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_rules() {
        let mapping = |host: &str| DeviceMapping {
            path_on_host: host.to_owned(),
            path_in_container: "/dev/other".to_owned(),
            cgroup_permissions: "rm".to_owned(),
        };
        let host = HostConfig { devices: Some(vec![mapping("/dev/null")]), ..HostConfig::default() };
        let (devices, rules) = given(&host).unwrap();
        assert_eq!((devices[0].path.as_str(), devices[0].major, devices[0].minor), ("/dev/other", 1, 3));
        assert_eq!(rules[0].access.as_deref(), Some("rm"));
        let error = resolve(&mapping("/dev/no-such")).unwrap_err();
        assert!(
            error.to_string().starts_with(
                "error gathering device information while adding custom device \"/dev/no-such\""
            )
        );
        assert_eq!(parse_rule("c 42:* rw").unwrap().minor, None);
        for bad in ["c 42", "x 1:1 r", "c 1:1 q", "c a:b r"] {
            assert!(parse_rule(bad).is_err(), "{bad}");
        }
    }
}
