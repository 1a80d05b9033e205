//! The daemon's settings: as typed (dockerd's flag names), checked before anything is touched.

use crate::config_file::{self, ConfigFile};
use corten_engine::RuntimeProgram;
use corten_http::tls::TlsFiles;
use corten_network::{AllowedPorts, FirewallMode, Subnet, SubnetPool};
use corten_std::Paths;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Everything a daemon is told at its start. Both roles, keeper and daemon, parse the same arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it keeps its things.
    pub paths: Paths,
    /// Where it listens; empty means the default socket (and Docker's, where nothing else owns it).
    pub hosts: Vec<Host>,
    /// File that takes the keeper's process id.
    pub pid_file: PathBuf,
    /// The default bridge's interface name.
    pub bridge: String,
    /// The default bridge's address with prefix length, chosen where it is not given.
    pub bridge_address: Option<(Ipv4Addr, u8)>,
    /// The part of the default bridge's subnet that containers' addresses are drawn from.
    pub bridge_range: Option<Subnet>,
    /// Whether the default bridge has IPv6.
    pub ipv6: bool,
    /// The default bridge's IPv6 subnet, chosen where it is not given.
    pub bridge_subnet6: Option<Subnet>,
    /// MTU of the default bridge, in bytes.
    pub mtu: u32,
    /// Address that a published port is bound to when none is named.
    pub default_binding: Option<std::net::IpAddr>,
    /// Whether containers' packets leave the machine with the machine's address.
    pub masquerade: bool,
    /// Whether containers of the default bridge reach each other.
    pub inter_container: bool,
    /// Where subnets of networks that name none are chosen from; empty: Docker's, then small pieces of 10.0.0.0/8.
    pub address_pools: Vec<SubnetPool>,
    /// Other OCI runtimes by name.
    pub runtimes: BTreeMap<String, RuntimeProgram>,
    /// The runtime of containers that name none.
    pub default_runtime: String,
    /// Whose rules decide which published ports other hosts reach.
    pub firewall: FirewallMode,
    /// Published ports that are open whatever the host's rules say.
    pub allowed_ports: Vec<AllowedPorts>,
    /// How TCP sockets are secured.
    pub tls: TlsChoice,
    /// Group that owns the socket; `docker` or the number given.
    pub group: Option<u32>,
    /// Least severe level that is logged.
    pub log_level: tracing::Level,
    /// Names of steps that fail on purpose, for tests.
    pub failpoints: BTreeSet<String>,
}

/// What was said about TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsChoice {
    /// `--tls`; none: nothing was said.
    pub on: Option<bool>,
    /// `--tlsverify`: clients need a certificate; none: nothing was said.
    pub verify: Option<bool>,
    /// `--tlscacert`, `--tlscert`, `--tlskey`
    pub files: TlsFiles,
}

impl TlsChoice {
    /// The files to use; none where TCP sockets are plain.
    pub fn wanted(&self) -> Option<TlsFiles> {
        let verify = self.verify == Some(true);
        if !verify && self.on != Some(true) {
            return None;
        }
        let or = |named: &Option<PathBuf>, name: &str| {
            Some(named.clone().unwrap_or_else(|| Path::new("/etc/corten/tls").join(name)))
        };
        Some(TlsFiles {
            authority: or(&self.files.authority, "ca.pem"),
            certificate: or(&self.files.certificate, "cert.pem"),
            key: or(&self.files.key, "key.pem"),
            verify,
        })
    }

    /// Whether plain TCP was asked for in so many words.
    pub fn is_refused(&self) -> bool {
        self.on == Some(false) || self.verify == Some(false)
    }
}

/// One `-H`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// `unix://PATH`
    Unix(PathBuf),
    /// `tcp://ADDRESS:PORT`
    Tcp(std::net::SocketAddr),
    /// `fd://`: sockets passed by systemd
    Passed,
}

