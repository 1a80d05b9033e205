//! The values of flags: each checked, with the flag in the error.

use super::{Host, SettingsError};
use corten_network::{FirewallMode, Subnet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) fn invalid(flag: &str, value: &str, reason: impl Into<String>) -> SettingsError {
    SettingsError::Invalid { flag: flag.to_owned(), value: value.to_owned(), reason: reason.into() }
}

pub(crate) fn absolute(flag: &str, value: &str) -> Result<PathBuf, SettingsError> {
    let path = PathBuf::from(value);
    if path.is_absolute() { Ok(path) } else { Err(invalid(flag, value, "the path must begin with /")) }
}

pub(crate) fn parse_number<T: std::str::FromStr>(flag: &str, value: &str) -> Result<T, SettingsError>
where
    T::Err: std::fmt::Display,
{
    value.parse().map_err(|error: T::Err| invalid(flag, value, error.to_string()))
}

pub(crate) fn parse_bool(flag: &str, value: &str) -> Result<bool, SettingsError> {
    match value {
        "true" | "1" | "t" => Ok(true),
        "false" | "0" | "f" => Ok(false),
        other => Err(invalid(flag, other, "true or false is wanted")),
    }
}

pub(crate) fn parse_duration(flag: &str, value: &str) -> Result<Duration, SettingsError> {
    corten_std::duration::parse_go(value)
        .ok_or_else(|| invalid(flag, value, "a duration like 72h or 30m is wanted"))
}

pub(crate) fn parse_firewall(flag: &str, value: &str) -> Result<FirewallMode, SettingsError> {
    match value {
        "host" => Ok(FirewallMode::Host),
        "docker" => Ok(FirewallMode::Docker),
        "none" => Ok(FirewallMode::None),
        _ => Err(invalid(flag, value, "host, docker or none is wanted")),
    }
}

pub(crate) fn parse_bridge(flag: &str, value: &str) -> Result<String, SettingsError> {
    // IFNAMSIZ is 16 with the zero byte (linux/if.h); `/` and white space are refused by dev_valid_name().
    let valid = !value.is_empty()
        && value.len() < 16
        && !value.contains(['/', ':'])
        && !value.contains(char::is_whitespace);
    if valid {
        Ok(value.to_owned())
    } else {
        Err(invalid(flag, value, "an interface name has 1 to 15 characters, none of them / or :"))
    }
}

pub(crate) fn parse_subnet(flag: &str, value: &str, ipv4: bool) -> Result<Subnet, SettingsError> {
    let subnet: Subnet = parse_number(flag, value)?;
    if subnet.is_ipv4() == ipv4 {
        Ok(subnet)
    } else {
        Err(invalid(flag, value, format!("an {} subnet is wanted", if ipv4 { "IPv4" } else { "IPv6" })))
    }
}

pub(crate) fn parse_cidr(flag: &str, value: &str) -> Result<(Ipv4Addr, u8), SettingsError> {
    let wrong = || invalid(flag, value, "an address with prefix length is wanted, as in 172.18.0.1/16");
    let (address, prefix) = value.split_once('/').ok_or_else(wrong)?;
    let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
    if !(8..=30).contains(&prefix) {
        return Err(wrong());
    }
    Ok((address.parse().map_err(|_| wrong())?, prefix))
}

pub(crate) fn parse_host(flag: &str, value: &str) -> Result<Host, SettingsError> {
    if let Some(which) = value.strip_prefix("fd://") {
        return Ok(Host::Passed(which.to_owned()));
    }
    if let Some(path) = value.strip_prefix("unix://") {
        return absolute(flag, path).map(Host::Unix);
    }
    if let Some(address) = value.strip_prefix("tcp://") {
        let address = if address.starts_with(':') { format!("0.0.0.0{address}") } else { address.to_owned() };
        return address.parse().map(Host::Tcp).map_err(|_| {
            invalid(flag, value, "an address and a port are wanted, as in tcp://127.0.0.1:2375")
        });
    }
    Err(invalid(flag, value, "unix:///path, tcp://ADDRESS:PORT or fd:// is wanted"))
}

/// One of a few words.
pub(crate) fn one_of(flag: &str, value: &str, words: &[&str]) -> Result<String, SettingsError> {
    if words.contains(&value) {
        return Ok(value.to_owned());
    }
    Err(invalid(flag, value, format!("{} is wanted", words.join(" or "))))
}

/// `NAME=VALUE`
pub(crate) fn parse_pair(flag: &str, value: &str) -> Result<(String, String), SettingsError> {
    match value.split_once('=') {
        Some((name, text)) if !name.is_empty() => Ok((name.to_owned(), text.to_owned())),
        _ => Err(invalid(flag, value, "NAME=VALUE is wanted")),
    }
}
