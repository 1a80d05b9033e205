//! The texts of a container's `/etc/hosts`, `/etc/resolv.conf` and `/etc/hostname`, as Docker writes them.
//!
//! Pure: the caller reads the host's files and writes the container's.

use std::fmt::Write;
use std::net::IpAddr;

/// A line of `/etc/hosts`: an address with its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEntry {
    /// The address.
    pub address: IpAddr,
    /// Names, separated by blanks.
    pub names: String,
}

impl HostEntry {
    /// An entry.
    pub fn new(address: IpAddr, names: impl Into<String>) -> Self {
        Self { address, names: names.into() }
    }
}

/// `/etc/hostname`.
pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}

/// `/etc/hosts`: Docker's fixed head (the IPv6 names only where the container has IPv6 on its loopback), the entries
/// that the user asked for, then the container's own addresses with its host name. A name with a domain
/// (`web.example.test`) is followed by its first label.
pub fn hosts(host_name: &str, domain: &str, own: &[IpAddr], extra: &[HostEntry], ipv6: bool) -> String {
    let mut text = String::from("127.0.0.1\tlocalhost\n");
    if ipv6 {
        text.push_str(
            "::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n\
             ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
        );
    }
    for entry in extra {
        let _ = writeln!(text, "{}\t{}", entry.address, entry.names);
    }
    let names = own_names(host_name, domain);
    for address in own {
        let _ = writeln!(text, "{address}\t{names}");
    }
    text
}

fn own_names(host_name: &str, domain: &str) -> String {
    let full = if domain.is_empty() { host_name.to_owned() } else { format!("{host_name}.{domain}") };
    match full.split_once('.') {
        Some((first, _)) if !first.is_empty() => format!("{full} {first}"),
        _ => full,
    }
}

/// What the user set for name resolution; an empty list leaves the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvSettings {
    /// Name servers (`--dns`).
    pub servers: Vec<IpAddr>,
    /// Search domains (`--dns-search`); a lone `.` means none.
    pub search: Vec<String>,
    /// Options (`--dns-option`).
    pub options: Vec<String>,
    /// The container can reach IPv6 servers.
    pub ipv6: bool,
    /// The container shares the host's network, and so reaches a resolver on its loopback.
    pub host_network: bool,
    /// The resolver inside the container (127.0.0.11) that stands before the servers, on networks made by users.
    pub internal: Option<IpAddr>,
}

/// A container's `/etc/resolv.conf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    /// The file's text.
    pub text: String,
    /// The servers that an inner resolver asks, or that the text names where there is none.
    pub servers: Vec<IpAddr>,
}

/// Where the host's own settings are read from: systemd-resolved's list of real servers where `/etc/resolv.conf` only
/// names its stub on 127.0.0.53, otherwise the file itself.
pub fn resolv_conf_source(etc: &str) -> &'static str {
    let servers = parse(etc).servers;
    if servers == [IpAddr::from([127, 0, 0, 53])] {
        "/run/systemd/resolve/resolv.conf"
    } else {
        "/etc/resolv.conf"
    }
}

struct Parsed {
    servers: Vec<IpAddr>,
    search: Vec<String>,
    options: Vec<String>,
}

/// Reads what resolv.conf(5) defines; lines that cannot be read are passed over, as the C library does.
fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed { servers: Vec::new(), search: Vec::new(), options: Vec::new() };
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => {
                // A zone (`fe80::1%eth0`) means an interface of the host's, which a container does not have.
                parsed.servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()));
            }
            Some("search" | "domain") => parsed.search = words.map(str::to_owned).collect(),
            Some("options") => parsed.options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    parsed
}

