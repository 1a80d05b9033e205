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

/// `name`, or `name=x,alias=y,ip=z`.
fn one(text: &str) -> Result<(String, EndpointSettings), String> {
    let mut settings = EndpointSettings::default();
    let mut name = None;
    let fields = csv(text)?;
    if let [only] = fields.as_slice()
        && !only.contains('=')
    {
        return Ok((only.clone(), settings));
    }
    for field in fields {
        let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid field {field}"))?;
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "name" => name = Some(value.to_owned()),
            "alias" => settings.aliases.get_or_insert_default().push(value.to_owned()),
            "ip" => settings.ipam_config.get_or_insert_default().ipv4_address = address(value)?,
            "ip6" => settings.ipam_config.get_or_insert_default().ipv6_address = address(value)?,
            "mac-address" => value.clone_into(&mut settings.mac_address),
            "link-local-ip" => {
                settings.ipam_config.get_or_insert_default().link_local_ips.push(address(value)?);
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
    match name {
        Some(name) if !name.is_empty() => Ok((name, settings)),
        _ => Err("network name is required".to_owned()),
    }
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
    let mut addresses = EndpointIpamConfig::default();
    if let Some(ip) = &flags.ip {
        addresses.ipv4_address = address(ip)?;
    }
    if let Some(ip) = &flags.ip6 {
        addresses.ipv6_address = address(ip)?;
    }
    addresses.link_local_ips = flags.link_local_ip.iter().map(|ip| address(ip)).collect::<Result<_, _>>()?;
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

fn address(text: &str) -> Result<String, String> {
    match text.parse::<IpAddr>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("invalid IP address: {text}")),
    }
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
        assert_eq!(one("plain").unwrap().0, "plain");
        assert!(one("name=n,x=y").is_err());
    }
}
