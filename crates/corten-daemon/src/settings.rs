//! The daemon's settings: as typed (dockerd's flag names), checked before anything is touched.

mod file;
mod flags;
mod values;

pub(crate) use self::flags::help;
use self::flags::{Flag, Form};
use self::values::invalid;
use corten_engine::{Defaults, Reloadable};
use corten_http::tls::TlsFiles;
use corten_network::{AllowedPorts, FirewallMode, Subnet, SubnetPool};
use corten_std::Paths;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// Everything a daemon is told at its start. Both roles, keeper and daemon, parse the same arguments.
#[derive(Clone, Debug, PartialEq)]
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
    /// What requests leave open.
    pub defaults: Defaults,
    /// The same, and more, that SIGHUP reads anew.
    pub reloadable: Reloadable,
    /// Name servers of containers that name none.
    pub dns: Vec<String>,
    /// Search domains of containers that name none.
    pub dns_search: Vec<String>,
    /// Resolver options of containers that name none.
    pub dns_options: Vec<String>,
    /// What `host-gateway` means; empty: the default bridge's address.
    pub host_gateway: Vec<IpAddr>,
    /// The file of settings that was named; none: the default one where it is there.
    pub config_file: Option<PathBuf>,
    /// What the file says that is passed over, to be told.
    pub warnings: Vec<String>,
    /// Whose rules decide which published ports other hosts reach.
    pub firewall: FirewallMode,
    /// Published ports that are open whatever the host's rules say.
    pub allowed_ports: Vec<AllowedPorts>,
    /// Where numbers for Prometheus are; none: nowhere.
    pub metrics_address: Option<std::net::SocketAddr>,
    /// Whose subordinate ids containers have; none: those of the host.
    pub userns_remap: Option<String>,
    /// Whether containers get SELinux labels, where the kernel has it.
    pub selinux: bool,
    /// Plugins that are asked about every request, in this order.
    pub authorization_plugins: Vec<String>,
    /// Through which proxies registries are reached.
    pub proxies: corten_distribution::ProxySettings,
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
    /// `fd://`: sockets passed by systemd; empty or `*`: all, else the name or number of one
    Passed(String),
}

/// A daemon argument that cannot be taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingsError {
    /// No such flag.
    #[error("unknown flag: {0}")]
    Unknown(String),
    /// Defaults that no container could have.
    #[error("the defaults for containers cannot be used: {0}")]
    Defaults(String),
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
            defaults: Defaults::default(),
            reloadable: reloadable(),
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
            host_gateway: Vec::new(),
            config_file: None,
            warnings: Vec::new(),
            firewall: FirewallMode::default(),
            allowed_ports: Vec::new(),
            metrics_address: None,
            userns_remap: None,
            selinux: false,
            authorization_plugins: Vec::new(),
            proxies: proxies_of_environment(),
            tls: TlsChoice::default(),
            group: None,
            log_level: tracing::Level::INFO,
            failpoints: BTreeSet::new(),
        }
    }
}

/// As Docker's daemon, each variable in both cases.
fn proxies_of_environment() -> corten_distribution::ProxySettings {
    let variable = |name: &str| {
        let of = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        of(name).or_else(|| of(&name.to_ascii_lowercase())).unwrap_or_default()
    };
    corten_distribution::ProxySettings {
        http: variable("HTTP_PROXY"),
        https: variable("HTTPS_PROXY"),
        all: variable("ALL_PROXY"),
        except: variable("NO_PROXY"),
    }
}

fn reloadable() -> Reloadable {
    let mut reloadable = Reloadable::default();
    // Our own first; what was set up for Docker counts too.
    reloadable.registries.certificate_folders =
        ["/etc/corten/certs.d", "/etc/docker/certs.d"].map(PathBuf::from).to_vec();
    reloadable.policy = corten_engine::image::POLICY_FILE.into();
    reloadable
}