/// A daemon argument that cannot be taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingsError {
    /// No such flag.
    #[error("unknown flag: {0}")]
    Unknown(String),
    /// A word that is no flag: the daemon takes none.
    #[error("unexpected argument: {0} (the daemon takes flags only)")]
    Unexpected(String),
    /// A flag at the end, or a value that cannot be.
    #[error("invalid argument {value:?} for {flag}: {reason}")]
    Invalid {
        /// The flag as typed.
        flag: String,
        /// Its value as typed.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Default for Settings {
    fn default() -> Self {
        let paths = Paths::default();
        Self {
            pid_file: paths.pid_file(),
            paths,
            hosts: Vec::new(),
            bridge: "corten0".to_owned(),
            bridge_address: None,
            bridge_range: None,
            ipv6: false,
            bridge_subnet6: None,
            mtu: 1500,
            default_binding: None,
            masquerade: true,
            inter_container: true,
            address_pools: Vec::new(),
            runtimes: BTreeMap::new(),
            default_runtime: "runc".to_owned(),
            firewall: FirewallMode::default(),
            allowed_ports: Vec::new(),
            tls: TlsChoice::default(),
            group: None,
            log_level: tracing::Level::INFO,
            failpoints: BTreeSet::new(),
        }
    }
}

/// The help text of `corten daemon --help`.
pub(crate) const HELP: &str = "\
Usage:  corten daemon [OPTIONS]

Start the daemon under its keeper. Containers go on when it stops.

