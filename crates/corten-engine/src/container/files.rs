//! The files of a container that the engine writes: `hosts`, `hostname`, `resolv.conf`. They lie in its folder and are
//! bound over the image's.

use crate::container::handle::NetworkView;
use crate::container::record::Record;
use crate::container::selinux;
use crate::engine::EngineInner;
use crate::error::{EngineError, Result};
use corten_network::{HostEntry, ResolvConf, ResolvSettings, resolv_conf_source};
use corten_std::file;
use std::fmt::Write;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A `hosts` that is longer was written by the container, and is left to it.
const LONGEST_HOSTS: u64 = 1 << 20;

/// The host's own settings.
const ETC: &str = "/etc/resolv.conf";

/// The three files by their place inside.
pub(crate) const FILES: [(&str, &str); 3] =
    [("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname"), ("hosts", "/etc/hosts")];

/// Whether a place inside is one of theirs.
pub(super) fn is_own(destination: &str) -> bool {
    FILES.iter().any(|(_, place)| *place == destination)
}

/// What `/etc/hosts` needs to know of the network.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses {
    /// The container's own.
    pub(super) own: Vec<IpAddr>,
    /// What `host-gateway` means.
    pub(super) gateways: Vec<IpAddr>,
    /// It shares the host's network.
    pub(super) host_network: bool,
    /// It has IPv6 on its loopback.
    pub(super) ipv6: bool,
    /// It has a resolver of its own.
    pub(super) named: bool,
    /// Containers that it is linked to.
    pub(super) links: Vec<HostEntry>,
}

/// The id of the container whose files a container has: another's where its network is another's.
pub(super) fn owner(record: &Record) -> &str {
    record.host_config.network_mode.strip_prefix("container:").unwrap_or(&record.id)
}

/// Where one of the files lies.
pub(crate) fn path(engine: &EngineInner, id: &str, name: &str) -> PathBuf {
    engine.settings.paths.container(id).join(name)
}

/// Writes the three files; the folder is there. What `resolv.conf` says.
pub(super) fn write(engine: &EngineInner, record: &Record, addresses: &Addresses) -> Result<ResolvConf> {
    let folder = engine.settings.paths.container(&record.id);
    file::write(folder.join("hostname"), corten_network::hostname(&record.hostname))?;
    file::write(folder.join("hosts"), hosts(record, addresses)?)?;
    let conf = resolv_conf(engine, record, addresses)?;
    file::write(folder.join("resolv.conf"), &conf.text)?;
    for (name, _) in FILES {
        selinux::relabel(engine, record, &folder.join(name), false)?;
    }
    Ok(conf)
}

/// What `resolv.conf` says of a container with a resolver of its own that is connected like this.
pub(super) fn resolver(engine: &EngineInner, record: &Record, network: &NetworkView) -> Result<ResolvConf> {
    let ipv6 = network.endpoints.values().any(|endpoint| !endpoint.global_ipv6_address.is_empty());
    resolv_conf(engine, record, &Addresses { ipv6, named: true, ..Addresses::default() })
}

/// Takes a container's own addresses of before out of its `hosts`, and adds those of now. The file is changed in place,
/// because it is mounted; what was written to it inside stays.
pub(super) fn change_own(
    engine: &EngineInner,
    record: &Record,
    old: &[String],
    new: &[String],
) -> Result<()> {
    let path = path(engine, &record.id, "hosts");
    let Some(bytes) = read_hosts(&path) else { return Ok(()) };
    let text = String::from_utf8_lossy(&bytes);
    let names = corten_network::own_names(&record.hostname, &record.config.domainname);
    let line = |address: &String| format!("{address}\t{names}");
    let gone: Vec<_> = old.iter().filter(|address| !new.contains(address)).map(line).collect();
    let mut lines: Vec<String> =
        text.lines().filter(|line| !gone.iter().any(|gone| gone == line)).map(str::to_owned).collect();
    lines.extend(new.iter().filter(|address| !old.contains(address)).map(line));
    let mut changed = lines.join("\n");
    changed.push('\n');
    if changed.as_bytes() != bytes {
        file::write(&path, changed)?;
    }
    Ok(())
}

/// A container's `hosts` as it is now. None where it is not there, or so long that reading it would only serve whoever
/// wrote it: the container can write to it as much as it likes.
pub(super) fn read_hosts(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(LONGEST_HOSTS + 1).read_to_end(&mut bytes).ok()?;
    if bytes.len() as u64 > LONGEST_HOSTS {
        tracing::warn!(path = %path.display(), "a container's hosts file is too long to be kept up to date");
        return None;
    }
    Some(bytes)
}

