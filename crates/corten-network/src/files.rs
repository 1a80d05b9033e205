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

/// The names that stand behind a container's own address.
pub fn own_names(host_name: &str, domain: &str) -> String {
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
    /// The servers are the host's, and not the user's for this container.
    pub from_host: bool,
    /// Host or user set `ndots`.
    pub own_dots: bool,
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

#[derive(Default)]
struct Parsed {
    servers: Vec<IpAddr>,
    search: Vec<String>,
    options: Vec<String>,
    /// Lines with other words, as they are.
    others: Vec<String>,
    /// Servers that are no addresses.
    invalid: Vec<String>,
}

/// Reads what resolv.conf(5) defines; lines that cannot be read are passed over, as the C library does.
fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            None => {}
            Some(word) if word.starts_with(['#', ';']) || word.contains(char::is_control) => {}
            Some("nameserver") => {
                let Some(word) = words.next() else { continue };
                // A zone (`fe80::1%eth0`) means an interface of the host's, which a container does not have.
                match word.parse::<IpAddr>() {
                    Ok(address) => parsed.servers.push(address),
                    Err(_) => parsed.invalid.push(word.to_owned()),
                }
            }
            Some("search" | "domain") => {
                let domains: Vec<_> = words.map(str::to_owned).collect();
                if !domains.is_empty() {
                    parsed.search = domains;
                }
            }
            Some("options") => parsed.options.extend(words.map(str::to_owned)),
            Some(_) => parsed.others.push(line.to_owned()),
        }
    }
    parsed
}

/// Where the number of dots of a name is told from which on it is asked for as it is: `ndots` of the options.
fn has_dots(options: &[String]) -> bool {
    options.iter().any(|option| option == "ndots" || option.starts_with("ndots:"))
}

