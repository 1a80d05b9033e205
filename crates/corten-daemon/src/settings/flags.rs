//! Every flag of the daemon, declared once: its spellings, its key in the file of settings, its help and what it does.

use super::values::{
    absolute, invalid, one_of, parse_bool, parse_bridge, parse_cidr, parse_firewall, parse_host,
    parse_number, parse_pair, parse_subnet,
};
use super::{Settings, SettingsError, file};
use corten_api::container::Ulimit;
use corten_engine::SeccompProfile;
use corten_network::FirewallMode;
use corten_std::size;
use std::fmt::Write;
use std::net::IpAddr;

/// What a flag takes; the word stands for its value in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Nothing, or `=true` and `=false`.
    Switch,
    /// One value; a later one wins.
    Value(&'static str),
    /// One value each time.
    List(&'static str),
}

/// One flag.
#[derive(Debug)]
pub(crate) struct Flag {
    /// With its two dashes.
    pub(crate) name: &'static str,
    /// Shorter spellings, with their dash.
    short: &'static [&'static str],
    /// The key in `daemon.json`; empty: the file does not have it.
    pub(crate) key: &'static str,
    pub(crate) form: Form,
    /// The help, in lines.
    text: &'static str,
    /// Takes one value; the second argument names the flag, or the key, in errors.
    pub(crate) apply: fn(&mut Settings, &str, &str) -> Result<(), SettingsError>,
}

/// The flag of that spelling.
pub(crate) fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name || flag.short.contains(&name))
}

/// The flag of that key.
pub(crate) fn of_key(key: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| !flag.key.is_empty() && flag.key == key)
}

/// The help text of `corten daemon --help`.
pub(crate) fn help() -> String {
    /// Where texts begin.
    const COLUMN: usize = 28;
    let mut help = "\
Usage:  corten daemon [OPTIONS]

Run the daemon. It stays in the foreground; containers go on when it ends.

Options:
"
    .to_owned();
    for flag in FLAGS {
        let short = flag.short.first().map_or_else(|| "    ".to_owned(), |short| format!("{short}, "));
        let value = match flag.form {
            Form::Switch => String::new(),
            Form::Value(word) | Form::List(word) => format!(" {word}"),
        };
        let mut line = format!("  {short}{}{value}", flag.name);
        for text in flag.text.lines() {
            if line.len() + 1 > COLUMN {
                let _ = writeln!(help, "{}", line.trim_end());
                line.clear();
            }
            let _ = writeln!(help, "{line:COLUMN$}{text}");
            line.clear();
        }
    }
    help.push_str(
        "  -v, --version             Print version information and quit

Several daemons side by side need a --data-root, an --exec-root and a --bridge each. The same settings can stand in the
--config-file; SIGHUP to the process of the --pidfile has it read anew.
",
    );
    help
}

const DEFAULT: Flag =
    Flag { name: "", short: &[], key: "", form: Form::Switch, text: "", apply: |_, _, _| Ok(()) };