Options:
  -H, --host list           Socket to listen on: unix:///path or tcp://ADDRESS:PORT (default
                            \"unix://EXEC-ROOT/corten.sock\"; with the default folders, and
                            where nobody else listens, also unix:///var/run/docker.sock)
      --data-root string    Folder of what must survive a power cut (default \"/var/lib/corten\")
      --exec-root string    Folder of running state (default \"/run/corten\")
  -p, --pidfile string      File for the process id (default \"EXEC-ROOT/corten.pid\")
  -b, --bridge string       Interface name of the default bridge (default \"corten0\")
      --bip string          Address of the default bridge, as in 172.18.0.1/16
      --fixed-cidr string   Part of the default bridge's subnet for containers, as in 172.18.5.0/24
      --ipv6                Give the default bridge IPv6 (default false)
      --fixed-cidr-v6 string
                            IPv6 subnet of the default bridge (default: a private one)
      --mtu int             MTU of the default bridge (default 1500)
      --ip ip               Address that ports are published on by default (default 0.0.0.0 and ::)
      --ip-masq             Masquerade what leaves the bridge (default true)
      --icc                 Let containers of the default bridge reach each other (default true)
      --default-address-pool base=SUBNET,size=BITS
                            Where the subnets of new networks are cut from (default 172.17.0.0/16
                            to 172.31.0.0/16, 192.168.0.0/16 by 20, 10.0.0.0/8 by 24 bits)
      --add-runtime NAME=PATH
                            An OCI runtime's program, for --runtime NAME
      --default-runtime string
                            Runtime of containers that name none (default \"runc\": our own)
      --config-file string  File with runtimes and default-runtime, as daemon.json
                            (default \"/etc/corten/daemon.json\")
      --firewall string     Who decides which published ports other hosts reach: host (its input
                            rules), docker (all are open) or none (no rules are made) (default \"host\")
      --firewall-allow list Published ports that are open whatever the host's rules say, as 8080/tcp
      --tls                 Use TLS on TCP sockets; implied by --tlsverify. A TCP socket without TLS gives
                            root on this machine to whoever reaches it: it is refused unless
                            --tls=false says that this is meant
      --tlsverify           Use TLS and let only clients with a certificate from the authority in
      --tlscacert string    Certificate of the authority (default \"/etc/corten/tls/ca.pem\")
      --tlscert string      Certificate of the daemon (default \"/etc/corten/tls/cert.pem\")
      --tlskey string       Key of that certificate (default \"/etc/corten/tls/key.pem\")
  -G, --group int           Numeric group that may use the unix socket
  -D, --debug               Log debug messages
  -l, --log-level string    debug, info, warn or error (default \"info\")
      --failpoint list      Steps that fail on purpose (for tests)
  -v, --version             Print version information and quit

Several daemons side by side need a --data-root, an --exec-root and a --bridge each.
";

impl Settings {
    /// Reads the arguments behind `daemon`; `paths` are the folders where none are named.
    pub fn parse(paths: Paths, arguments: impl IntoIterator<Item = OsString>) -> Result<Self, SettingsError> {
        let mut settings = Self { paths, ..Self::default() };
        let mut pid_file = None;
        let (mut config_file, mut default_runtime) = (None, None);
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let text = argument.to_string_lossy().into_owned();
            let (flag, mut inline) = match text.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => (flag.to_owned(), Some(value.to_owned())),
                _ if text.starts_with('-') && !text.starts_with("--") && text.len() > 2 => {
                    (text[..2].to_owned(), Some(text[2..].to_owned()))
                }
                _ => (text.clone(), None),
            };
            let mut value = |flag: &str| -> Result<String, SettingsError> {
                inline
                    .take()
                    .or_else(|| arguments.next().map(|next| next.to_string_lossy().into_owned()))
                    .ok_or_else(|| SettingsError::Invalid {
                        flag: flag.to_owned(),
                        value: String::new(),
                        reason: "a value is missing".to_owned(),
                    })
            };
            match flag.as_str() {
                "-H" | "--host" => {
                    let value = value(&flag)?;
                    settings.hosts.push(parse_host(&flag, &value)?);
                }
                "--data-root" | "-g" => settings.paths.data_root = absolute(&flag, value(&flag)?)?,
                "--exec-root" => settings.paths.exec_root = absolute(&flag, value(&flag)?)?,
                "-p" | "--pidfile" => pid_file = Some(absolute(&flag, value(&flag)?)?),
                "-b" | "--bridge" => settings.bridge = parse_bridge(&flag, value(&flag)?)?,
                "--bip" => settings.bridge_address = Some(parse_cidr(&flag, &value(&flag)?)?),
                "--fixed-cidr" => settings.bridge_range = Some(parse_subnet(&flag, &value(&flag)?, true)?),
                "--fixed-cidr-v6" => {
                    settings.bridge_subnet6 = Some(parse_subnet(&flag, &value(&flag)?, false)?);
                }
                "--ipv6" => settings.ipv6 = parse_bool(&flag, inline.as_deref())?,
                "--mtu" => settings.mtu = parse_number(&flag, &value(&flag)?)?,
                "--ip" => settings.default_binding = Some(parse_number(&flag, &value(&flag)?)?),
                "--ip-masq" => settings.masquerade = parse_bool(&flag, inline.as_deref())?,
                "--icc" => settings.inter_container = parse_bool(&flag, inline.as_deref())?,
                "--default-address-pool" => {
                    let value = value(&flag)?;
                    let pool = corten_engine::network::parse_pool(&value)
                        .map_err(|reason| invalid(&flag, &value, reason))?;
                    settings.address_pools.push(pool);
                }
                "--add-runtime" => {
                    let value = value(&flag)?;
                    let (name, path) =
                        value.split_once('=').ok_or_else(|| invalid(&flag, &value, "NAME=PATH is wanted"))?;
                    let program = config_file::runtime(name, path, Vec::new())
                        .map_err(|reason| invalid(&flag, &value, reason))?;
                    settings.runtimes.insert(name.to_owned(), program);
                }
                "--default-runtime" => default_runtime = Some(value(&flag)?),
                "--config-file" => config_file = Some(absolute(&flag, value(&flag)?)?),
                "--firewall" => settings.firewall = parse_firewall(&flag, &value(&flag)?)?,
                "--firewall-allow" => {
                    let value = value(&flag)?;
                    for ports in value.split(',') {
                        settings.allowed_ports.push(parse_number(&flag, ports)?);
                    }
                }
                "--tls" => settings.tls.on = Some(parse_bool(&flag, inline.as_deref())?),
                "--tlsverify" => settings.tls.verify = Some(parse_bool(&flag, inline.as_deref())?),
                "--tlscacert" => settings.tls.files.authority = Some(absolute(&flag, value(&flag)?)?),
                "--tlscert" => settings.tls.files.certificate = Some(absolute(&flag, value(&flag)?)?),
                "--tlskey" => settings.tls.files.key = Some(absolute(&flag, value(&flag)?)?),
                "-G" | "--group" => settings.group = Some(parse_number(&flag, &value(&flag)?)?),
                "-D" | "--debug" => {
                    if parse_bool(&flag, inline.as_deref())? {
                        settings.log_level = tracing::Level::DEBUG;
                    }
                }
                "-l" | "--log-level" => settings.log_level = parse_number(&flag, &value(&flag)?)?,
                "--failpoint" => settings.failpoints.extend(value(&flag)?.split(',').map(str::to_owned)),
                _ if !text.starts_with('-') => return Err(SettingsError::Unexpected(text)),
                _ => return Err(SettingsError::Unknown(text)),
            }
        }
        settings.read_file(config_file, default_runtime)?;
        settings.pid_file = pid_file.unwrap_or_else(|| settings.paths.pid_file());
        Ok(settings)
    }
}

impl Settings {
    /// What the file says and no flag does.
    fn read_file(
        &mut self,
        file: Option<PathBuf>,
        mut default_runtime: Option<String>,
    ) -> Result<(), SettingsError> {
        const DEFAULT: &str = "/etc/corten/daemon.json";
        const FLAG: &str = "--config-file";
        let file = file.or_else(|| Some(PathBuf::from(DEFAULT)).filter(|path| path.exists()));
        if let Some(path) = file {
            let wrong = |reason: String| invalid(FLAG, &path.to_string_lossy(), reason);
            let mut file = ConfigFile::read(&path).map_err(wrong)?;
            default_runtime = default_runtime.or(file.default_runtime.take());
            for (name, program) in file.runtimes().map_err(wrong)? {
                self.runtimes.entry(name).or_insert(program);
            }
        }
        if let Some(name) = default_runtime {
            if !corten_engine::is_own_runtime(&name) && !self.runtimes.contains_key(&name) {
                return Err(invalid(
                    "--default-runtime",
                    &name,
                    "specified default runtime does not exist: add it by --add-runtime",
                ));
            }
            self.default_runtime = name;
        }
        Ok(())
    }
}

fn invalid(flag: &str, value: &str, reason: impl Into<String>) -> SettingsError {
    SettingsError::Invalid { flag: flag.to_owned(), value: value.to_owned(), reason: reason.into() }
}

fn absolute(flag: &str, value: String) -> Result<PathBuf, SettingsError> {
    let path = PathBuf::from(&value);
    if path.is_absolute() { Ok(path) } else { Err(invalid(flag, &value, "the path must begin with /")) }
}

fn parse_number<T: std::str::FromStr>(flag: &str, value: &str) -> Result<T, SettingsError>
where
    T::Err: std::fmt::Display,
{
    value.parse().map_err(|error: T::Err| invalid(flag, value, error.to_string()))
}

fn parse_bool(flag: &str, value: Option<&str>) -> Result<bool, SettingsError> {
    match value {
        None | Some("true" | "1" | "t") => Ok(true),
        Some("false" | "0" | "f") => Ok(false),
        Some(other) => Err(invalid(flag, other, "true or false is wanted")),
    }
}

fn parse_firewall(flag: &str, value: &str) -> Result<FirewallMode, SettingsError> {
    match value {
        "host" => Ok(FirewallMode::Host),
        "docker" => Ok(FirewallMode::Docker),
        "none" => Ok(FirewallMode::None),
        _ => Err(invalid(flag, value, "host, docker or none is wanted")),
    }
}

fn parse_bridge(flag: &str, value: String) -> Result<String, SettingsError> {
    // IFNAMSIZ is 16 with the zero byte (linux/if.h); `/` and white space are refused by dev_valid_name().
    let valid = !value.is_empty()
        && value.len() < 16
        && !value.contains(['/', ':'])
        && !value.contains(char::is_whitespace);
    if valid {
        Ok(value)
    } else {
        Err(invalid(flag, &value, "an interface name has 1 to 15 characters, none of them / or :"))
    }
}

fn parse_subnet(flag: &str, value: &str, ipv4: bool) -> Result<Subnet, SettingsError> {
    let subnet: Subnet = parse_number(flag, value)?;
    if subnet.is_ipv4() == ipv4 {
        Ok(subnet)
    } else {
        Err(invalid(flag, value, format!("an {} subnet is wanted", if ipv4 { "IPv4" } else { "IPv6" })))
    }
}

fn parse_cidr(flag: &str, value: &str) -> Result<(Ipv4Addr, u8), SettingsError> {
    let wrong = || invalid(flag, value, "an address with prefix length is wanted, as in 172.18.0.1/16");
    let (address, prefix) = value.split_once('/').ok_or_else(wrong)?;
    let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
    if !(8..=30).contains(&prefix) {
        return Err(wrong());
    }
    Ok((address.parse().map_err(|_| wrong())?, prefix))
}

fn parse_host(flag: &str, value: &str) -> Result<Host, SettingsError> {
    if value.starts_with("fd://") {
        return Ok(Host::Passed);
    }
    if let Some(path) = value.strip_prefix("unix://") {
        return absolute(flag, path.to_owned()).map(Host::Unix);
    }
    if let Some(address) = value.strip_prefix("tcp://") {
        let address = if address.starts_with(':') { format!("0.0.0.0{address}") } else { address.to_owned() };
        return address.parse().map(Host::Tcp).map_err(|_| {
            invalid(flag, value, "an address and a port are wanted, as in tcp://127.0.0.1:2375")
        });
    }
    Err(invalid(flag, value, "unix:///path or tcp://ADDRESS:PORT is wanted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Settings, SettingsError> {
        Settings::parse(Paths::default(), line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn flags_are_read_in_every_spelling() {
        let settings = parse("-Hunix:///a.sock --host=tcp://127.0.0.1:2375 --data-root /d --exec-root=/e -b br7 --icc=false -D")
            .unwrap();
        assert_eq!(settings.hosts.len(), 2);
        assert_eq!(settings.paths, Paths::new("/d", "/e"));
        assert_eq!(settings.pid_file, PathBuf::from("/e/corten.pid"));
        assert_eq!(settings.bridge, "br7");
        assert!(!settings.inter_container);
        assert_eq!(settings.log_level, tracing::Level::DEBUG);
        assert_eq!(settings.firewall, FirewallMode::Host);
        let pools = parse("--default-address-pool base=10.1.0.0/16,size=24 --ipv6").unwrap();
        assert_eq!((pools.address_pools.len(), pools.ipv6), (1, true));
        let open = parse("--firewall docker --firewall-allow 80/tcp,8000-8100").unwrap();
        assert_eq!((open.firewall, open.allowed_ports.len()), (FirewallMode::Docker, 2));
        assert_eq!(
            parse("--bip 10.9.0.1/24").unwrap().bridge_address,
            Some((Ipv4Addr::new(10, 9, 0, 1), 24))
        );
    }

    #[test]
    fn mistakes_are_named() {
        for line in [
            "--nope",
            "--mtu x",
            "--firewall maybe",
            "--firewall-allow 0",
            "--default-address-pool base=10.0.0.0/8",
            "--fixed-cidr fd00::/64",
            "--fixed-cidr-v6 10.0.0.0/8",
            "-H",
            "--bip 1.2.3.4",
            "--data-root relative",
            "-b name-that-is-far-too-long",
            "x",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