impl Settings {
    /// Reads the arguments behind `daemon`, and the file of settings; `paths` are the folders where none are named.
    pub fn parse(paths: Paths, arguments: impl IntoIterator<Item = OsString>) -> Result<Self, SettingsError> {
        let mut settings = Self { paths, pid_file: PathBuf::new(), ..Self::default() };
        let mut given: Vec<(&'static Flag, String)> = Vec::new();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let text = argument.to_string_lossy().into_owned();
            let (name, inline) = match text.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.to_owned())),
                _ if text.starts_with('-') && !text.starts_with("--") && text.len() > 2 => {
                    (text[..2].to_owned(), Some(text[2..].to_owned()))
                }
                _ => (text.clone(), None),
            };
            let flag = match flags::find(&name) {
                Some(flag) => flag,
                None if text.starts_with('-') => return Err(SettingsError::Unknown(text)),
                None => return Err(SettingsError::Unexpected(text)),
            };
            let value = match (inline, flag.form) {
                (Some(value), _) => value,
                (None, Form::Switch) => "true".to_owned(),
                (None, _) => arguments
                    .next()
                    .map(|next| next.to_string_lossy().into_owned())
                    .ok_or_else(|| invalid(&name, "", "a value is missing"))?,
            };
            (flag.apply)(&mut settings, flag.name, &value)?;
            given.push((flag, value));
        }
        settings.read_file(&given)?;
        settings.check()?;
        if settings.pid_file.as_os_str().is_empty() {
            settings.pid_file = settings.paths.pid_file();
        }
        Ok(settings)
    }

    /// What the file says; what is said twice is refused, as Docker does it.
    fn read_file(&mut self, given: &[(&'static Flag, String)]) -> Result<(), SettingsError> {
        const DEFAULT: &str = "/etc/corten/daemon.json";
        let named = self.config_file.clone();
        let Some(path) = named.or_else(|| Some(PathBuf::from(DEFAULT)).filter(|path| path.exists())) else {
            return Ok(());
        };
        let wrong = |reason: String| invalid("--config-file", &path.to_string_lossy(), reason);
        let file = file::read(&path).map_err(wrong)?;
        let mut twice = Vec::new();
        for (flag, values) in &file.settings {
            let mut flags = given.iter().filter(|(other, _)| std::ptr::eq(*other, *flag)).peekable();
            if flags.peek().is_some() {
                let flags: Vec<&str> = flags.map(|(_, value)| value.as_str()).collect();
                let (flags, values) = (flags.join(" "), values.join(" "));
                twice.push(format!("{}: (from flag: {flags}, from file: {values})", flag.key));
            }
        }
        if !twice.is_empty() {
            return Err(wrong(format!(
                "the following directives are specified both as a flag and in the configuration file: {}",
                twice.join(", ")
            )));
        }
        for (flag, values) in file.settings {
            for value in values {
                (flag.apply)(self, flag.key, &value).map_err(|error| wrong(error.to_string()))?;
            }
        }
        for (name, program) in file.runtimes {
            self.reloadable.runtimes.entry(name).or_insert(program);
        }
        self.warnings = file.warnings;
        Ok(())
    }

    /// What can only be seen when all is read.
    fn check(&self) -> Result<(), SettingsError> {
        let name = &self.reloadable.default_runtime;
        if !corten_engine::is_own_runtime(name) && !self.reloadable.runtimes.contains_key(name) {
            return Err(invalid(
                "--default-runtime",
                name,
                "specified default runtime does not exist: add it by --add-runtime",
            ));
        }
        self.defaults.check().map_err(|error| SettingsError::Defaults(corten_std::chain(&error)))
    }
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
            "--default-ulimit nofile=2:1",
            "--default-ipc-mode host",
            "--default-network-opt bridge",
            "--log-driver odd",
            "--label x",
            "--label a=b --label a=c",
            "--dns x",
            "--host-gateway-ip 1.2.3.4 --host-gateway-ip 1.2.3.5",
            "--seccomp-profile /no/such/file",
            "--default-runtime nowhere",
            "-b name-that-is-far-too-long",
            "x",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_file_says_what_flags_would_and_nothing_twice() {
        let scratch = corten_testing::Scratch::new("daemon-file");
        let path = scratch.path().join("daemon.json");
        let with = |json: &str, flags: &str| {
            std::fs::write(&path, json).unwrap();
            parse(&format!("--config-file {} {flags}", path.display()))
        };
        let settings = with(
            r#"{"mtu": 1400, "default-ulimits": {"nofile": {"Hard": 20, "Soft": 10}}, "labels": ["a=b"], "odd": 1}"#,
            "--default-shm-size 1m",
        )
        .unwrap();
        assert_eq!((settings.mtu, settings.reloadable.shm_size), (1400, 1 << 20));
        assert_eq!((settings.defaults.ulimits.len(), settings.reloadable.labels.len()), (1, 1));
        assert_eq!(settings.warnings.len(), 1);
        let twice = with(r#"{"mtu": 1400}"#, "--mtu 1300").unwrap_err().to_string();
        assert!(twice.contains("mtu: (from flag: 1300, from file: 1400)"), "{twice}");
        let wrong = with(r#"{"mtu": "x"}"#, "").unwrap_err().to_string();
        assert!(wrong.contains("`mtu`") || wrong.contains("mtu"), "{wrong}");
    }
}
