//! Networks, addresses, names of hosts.

use super::create::CreateFlags;
use super::mount::csv;
use corten_api::container::NetworkingConfig;
use corten_api::network::{EndpointIpamConfig, EndpointSettings};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What the flags come to: the mode, and the endpoints.
pub(crate) fn parse(flags: &CreateFlags) -> Result<(String, NetworkingConfig), String> {
    if flags.network.is_empty() {
        let mut settings = EndpointSettings::default();
        apply_flags(flags, &mut settings)?;
        check("default", &settings)?;
        let endpoints_config = BTreeMap::from([("default".to_owned(), settings)]);
        return Ok(("default".to_owned(), NetworkingConfig { endpoints_config }));
    }
    let mut endpoints_config: BTreeMap<String, EndpointSettings> = BTreeMap::new();
    let mut mode = String::new();
    let (mut user_defined, mut built_in) = (false, false);
    for (at, network) in flags.network.iter().enumerate() {
        let (name, mut settings) = one(network)?;
        if is_user_defined(&name) {
            user_defined = true;
        } else {
            built_in = true;
        }
        if at == 0 {
            mode.clone_from(&name);
            apply_flags(flags, &mut settings)?;
        }
        check(&name, &settings)?;
        if endpoints_config.contains_key(&name) {
            return Err(format!("network \"{name}\" is specified multiple times"));
        }
        // A single network without anything of its own is left to the daemon.
        if flags.network.len() > 1 || settings != EndpointSettings::default() {
            endpoints_config.insert(name, settings);
        }
    }
    if user_defined && built_in {
        let text = "conflicting options: cannot attach both user-defined and non-user-defined network-modes";
        return Err(text.to_owned());
    }
    Ok((mode, NetworkingConfig { endpoints_config }))
}

fn is_user_defined(name: &str) -> bool {
    !matches!(name, "default" | "bridge" | "host" | "none") && !name.starts_with("container:")
}

/// A `--network` that can be read.
pub(crate) fn checked(text: &str) -> Result<String, String> {
    one(text).map(|_| text.to_owned())
}

/// Whether it has fields: something with a value somewhere.
fn has_fields(text: &str) -> bool {
    let is_word = |letter: &u8| letter.is_ascii_alphanumeric() || *letter == b'_';
    text.as_bytes().windows(3).any(|three| is_word(&three[0]) && three[1] == b'=' && is_word(&three[2]))
}

/// `name`, or `name=x,alias=y,ip=z`.
fn one(text: &str) -> Result<(String, EndpointSettings), String> {
    let mut settings = EndpointSettings::default();
    let mut name = String::new();
    if !has_fields(text) {
        return Ok((text.to_owned(), settings));
    }
    for field in csv(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) if !key.is_empty() => (key, value.trim()),
            _ => return Err(format!("invalid field {field}")),
        };
        match key.trim().to_ascii_lowercase().as_str() {
            "name" => value.clone_into(&mut name),
            "alias" => settings.aliases.get_or_insert_default().push(value.to_owned()),
            "ip" if value.is_empty() => {}
            "ip" => value.clone_into(&mut settings.ipam_config.get_or_insert_default().ipv4_address),
            "ip6" if value.is_empty() => {}
            "ip6" => value.clone_into(&mut settings.ipam_config.get_or_insert_default().ipv6_address),
            "mac-address" => value.clone_into(&mut settings.mac_address),
            "link-local-ip" => {
                settings.ipam_config.get_or_insert_default().link_local_ips.push(value.to_owned());
            }
            "driver-opt" => {
                let (option, value) =
                    value.split_once('=').ok_or("invalid key value pair format in driver options")?;
                settings.driver_opts.get_or_insert_default().insert(option.to_owned(), value.to_owned());
            }
            "gw-priority" => {
                settings.gw_priority = value.parse().map_err(|_| format!("invalid gw-priority: {value}"))?;
            }
            other => return Err(format!("invalid field key {other}")),
        }
    }
    if name.is_empty() {
        return Err("network name/id is not specified".to_owned());
    }
    Ok((name, settings))
}

/// What the daemon would refuse too, in the client's words. Addresses are left to the daemon.
fn check(name: &str, settings: &EndpointSettings) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err("no name set for network".to_owned());
    }
    if settings.aliases.is_some() && !is_user_defined(name) {
        return Err("network-scoped aliases are only supported for user-defined networks".to_owned());
    }
    if !settings.mac_address.is_empty() && !is_mac_address(&settings.mac_address) {
        return Err(format!("{} is not a valid mac address", settings.mac_address));
    }
    Ok(())
}

/// Six, eight or twenty bytes in one of the usual forms.
fn is_mac_address(text: &str) -> bool {
    let hex =
        |part: &str, digits: usize| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bytes = |mark, digits| {
        let parts: Vec<&str> = text.split(mark).collect();
        parts.iter().all(|part| hex(part, digits)).then_some(parts.len() * digits / 2)
    };
    [bytes(':', 2), bytes('-', 2), bytes('.', 4)]
        .into_iter()
        .flatten()
        .any(|count| matches!(count, 6 | 8 | 20))
}