/// Makes a container's file from the host's, which lies at `source`. Without an inner resolver, servers on the host's
/// loopback are left out, because the container's loopback is another; where none remains, Google's public servers stand
/// in, as in Docker. An inner resolver asks the host's servers from the host.
pub fn resolv_conf(host: &str, source: &str, settings: &ResolvSettings) -> ResolvConf {
    let mut parsed = parse(host);
    let mut overrides = Vec::new();
    let from_host = settings.servers.is_empty();
    let mut servers = if from_host {
        std::mem::take(&mut parsed.servers)
    } else {
        overrides.push("nameservers");
        settings.servers.clone()
    };
    let mut warning = None;
    let filtered = from_host && !settings.host_network && settings.internal.is_none();
    if filtered {
        servers.retain(|server| !server.is_loopback() && (settings.ipv6 || server.is_ipv4()));
    }
    if filtered && servers.is_empty() {
        warning = Some("Used default nameservers.");
        servers = vec![IpAddr::from([8, 8, 8, 8]), IpAddr::from([8, 8, 4, 4])];
        if settings.ipv6 {
            let more = ["2001:4860:4860::8888", "2001:4860:4860::8844"];
            servers.extend(more.map(|text| text.parse::<IpAddr>().expect("an address")));
        }
    }
    if settings.internal.is_some() && servers.is_empty() {
        warning = Some("NO EXTERNAL NAMESERVERS DEFINED");
    }
    let mut search = parsed.search;
    if !settings.search.is_empty() {
        overrides.push("search");
        search = settings.search.iter().filter(|domain| *domain != ".").cloned().collect();
    }
    let mut options = parsed.options;
    let mut dots_from = "host";
    if !settings.options.is_empty() {
        overrides.push("options");
        options.clone_from(&settings.options);
        dots_from = "override";
    }
    if settings.internal.is_some() {
        let usable = |option: &String| {
            let number = option.strip_prefix("ndots:");
            option != "ndots" && number.is_none_or(|number| number.parse::<u32>().is_ok())
        };
        options.retain(usable);
    }
    let own_dots = has_dots(&options);
    if settings.internal.is_some() && !own_dots {
        options.push("ndots:0".to_owned());
        dots_from = "internal";
    }

    let mut text = String::from(
        "# Made by the container engine. A change is kept only until the container starts again.\n\n",
    );
    let named = settings.internal.as_slice();
    for server in if named.is_empty() { &servers } else { named } {
        let _ = writeln!(text, "nameserver {server}");
    }
    for (word, list) in [("search", &search), ("options", &options)] {
        if !list.is_empty() {
            let _ = writeln!(text, "{word} {}", list.join(" "));
        }
    }
    for line in &parsed.others {
        let _ = writeln!(text, "{line}");
    }
    let way = match settings.internal {
        Some(_) => " (internal resolver)",
        None if settings.host_network => "",
        None => " (legacy)",
    };
    let _ = writeln!(text, "\n# Based on host file: '{source}'{way}");
    if let Some(warning) = warning {
        let _ = writeln!(text, "# {warning}");
    }
    if settings.internal.is_some() && !servers.is_empty() {
        let list: Vec<_> = servers
            .iter()
            .map(|server| if from_host { format!("host({server})") } else { server.to_string() })
            .collect();
        let _ = writeln!(text, "# ExtServers: [{}]", list.join(" "));
    }
    if !parsed.invalid.is_empty() {
        let _ = writeln!(text, "# Invalid nameservers: [{}]", parsed.invalid.join(" "));
    }
    let _ = writeln!(text, "# Overrides: [{}]", overrides.join(" "));
    if has_dots(&options) {
        let _ = writeln!(text, "# Option ndots from: {dots_from}");
    }
    ResolvConf { text, servers, from_host, own_dots }
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
        let with = |settings: &ResolvSettings, host: &str| {
            body(&resolv_conf(host, "/etc/resolv.conf", settings).text)
        };
        let plain = ResolvSettings::default();
        let inner = ResolvSettings { internal: Some(IpAddr::from([127, 0, 0, 11])), ..plain.clone() };
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
                plain.clone(),
                "sortlist 10.0.0.0\nnameserver 10.0.0.1\n",
                "nameserver 10.0.0.1|sortlist 10.0.0.0",
            ),
            (inner.clone(), host, "nameserver 127.0.0.11|search a.b c|options edns0 ndots:0"),
            (inner.clone(), "options ndots:x ndots:2\n", "nameserver 127.0.0.11|options ndots:2"),
        ];
        for (settings, host, wanted) in cases {
            assert_eq!(&with(settings, host), wanted, "{settings:?}");
        }
    }

    #[test]
    fn an_inner_resolver_is_told_whom_to_ask() {
        let inner = ResolvSettings { internal: Some(IpAddr::from([127, 0, 0, 11])), ..Default::default() };
        let host = "nameserver 127.0.0.53\nnameserver x\noptions ndots:1\n";
        let conf = resolv_conf(host, "/etc/resolv.conf", &inner);
        assert_eq!(conf.servers, [IpAddr::from([127, 0, 0, 53])]);
        assert!(conf.from_host && conf.own_dots);
        assert!(
            conf.text.ends_with(
                "\n# Based on host file: '/etc/resolv.conf' (internal resolver)\n# ExtServers: [host(127.0.0.53)]\n\
                 # Invalid nameservers: [x]\n# Overrides: []\n# Option ndots from: host\n"
            ),
            "{}",
            conf.text
        );
        let own = ResolvSettings { servers: conf.servers, options: vec!["edns0".to_owned()], ..inner };
        let conf = resolv_conf(host, "/etc/resolv.conf", &own);
        assert!(!conf.from_host && !conf.own_dots);
        assert!(
            conf.text.ends_with(
                "# ExtServers: [127.0.0.53]\n# Invalid nameservers: [x]\n# Overrides: [nameservers options]\n\
                 # Option ndots from: internal\n"
            ),
            "{}",
            conf.text
        );
    }

    #[test]
    fn the_stub_of_systemd_resolved_is_looked_through() {
        assert_eq!(resolv_conf_source("nameserver 127.0.0.53\n"), "/run/systemd/resolve/resolv.conf");
        assert_eq!(resolv_conf_source("nameserver 10.0.0.1\n"), "/etc/resolv.conf");
    }
}
