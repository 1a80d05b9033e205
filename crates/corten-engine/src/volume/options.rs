//! Options of local volumes: `type`, `device` and `o` describe a mount, which stands while a container uses the volume.

use crate::error::{EngineError, Result};
use corten_std::{ErrorClass, size};
use corten_sys::classic_mount::{self, ClassicOptions};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

/// Options that there are.
const KNOWN: &[&str] = &["device", "o", "size", "type"];

/// Which option needs which others.
const NEEDS: &[(&str, &[&str])] = &[("device", &["type"]), ("o", &["device", "type"]), ("type", &["device"])];

/// A mount as a volume's options describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MountOptions {
    kind: String,
    device: String,
    options: String,
}

/// Refuses options that no volume can have.
pub(super) fn check(name: &str, options: &BTreeMap<String, String>) -> Result<()> {
    let wrong = |text: String| Err(EngineError::invalid(format!("create {name}: {text}")));
    if let Some(option) = options.keys().find(|option| !KNOWN.contains(&option.as_str())) {
        return wrong(format!("invalid option: \"{option}\""));
    }
    for (option, needed) in NEEDS {
        if options.contains_key(*option)
            && let Some(missing) = needed.iter().find(|needed| !options.contains_key(**needed))
        {
            return wrong(format!("missing required option: \"{missing}\""));
        }
    }
    if let Some(text) = options.get("size") {
        match size::parse_bytes(text) {
            None => return wrong(format!("invalid size: '{text}'")),
            Some(0) => {}
            Some(_) => return wrong("quota size requested but no quota support".to_owned()),
        }
    }
    Ok(())
}

impl MountOptions {
    /// A folder of the host, with what is mounted below it.
    pub(super) fn bind(folder: &str) -> Self {
        Self { kind: "none".to_owned(), device: folder.to_owned(), options: "rbind".to_owned() }
    }

    /// What a volume with these options mounts; none where it is a plain folder.
    pub(super) fn of(options: Option<&BTreeMap<String, String>>) -> Option<Self> {
        let options = options?;
        let text = |key: &str| options.get(key).cloned().unwrap_or_default();
        let mount = Self { kind: text("type"), device: text("device"), options: text("o") };
        (!mount.kind.is_empty() || !mount.device.is_empty()).then_some(mount)
    }

    /// Mounts it at `target`. `resolve` gives the address of a host by its name.
    pub(super) fn mount(
        &self,
        target: &Path,
        resolve: &dyn Fn(&str) -> std::io::Result<IpAddr>,
    ) -> Result<()> {
        let system = |text: String| EngineError::new(ErrorClass::System, text);
        if self.device.is_empty() {
            return Err(system("missing device in volume options".to_owned()));
        }
        let (device, options) = self.with_addresses(resolve)?;
        classic_mount::mount(&device, target, &self.kind, &ClassicOptions::parse(&options)).map_err(|error| {
            let mut text = format!("failed to mount local volume: {error}");
            if let Some(password) = option(&self.options, "password").filter(|password| !password.is_empty())
            {
                text = text.replace(&format!("password={password}"), "password=********");
            }
            match error.source.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
                Some(rustix::io::Errno::NODEV) => system(text)
                    .with_hint(format!("the kernel of this host has no file system `{}`", self.kind)),
                _ => system(text),
            }
        })
    }

    /// Device and options with names of network hosts replaced by addresses, which is all that the kernel knows.
    fn with_addresses(&self, resolve: &dyn Fn(&str) -> std::io::Result<IpAddr>) -> Result<(String, String)> {
        let (mut device, mut options) = (self.device.clone(), self.options.clone());
        if !matches!(self.kind.as_str(), "nfs" | "nfs4" | "cifs") {
            return Ok((device, options));
        }
        let address_of = |host: &str| {
            resolve(host).map_err(|error| {
                EngineError::from_error("error resolving passed in network volume address", error)
            })
        };
        let is_name = |host: &&str| !host.is_empty() && host.parse::<IpAddr>().is_err();
        if let Some(host) = option(&self.options, "addr").filter(is_name) {
            let address = address_of(host)?;
            options = options.replacen(&format!("addr={host}"), &format!("addr={address}"), 1);
        } else if self.kind == "cifs"
            && let Some((host, rest)) = device.strip_prefix("//").and_then(|path| path.split_once('/'))
            && is_name(&host)
        {
            device = format!("//{}/{rest}", address_of(host)?);
        }
        Ok((device, options))
    }
}

/// The value of `key=value` in a text of options.
fn option<'a>(options: &'a str, key: &str) -> Option<&'a str> {
    options
        .split(',')
        .find_map(|word| word.split_once('=').filter(|(name, _)| *name == key))
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn options_that_cannot_be() {
        let text = |pairs: &[(&str, &str)]| {
            check("v", &map(pairs)).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(text(&[("foo", "")]), "create v: invalid option: \"foo\"");
        assert_eq!(text(&[("type", "tmpfs")]), "create v: missing required option: \"device\"");
        assert_eq!(text(&[("device", "x")]), "create v: missing required option: \"type\"");
        assert_eq!(text(&[("o", "ro"), ("type", "tmpfs")]), "create v: missing required option: \"device\"");
        assert_eq!(text(&[("size", "1m")]), "create v: quota size requested but no quota support");
        assert_eq!(text(&[("size", "x")]), "create v: invalid size: 'x'");
        assert_eq!(text(&[("type", "none"), ("device", "/x"), ("o", "bind")]), "");
        assert_eq!(text(&[]), "");
    }

    #[test]
    fn names_of_hosts_become_addresses() {
        let resolve = |host: &str| match host {
            "server" => Ok(IpAddr::from([10, 0, 0, 1])),
            _ => Err(std::io::Error::other("no such host")),
        };
        let of = |kind: &str, device: &str, options: &str| {
            MountOptions::of(Some(&map(&[("type", kind), ("device", device), ("o", options)])))
                .unwrap()
                .with_addresses(&resolve)
                .map_err(|error| error.to_string())
        };
        let nfs = of("nfs", ":/x", "addr=server,rw,addr2=server").unwrap();
        assert_eq!(nfs, (":/x".to_owned(), "addr=10.0.0.1,rw,addr2=server".to_owned()));
        assert_eq!(of("nfs", ":/x", "addr=10.1.1.1").unwrap().1, "addr=10.1.1.1");
        assert_eq!(of("cifs", "//server/share/a", "username=u").unwrap().0, "//10.0.0.1/share/a");
        assert_eq!(of("tmpfs", "tmpfs", "addr=server").unwrap().1, "addr=server");
        assert!(of("nfs", ":/x", "addr=nobody").unwrap_err().contains("no such host"));
    }

    #[test]
    fn a_volume_without_a_mount_is_a_plain_folder() {
        assert_eq!(MountOptions::of(None), None);
        assert_eq!(MountOptions::of(Some(&map(&[("size", "0")]))), None);
    }
}