/// In the order of the help.
const FLAGS: &[Flag] = &[
    Flag {
        name: "--host",
        short: &["-H"],
        key: "hosts",
        form: Form::List("list"),
        text: "Socket to listen on: unix:///path, tcp://ADDRESS:PORT, or fd:// for those that\n\
               systemd opened (fd://NAME or fd://NUMBER: one of them) (default\n\
               \"unix://EXEC-ROOT/corten.sock\"; with the default folders, and\n\
               where nobody else listens, also unix:///var/run/docker.sock)",
        apply: |settings, flag, value| {
            settings.hosts.push(parse_host(flag, value)?);
            Ok(())
        },
    },
    Flag {
        name: "--data-root",
        short: &["-g"],
        key: "data-root",
        form: Form::Value("string"),
        text: "Folder of what must survive a power cut (default \"/var/lib/corten\")",
        apply: |settings, flag, value| absolute(flag, value).map(|path| settings.paths.data_root = path),
    },
    Flag {
        name: "--exec-root",
        key: "exec-root",
        form: Form::Value("string"),
        text: "Folder of running state (default \"/run/corten\")",
        apply: |settings, flag, value| absolute(flag, value).map(|path| settings.paths.exec_root = path),
        ..DEFAULT
    },
    Flag {
        name: "--pidfile",
        short: &["-p"],
        key: "pidfile",
        form: Form::Value("string"),
        text: "File for the process id (default \"EXEC-ROOT/corten.pid\")",
        apply: |settings, flag, value| absolute(flag, value).map(|path| settings.pid_file = path),
    },
    Flag {
        name: "--bridge",
        short: &["-b"],
        key: "bridge",
        form: Form::Value("string"),
        text: "Interface name of the default bridge (default \"corten0\")",
        apply: |settings, flag, value| parse_bridge(flag, value).map(|name| settings.bridge = name),
    },
    Flag {
        name: "--bip",
        key: "bip",
        form: Form::Value("string"),
        text: "Address of the default bridge, as in 172.18.0.1/16",
        apply: |settings, flag, value| {
            parse_cidr(flag, value).map(|cidr| settings.bridge_address = Some(cidr))
        },
        ..DEFAULT
    },
    Flag {
        name: "--fixed-cidr",
        key: "fixed-cidr",
        form: Form::Value("string"),
        text: "Part of the default bridge's subnet for containers, as in 172.18.5.0/24",
        apply: |settings, flag, value| {
            parse_subnet(flag, value, true).map(|subnet| settings.bridge_range = Some(subnet))
        },
        ..DEFAULT
    },
    Flag {
        name: "--ipv6",
        key: "ipv6",
        text: "Give the default bridge IPv6 (default false)",
        apply: |settings, flag, value| parse_bool(flag, value).map(|on| settings.ipv6 = on),
        ..DEFAULT
    },
    Flag {
        name: "--fixed-cidr-v6",
        key: "fixed-cidr-v6",
        form: Form::Value("string"),
        text: "IPv6 subnet of the default bridge (default: a private one)",
        apply: |settings, flag, value| {
            parse_subnet(flag, value, false).map(|subnet| settings.bridge_subnet6 = Some(subnet))
        },
        ..DEFAULT
    },
    Flag {
        name: "--mtu",
        key: "mtu",
        form: Form::Value("int"),
        text: "MTU of the default bridge (default 1500)",
        apply: |settings, flag, value| parse_number(flag, value).map(|mtu| settings.mtu = mtu),
        ..DEFAULT
    },
    Flag {
        name: "--ip",
        key: "ip",
        form: Form::Value("ip"),
        text: "Address that ports are published on by default (default 0.0.0.0 and ::)",
        apply: |settings, flag, value| {
            parse_number(flag, value).map(|address| settings.default_binding = Some(address))
        },
        ..DEFAULT
    },
    Flag {
        name: "--ip-masq",
        key: "ip-masq",
        text: "Masquerade what leaves the bridge (default true)",
        apply: |settings, flag, value| parse_bool(flag, value).map(|on| settings.masquerade = on),
        ..DEFAULT
    },
    Flag {
        name: "--icc",
        key: "icc",
        text: "Let containers of the default bridge reach each other (default true)",
        apply: |settings, flag, value| parse_bool(flag, value).map(|on| settings.inter_container = on),
        ..DEFAULT
    },
    Flag {
        name: "--default-address-pool",
        key: "default-address-pools",
        form: Form::List("base=SUBNET,size=BITS"),
        text: "Where the subnets of new networks are cut from (default 172.17.0.0/16\n\
               to 172.31.0.0/16, 192.168.0.0/16 by 20, 10.0.0.0/8 by 24 bits)",
        apply: |settings, flag, value| {
            let pool =
                corten_engine::network::parse_pool(value).map_err(|reason| invalid(flag, value, reason))?;
            settings.address_pools.push(pool);
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--default-network-opt",
        key: "default-network-opts",
        form: Form::List("DRIVER=OPTION=VALUE"),
        text: "Option of new networks of a driver that do not name it",
        apply: |settings, flag, value| {
            let (driver, option) = parse_pair(flag, value)?;
            let (option, value) = parse_pair(flag, &option)?;
            settings.defaults.network_options.entry(driver).or_default().insert(option, value);
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--dns",
        key: "dns",
        form: Form::List("list"),
        text: "Name server of containers that name none",
        apply: |settings, flag, value| {
            let address: IpAddr = parse_number(flag, value)?;
            settings.dns.push(address.to_string());
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--dns-opt",
        key: "dns-opts",
        form: Form::List("list"),
        text: "Resolver option of containers that name none",
        apply: |settings, flag, value| word(flag, value).map(|option| settings.dns_options.push(option)),
        ..DEFAULT
    },
    Flag {
        name: "--dns-search",
        key: "dns-search",
        form: Form::List("list"),
        text: "Search domain of containers that name none",
        apply: |settings, flag, value| word(flag, value).map(|domain| settings.dns_search.push(domain)),
        ..DEFAULT
    },
    Flag {
        name: "--host-gateway-ip",
        key: "host-gateway-ips",
        form: Form::List("list"),
        text: "What host-gateway means in --add-host, an IPv4 and an IPv6 address\n\
               (default: the address of the default bridge)",
        apply: |settings, flag, value| {
            let address: IpAddr = parse_number(flag, value)?;
            if settings.host_gateway.iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
                return Err(invalid(flag, value, "one address of each family is wanted"));
            }
            settings.host_gateway.push(address);
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--default-ulimit",
        key: "default-ulimits",
        form: Form::List("NAME=SOFT[:HARD]"),
        text: "Limit of containers that do not name it",
        apply: |settings, flag, value| {
            let limit: Ulimit = parse_number(flag, value)?;
            settings.defaults.ulimits.retain(|other| other.name != limit.name);
            settings.defaults.ulimits.push(limit);
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--default-shm-size",
        key: "default-shm-size",
        form: Form::Value("bytes"),
        text: "Size of /dev/shm of containers that name none (default 64MiB)",
        apply: |settings, flag, value| {
            let bytes = size::parse_bytes(value).filter(|bytes| *bytes > 0);
            settings.reloadable.shm_size = bytes.ok_or_else(|| invalid(flag, value, "a size is wanted"))?;
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--default-ipc-mode",
        key: "default-ipc-mode",
        form: Form::Value("string"),
        text: "IPC namespace of containers that name none: private or shareable\n(default \"private\")",
        apply: |settings, flag, value| {
            one_of(flag, value, &["private", "shareable"]).map(|mode| settings.reloadable.ipc_mode = mode)
        },
        ..DEFAULT
    },
    Flag {
        name: "--default-cgroupns-mode",
        key: "default-cgroupns-mode",
        form: Form::Value("string"),
        text: "Cgroup namespace of containers that name none: private or host\n\
               (default: private with cgroup v2, else host)",
        apply: |settings, flag, value| {
            one_of(flag, value, &["private", "host"]).map(|mode| settings.reloadable.cgroupns_mode = mode)
        },
        ..DEFAULT
    },
    Flag {
        name: "--cgroup-parent",
        key: "cgroup-parent",
        form: Form::Value("string"),
        text: "Cgroup above containers that name none (default: the daemon's own)",
        apply: |settings, flag, value| {
            word(flag, value).map(|parent| settings.defaults.cgroup_parent = parent)
        },
        ..DEFAULT
    },
    Flag {
        name: "--seccomp-profile",
        key: "seccomp-profile",
        form: Form::Value("path"),
        text: "File with the filter of system calls of containers that name none, in\n\
               Docker's form; builtin or unconfined (default \"builtin\")",
        apply: |settings, flag, value| {
            settings.defaults.seccomp = match value {
                "" | "builtin" => SeccompProfile::default(),
                "unconfined" => SeccompProfile::unconfined(),
                path => {
                    let path = absolute(flag, path)?;
                    corten_std::file::read_to_string(&path)
                        .map_err(|error| corten_std::chain(&error))
                        .and_then(|json| {
                            SeccompProfile::parse(value, &json).map_err(|error| corten_std::chain(&error))
                        })
                        .map_err(|reason| invalid(flag, value, reason))?
                }
            };
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--no-new-privileges",
        key: "no-new-privileges",
        text: "Set no-new-privileges for containers that say nothing of it",
        apply: |settings, flag, value| {
            parse_bool(flag, value).map(|on| settings.defaults.no_new_privileges = on)
        },
        ..DEFAULT
    },
    Flag {
        name: "--init",
        key: "init",
        text: "Give containers that say nothing of it an init",
        apply: |settings, flag, value| parse_bool(flag, value).map(|on| settings.defaults.init = on),
        ..DEFAULT
    },
    Flag {
        name: "--log-driver",
        key: "log-driver",
        form: Form::Value("string"),
        text: "Log driver of containers that name none (default \"json-file\")",
        apply: |settings, flag, value| word(flag, value).map(|driver| settings.defaults.log_driver = driver),
        ..DEFAULT
    },
    Flag {
        name: "--log-opt",
        key: "log-opts",
        form: Form::List("NAME=VALUE"),
        text: "Option of that log driver",
        apply: |settings, flag, value| {
            let (name, value) = parse_pair(flag, value)?;
            settings.defaults.log_options.insert(name, value);
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--label",
        key: "labels",
        form: Form::List("NAME=VALUE"),
        text: "Label of the daemon, told by info",
        apply: |settings, flag, value| {
            let (name, text) = parse_pair(flag, value)?;
            let labels = &mut settings.reloadable.labels;
            let other = labels.iter().find(|label| label.starts_with(&format!("{name}=")));
            if other.is_some_and(|other| *other != format!("{name}={text}")) {
                return Err(invalid(flag, value, format!("conflict labels for {name}")));
            }
            labels.push(format!("{name}={text}"));
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--add-runtime",
        form: Form::List("NAME=PATH"),
        text: "An OCI runtime's program, for --runtime NAME",
        apply: |settings, flag, value| {
            let (name, path) = parse_pair(flag, value)?;
            let program =
                file::runtime(&name, &path, Vec::new()).map_err(|reason| invalid(flag, value, reason))?;
            settings.reloadable.runtimes.insert(name, program);
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--default-runtime",
        key: "default-runtime",
        form: Form::Value("string"),
        text: "Runtime of containers that name none (default \"runc\": our own)",
        apply: |settings, flag, value| {
            word(flag, value).map(|name| settings.reloadable.default_runtime = name)
        },
        ..DEFAULT
    },
    Flag {
        name: "--config-file",
        form: Form::Value("string"),
        text: "File of settings, as daemon.json (default \"/etc/corten/daemon.json\")",
        apply: |settings, flag, value| absolute(flag, value).map(|path| settings.config_file = Some(path)),
        ..DEFAULT
    },
    Flag {
        name: "--firewall",
        key: "firewall",
        form: Form::Value("string"),
        text: "Who decides which published ports other hosts reach: host (its input\n\
               rules), docker (all are open) or none (no rules are made) (default \"host\")",
        apply: |settings, flag, value| parse_firewall(flag, value).map(|mode| settings.firewall = mode),
        ..DEFAULT
    },
    Flag {
        name: "--firewall-allow",
        key: "firewall-allow",
        form: Form::List("list"),
        text: "Published ports that are open whatever the host's rules say, as 8080/tcp",
        apply: |settings, flag, value| {
            for ports in value.split(',') {
                settings.allowed_ports.push(parse_number(flag, ports)?);
            }
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--iptables",
        key: "iptables",
        text: "Docker's word: --iptables=false is --firewall none",
        apply: |settings, flag, value| {
            if !parse_bool(flag, value)? {
                settings.firewall = FirewallMode::None;
            }
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--metrics-addr",
        key: "metrics-addr",
        form: Form::Value("string"),
        text: "Address and port of numbers for Prometheus (/metrics), as 127.0.0.1:9323",
        apply: |settings, flag, value| {
            parse_number(flag, value).map(|address| settings.metrics_address = Some(address))
        },
        ..DEFAULT
    },
    Flag {
        name: "--userns-remap",
        key: "userns-remap",
        form: Form::Value("string"),
        text: "Run containers in user namespaces with the subordinate ids of\n\
               this user: default (dockremap), USER[:GROUP] or UID[:GID]",
        apply: |settings, _, value| {
            settings.userns_remap = Some(value.to_owned()).filter(|value| !value.is_empty());
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--authorization-plugin",
        key: "authorization-plugins",
        form: Form::List("list"),
        text: "Plugins that are asked about every request, in this order",
        apply: |settings, _, value| {
            settings.authorization_plugins.push(value.to_owned());
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--registry-mirror",
        key: "registry-mirrors",
        form: Form::List("list"),
        text: "Mirror of Docker Hub, as http://HOST:PORT, asked before it",
        apply: |settings, flag, value| registry(settings, flag, value, |all| &mut all.mirrors),
        ..DEFAULT
    },
    Flag {
        name: "--insecure-registry",
        key: "insecure-registries",
        form: Form::List("list"),
        text: "Registry that needs no TLS and no certificate that is believed: a host, with or\n\
               without port, or a network like 10.0.0.0/8",
        apply: |settings, flag, value| registry(settings, flag, value, |all| &mut all.insecure),
        ..DEFAULT
    },
    Flag {
        name: "--max-concurrent-downloads",
        key: "max-concurrent-downloads",
        form: Form::Value("int"),
        text: "Layers that are pulled at once (default 3)",
        apply: |settings, flag, value| {
            parse_count(flag, value).map(|count| settings.reloadable.max_downloads = count)
        },
        ..DEFAULT
    },
    Flag {
        name: "--max-concurrent-uploads",
        key: "max-concurrent-uploads",
        form: Form::Value("int"),
        text: "Layers that are pushed at once (default 5)",
        apply: |settings, flag, value| {
            parse_count(flag, value).map(|count| settings.reloadable.max_uploads = count)
        },
        ..DEFAULT
    },
    Flag {
        name: "--max-download-attempts",
        key: "max-download-attempts",
        form: Form::Value("int"),
        text: "So often a request to a registry is made at most (default 5)",
        apply: |settings, flag, value| {
            let count: usize = parse_count(flag, value)?;
            settings.reloadable.max_attempts = u32::try_from(count).unwrap_or(u32::MAX);
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--http-proxy",
        form: Form::Value("string"),
        text: "Proxy for requests to registries without TLS (default HTTP_PROXY of the daemon)",
        apply: |settings, _, value| {
            value.clone_into(&mut settings.proxies.http);
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--https-proxy",
        form: Form::Value("string"),
        text: "Proxy for those with TLS, http:// or socks5:// (default HTTPS_PROXY)",
        apply: |settings, _, value| {
            value.clone_into(&mut settings.proxies.https);
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--no-proxy",
        form: Form::Value("string"),
        text: "Hosts and networks that are reached directly (default NO_PROXY)",
        apply: |settings, _, value| {
            value.clone_into(&mut settings.proxies.except);
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--tls",
        key: "tls",
        text: "Use TLS on TCP sockets; implied by --tlsverify. A TCP socket without TLS gives\n\
               root on this machine to whoever reaches it: it is refused unless\n\
               --tls=false says that this is meant",
        apply: |settings, flag, value| parse_bool(flag, value).map(|on| settings.tls.on = Some(on)),
        ..DEFAULT
    },
    Flag {
        name: "--tlsverify",
        key: "tlsverify",
        text: "Use TLS and let only clients with a certificate from the authority in",
        apply: |settings, flag, value| parse_bool(flag, value).map(|on| settings.tls.verify = Some(on)),
        ..DEFAULT
    },
    Flag {
        name: "--tlscacert",
        key: "tlscacert",
        form: Form::Value("string"),
        text: "Certificate of the authority (default \"/etc/corten/tls/ca.pem\")",
        apply: |settings, flag, value| {
            absolute(flag, value).map(|path| settings.tls.files.authority = Some(path))
        },
        ..DEFAULT
    },
    Flag {
        name: "--tlscert",
        key: "tlscert",
        form: Form::Value("string"),
        text: "Certificate of the daemon (default \"/etc/corten/tls/cert.pem\")",
        apply: |settings, flag, value| {
            absolute(flag, value).map(|path| settings.tls.files.certificate = Some(path))
        },
        ..DEFAULT
    },
    Flag {
        name: "--tlskey",
        key: "tlskey",
        form: Form::Value("string"),
        text: "Key of that certificate (default \"/etc/corten/tls/key.pem\")",
        apply: |settings, flag, value| absolute(flag, value).map(|path| settings.tls.files.key = Some(path)),
        ..DEFAULT
    },
    Flag {
        name: "--group",
        short: &["-G"],
        key: "group",
        form: Form::Value("int"),
        text: "Numeric group that may use the unix socket",
        apply: |settings, flag, value| parse_number(flag, value).map(|group| settings.group = Some(group)),
    },
    Flag {
        name: "--debug",
        short: &["-D"],
        key: "debug",
        text: "Log debug messages",
        apply: |settings, flag, value| {
            if parse_bool(flag, value)? {
                settings.log_level = tracing::Level::DEBUG;
            }
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--log-level",
        short: &["-l"],
        key: "log-level",
        form: Form::Value("string"),
        text: "debug, info, warn or error (default \"info\")",
        apply: |settings, flag, value| parse_number(flag, value).map(|level| settings.log_level = level),
    },
    Flag {
        name: "--failpoint",
        form: Form::List("list"),
        text: "Steps that fail on purpose (for tests)",
        apply: |settings, _, value| {
            settings.failpoints.extend(value.split(',').map(str::to_owned));
            Ok(())
        },
        ..DEFAULT
    },
];

/// One more entry of a list about registries, checked.
fn registry(
    settings: &mut Settings,
    flag: &str,
    value: &str,
    list: impl Fn(&mut corten_distribution::RegistrySettings) -> &mut Vec<String>,
) -> Result<(), SettingsError> {
    let registries = &mut settings.reloadable.registries;
    list(registries).push(value.to_owned());
    registries.check().map_err(|error| invalid(flag, value, corten_std::chain(&error)))
}

/// A number that is not 0.
fn parse_count(flag: &str, value: &str) -> Result<usize, SettingsError> {
    match parse_number(flag, value)? {
        0 => Err(invalid(flag, value, "at least 1 is wanted")),
        count => Ok(count),
    }
}

/// Any text but none.
fn word(flag: &str, value: &str) -> Result<String, SettingsError> {
    if value.is_empty() { Err(invalid(flag, value, "a value is missing")) } else { Ok(value.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_and_key_is_there_once_and_has_its_help() {
        let help = help();
        for (index, flag) in FLAGS.iter().enumerate() {
            for other in &FLAGS[..index] {
                assert_ne!(flag.name, other.name);
                assert!(flag.key.is_empty() || flag.key != other.key, "{}", flag.key);
                assert!(flag.short.iter().all(|short| !other.short.contains(short)), "{}", flag.name);
            }
            assert!(help.contains(&format!("{} ", flag.name)) || help.contains(&format!("{}\n", flag.name)));
        }
        assert!(help.lines().all(|line| line.len() <= 120));
    }
}