/// `--ip`, `--network-alias` and the like belong to the first network.
fn apply_flags(flags: &CreateFlags, settings: &mut EndpointSettings) -> Result<(), String> {
    if !flags.network_alias.is_empty() {
        if settings.aliases.is_some() {
            return Err(
                "conflicting options: cannot specify both --network-alias and per-network alias".to_owned()
            );
        }
        settings.aliases = Some(flags.network_alias.clone());
    }
    if !flags.link.is_empty()
        && flags.network.iter().any(|name| !matches!(name.as_str(), "bridge" | "default"))
    {
        settings.links = Some(flags.link.clone());
    }
    let addresses = EndpointIpamConfig {
        ipv4_address: flags.ip.clone().unwrap_or_default(),
        ipv6_address: flags.ip6.clone().unwrap_or_default(),
        link_local_ips: flags.link_local_ip.clone(),
    };
    if addresses != EndpointIpamConfig::default() {
        if settings.ipam_config.is_some() {
            return Err("conflicting options: cannot specify both --ip and per-network IP address".to_owned());
        }
        settings.ipam_config = Some(addresses);
    }
    if let Some(mac) = &flags.mac_address {
        mac.clone_into(&mut settings.mac_address);
    }
    Ok(())
}

/// `--link name[:alias]`.
pub(crate) fn link(text: &str) -> Result<String, String> {
    match text.split(':').count() {
        _ if text.is_empty() => Err("empty string specified for links".to_owned()),
        1 | 2 => Ok(text.to_owned()),
        _ => Err(format!("bad format for links: {text}")),
    }
}

/// `--dns-search`: a domain, or a point for none at all.
pub(crate) fn search_domain(text: &str) -> Result<String, String> {
    let domain = text.trim_matches(' ');
    if domain == "." {
        return Ok(domain.to_owned());
    }
    let name = domain.strip_suffix('.').unwrap_or(domain);
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let has_letter = name.bytes().any(|byte| byte.is_ascii_alphabetic());
    if has_letter && name.len() < 255 && name.split('.').all(is_label) {
        return Ok(name.to_owned());
    }
    Err(format!("{domain} is not a valid domain"))
}

/// `--add-host name:address` or `name=address`; gives `name:address`.
pub(crate) fn extra_host(text: &str) -> Result<String, String> {
    let bad = || format!("bad format for add-host: \"{text}\"");
    let (name, ip) = match text.find(['=', ':']) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => return Err(bad()),
    };
    if name.is_empty() || ip.is_empty() {
        return Err(bad());
    }
    let ip = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    if ip != "host-gateway" && ip.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: \"{ip}\""));
    }
    Ok(format!("{name}:{ip}"))
}

/// `--dns`.
pub(crate) fn dns(text: &str) -> Result<String, String> {
    match text.trim().parse::<IpAddr>() {
        Ok(ip) => Ok(ip.to_string()),
        Err(_) => Err(format!("IP address is not correctly formatted: {text}")),
    }
}

/// `--sysctl name=value`: only what belongs to a namespace.
pub(crate) fn sysctl(text: &str) -> Result<String, String> {
    const ALLOWED: &[&str] = &[
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    match text.split_once('=') {
        Some((name, _))
            if ALLOWED.contains(&name) || name.starts_with("net.") || name.starts_with("fs.mqueue.") =>
        {
            Ok(text.to_owned())
        }
        Some(_) => Err(format!("sysctl '{text}' is not allowed")),
        None => Err(format!("sysctl '{text}' is not allowed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_hosts_take_both_marks() {
        for (text, expected) in [
            ("db:10.0.0.1", Ok("db:10.0.0.1".to_owned())),
            ("db=10.0.0.1", Ok("db:10.0.0.1".to_owned())),
            ("six:::1", Ok("six:::1".to_owned())),
            ("six=[::1]", Ok("six:::1".to_owned())),
            ("gw=host-gateway", Ok("gw:host-gateway".to_owned())),
            ("nocolon", Err("bad format for add-host: \"nocolon\"".to_owned())),
            ("a:b", Err("invalid IP address in add-host: \"b\"".to_owned())),
        ] {
            assert_eq!(extra_host(text), expected);
        }
    }

    #[test]
    fn networks_are_names_or_fields() {
        let (name, settings) = one("name=n,alias=a,alias=b,ip=10.0.0.9").unwrap();
        assert_eq!(name, "n");
        assert_eq!(settings.aliases.unwrap(), ["a", "b"]);
        assert_eq!(settings.ipam_config.unwrap().ipv4_address, "10.0.0.9");
        for plain in ["plain", "", "a,b", "name="] {
            assert_eq!(one(plain).unwrap(), (plain.to_owned(), EndpointSettings::default()));
        }
        assert_eq!(one("name=n,x=y").unwrap_err(), "invalid field key x");
        assert_eq!(one("name=n,x").unwrap_err(), "invalid field x");
        assert_eq!(one("alias=x").unwrap_err(), "network name/id is not specified");
    }

    #[test]
    fn search_domains_are_names() {
        for (text, wanted) in [("a.b-c.", Ok("a.b-c")), (".", Ok(".")), (" x ", Ok("x"))] {
            assert_eq!(search_domain(text).as_deref(), wanted.as_ref().copied());
        }
        for text in ["", "1", "a b", "-x", "a_b.c", "a..b"] {
            assert_eq!(search_domain(text).unwrap_err(), format!("{text} is not a valid domain"));
        }
    }

    #[test]
    fn hardware_addresses_have_three_forms() {
        for good in ["02:42:ac:11:00:02", "02-42-AC-11-00-02", "0242.ac11.0002", "02:42:ac:11:00:02:00:01"] {
            assert!(is_mac_address(good), "{good}");
        }
        for bad in ["x", "", "02:42:ac:11:00", "02:42:ac:11:00:0g", "0242ac110002"] {
            assert!(!is_mac_address(bad), "{bad}");
        }
    }
}