/// Makes a container's file from the host's. Servers on the host's loopback are left out, because the container's
/// loopback is another; where none remains, Google's public servers stand in, as in Docker.
pub fn resolv_conf(host: &str, settings: &ResolvSettings) -> ResolvConf {
    let parsed = parse(host);
    let overridden = !settings.servers.is_empty();
    let mut servers = if overridden { settings.servers.clone() } else { parsed.servers };
    let mut fallback = false;
    if !overridden && !settings.host_network {
        servers.retain(|server| !server.is_loopback() && (settings.ipv6 || server.is_ipv4()));
        if servers.is_empty() {
            fallback = true;
            servers = vec![IpAddr::from([8, 8, 8, 8]), IpAddr::from([8, 8, 4, 4])];
            if settings.ipv6 {
                servers.extend(
                    ["2001:4860:4860::8888", "2001:4860:4860::8844"]
                        .map(|text| text.parse::<IpAddr>().expect("an address")),
                );
            }
        }
    }
    let search = if settings.search.is_empty() { parsed.search } else { settings.search.clone() };
    let search: Vec<String> = if search == ["."] { Vec::new() } else { search };
    let mut options = if settings.options.is_empty() { parsed.options } else { settings.options.clone() };

    let mut text = String::from(
        "# Made by the container engine. A change is kept only until the container starts again.\n\n",
    );
    if let Some(internal) = settings.internal {
        let _ = writeln!(text, "nameserver {internal}");
        if !options.iter().any(|option| option.starts_with("ndots:")) {
            options.push("ndots:0".to_owned());
        }
    } else {
        for server in &servers {
            let _ = writeln!(text, "nameserver {server}");
        }
    }
    if !search.is_empty() {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    if fallback {
        text.push_str("\n# The host names no server that a container can reach: public ones stand in.\n");
    }
    ResolvConf { text, servers }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> String {
        text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn hosts_has_the_head_the_extras_and_the_own_name() {
        let own = [IpAddr::from([172, 17, 0, 2])];
        let extra = [HostEntry::new(IpAddr::from([10, 1, 2, 3]), "db.test")];
        assert_eq!(
            hosts("web.example.test", "", &own, &extra, false),
            "127.0.0.1\tlocalhost\n10.1.2.3\tdb.test\n172.17.0.2\tweb.example.test web\n"
        );
        assert!(
            hosts("web", "example.test", &own, &[], false).ends_with("172.17.0.2\tweb.example.test web\n")
        );
        assert!(hosts("abc", "", &own, &[], true).contains("::1\tlocalhost ip6-localhost ip6-loopback\n"));
        assert_eq!(hosts("abc", "", &[], &[], false), "127.0.0.1\tlocalhost\n");
        assert_eq!(hostname("abc"), "abc\n");
    }

    #[test]
    fn resolv_conf_filters_and_overrides() {
        let with = |settings: &ResolvSettings, host: &str| body(&resolv_conf(host, settings).text);
        let plain = ResolvSettings::default();
        let host = "# c\nnameserver 10.0.0.1\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\nnameserver fd00::1\nsearch a.b c\noptions edns0\n";
        let cases: &[(ResolvSettings, &str, &str)] = &[
            (plain.clone(), host, "nameserver 10.0.0.1|search a.b c|options edns0"),
            (plain.clone(), "nameserver 127.0.0.1\n", "nameserver 8.8.8.8|nameserver 8.8.4.4"),
            (plain.clone(), "", "nameserver 8.8.8.8|nameserver 8.8.4.4"),
            (
                plain.clone(),
                "\0garbage\nnameserver\nnameserver x\nsearch\n",
                "nameserver 8.8.8.8|nameserver 8.8.4.4",
            ),
            (
                ResolvSettings { host_network: true, ..plain.clone() },
                "nameserver 127.0.0.53\n",
                "nameserver 127.0.0.53",
            ),
            (
                ResolvSettings { ipv6: true, ..plain.clone() },
                host,
                "nameserver 10.0.0.1|nameserver fd00::1|search a.b c|options edns0",
            ),
            (
                ResolvSettings {
                    servers: vec![IpAddr::from([10, 9, 8, 7])],
                    search: vec!["example.test".to_owned()],
                    options: vec!["ndots:3".to_owned()],
                    ..plain.clone()
                },
                host,
                "nameserver 10.9.8.7|search example.test|options ndots:3",
            ),
            (
                ResolvSettings { search: vec![".".to_owned()], ..plain.clone() },
                host,
                "nameserver 10.0.0.1|options edns0",
            ),
            (
                ResolvSettings { internal: Some(IpAddr::from([127, 0, 0, 11])), ..plain },
                host,
                "nameserver 127.0.0.11|search a.b c|options edns0 ndots:0",
            ),
        ];
        for (settings, host, wanted) in cases {
            assert_eq!(&with(settings, host), wanted, "{settings:?}");
        }
    }

    #[test]
    fn the_stub_of_systemd_resolved_is_looked_through() {
        assert_eq!(resolv_conf_source("nameserver 127.0.0.53\n"), "/run/systemd/resolve/resolv.conf");
        assert_eq!(resolv_conf_source("nameserver 10.0.0.1\n"), "/etc/resolv.conf");
    }
}