fn hosts(record: &Record, addresses: &Addresses) -> Result<String> {
    let mut extra = Vec::new();
    for entry in record.host_config.extra_hosts.iter().flatten() {
        let (name, address) = parse_extra_host(entry)?;
        if address.is_none() && addresses.gateways.is_empty() {
            return Err(EngineError::invalid("unable to derive the IP value for host-gateway"));
        }
        let all = address.as_ref().map_or(addresses.gateways.as_slice(), std::slice::from_ref);
        extra.extend(all.iter().map(|address| HostEntry::new(*address, name)));
    }
    extra.extend_from_slice(&addresses.links);
    if addresses.host_network {
        // The host's own names hold; what was asked for is added, as Docker has it.
        let mut text = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        for entry in extra {
            let _ = writeln!(text, "{}\t{}", entry.address, entry.names);
        }
        return Ok(text);
    }
    let config = &record.config;
    Ok(corten_network::hosts(&record.hostname, &config.domainname, &addresses.own, &extra, addresses.ipv6))
}

fn resolv_conf(engine: &EngineInner, record: &Record, addresses: &Addresses) -> Result<ResolvConf> {
    let host = &record.host_config;
    let settings = &engine.settings;
    let or = |mine: &Option<Vec<String>>, default: &[String]| match mine {
        Some(list) if !list.is_empty() => list.clone(),
        _ => default.to_vec(),
    };
    let servers = or(&host.dns, &settings.dns)
        .iter()
        .map(|server| {
            server.parse().map_err(|_| EngineError::invalid(format!("{server} is not an ip address")))
        })
        .collect::<Result<Vec<IpAddr>>>()?;
    let etc = std::fs::read_to_string(ETC).unwrap_or_default();
    // What listens on the host's own loopback is reached by the inner resolver, and by those who share the network.
    let source = if addresses.host_network || addresses.named { ETC } else { resolv_conf_source(&etc) };
    let text = if source == ETC { etc } else { std::fs::read_to_string(source).unwrap_or(etc) };
    let resolv = ResolvSettings {
        servers,
        search: or(&host.dns_search, &settings.dns_search),
        options: or(&host.dns_options, &settings.dns_options),
        ipv6: addresses.ipv6,
        host_network: addresses.host_network,
        internal: addresses.named.then_some(IpAddr::V4(corten_network::names::ADDRESS)),
    };
    Ok(corten_network::resolv_conf(&text, source, &resolv))
}

/// `NAME:ADDRESS` or `NAME=ADDRESS`; no address for `host-gateway`.
pub(super) fn parse_extra_host(entry: &str) -> Result<(&str, Option<IpAddr>)> {
    let wrong = || EngineError::invalid(format!("bad format for add-host: {entry:?}"));
    let (name, address) = entry.split_once('=').or_else(|| entry.split_once(':')).ok_or_else(wrong)?;
    if name.is_empty() {
        return Err(wrong());
    }
    if address == "host-gateway" {
        return Ok((name, None));
    }
    let plain = address.trim_start_matches('[').trim_end_matches(']');
    let address = plain
        .parse()
        .map_err(|_| EngineError::invalid(format!("invalid IP address in add-host: {address:?}")))?;
    Ok((name, Some(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_file_is_read_up_to_a_length() {
        let scratch = corten_testing::Scratch::new("hosts");
        let path = scratch.path().join("hosts");
        assert_eq!(read_hosts(&path), None);
        std::fs::write(&path, "127.0.0.1\tlocalhost\n").unwrap();
        assert_eq!(read_hosts(&path).as_deref(), Some(&b"127.0.0.1\tlocalhost\n"[..]));
        // Sparse: it costs nobody anything to write it.
        std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(read_hosts(&path), None);
    }

    #[test]
    fn extra_hosts() {
        assert_eq!(
            parse_extra_host("db.test:10.1.2.3").unwrap(),
            ("db.test", Some(IpAddr::from([10, 1, 2, 3])))
        );
        assert_eq!(parse_extra_host("v6:::1").unwrap().1, Some("::1".parse().unwrap()));
        assert_eq!(parse_extra_host("v6=[::1]").unwrap().1, Some("::1".parse().unwrap()));
        assert_eq!(parse_extra_host("gw:host-gateway").unwrap(), ("gw", None));
        assert_eq!(
            parse_extra_host("nocolon").unwrap_err().to_string(),
            "bad format for add-host: \"nocolon\""
        );
        assert!(parse_extra_host("db:x").is_err());
    }
}
