//! Every variable that the command line reads, declared once.

use std::path::PathBuf;

macro_rules! variables {
    ($($(#[doc = $text:literal])* $name:ident = $variable:literal;)*) => {
        $($(#[doc = $text])* pub(crate) const $name: &str = $variable;)*

        /// All of them with their texts, for the reference page.
        pub(crate) const VARIABLES: &[(&str, &str)] = &[$(($variable, concat!($($text),*))),*];
    };
}

variables! {
    /// The daemon's address, as in `unix:///path` or `ssh://host`.
    HOST = "DOCKER_HOST";
    /// The context to use.
    CONTEXT = "DOCKER_CONTEXT";
    /// The folder of the configuration instead of `~/.docker`.
    CONFIGURATION = "DOCKER_CONFIG";
    /// The version of the API to speak instead of the newest both sides know.
    API_VERSION = "DOCKER_API_VERSION";
    /// The folder with `ca.pem`, `cert.pem` and `key.pem` for TLS instead of the configuration's.
    CERT_PATH = "DOCKER_CERT_PATH";
    /// Any value: TLS for TCP connections, and the daemon's certificate is checked.
    TLS_VERIFY = "DOCKER_TLS_VERIFY";
    /// Any value: TLS for TCP connections.
    TLS = "DOCKER_TLS";
    /// The time zone of times that are printed, as in `Europe/Berlin`; `/etc/localtime` where it is not set.
    ZONE = "TZ";
    /// The platform that is asked for where `--platform` is not given.
    DEFAULT_PLATFORM = "DOCKER_DEFAULT_PLATFORM";
    /// The proxy for plain requests to registries that no daemon makes (`manifest`).
    HTTP_PROXY = "HTTP_PROXY";
    /// The same for requests with TLS.
    HTTPS_PROXY = "HTTPS_PROXY";
    /// The proxy where the one for the scheme is not set.
    ALL_PROXY = "ALL_PROXY";
    /// Hosts that are reached without a proxy.
    NO_PROXY = "NO_PROXY";
    /// The folder of caches instead of `~/.cache`: what plugins say of themselves is kept there, in `corten/plugins.json`.
    CACHE = "XDG_CACHE_HOME";
    /// Where our own daemon keeps what survives a power cut, instead of `/var/lib/corten`.
    DATA_ROOT = "CORTEN_DATA_ROOT";
    /// Where our own daemon keeps its socket and running state, instead of `/run/corten`.
    EXEC_ROOT = "CORTEN_EXEC_ROOT";
}

/// A variable's value where it is set, not empty, and UTF-8.
pub(crate) fn value(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The user's home folder. The user database is not asked: a static program must not load its readers.
pub(crate) fn home() -> PathBuf {
    value("HOME").map_or_else(
        || if rustix::process::geteuid().is_root() { "/root".into() } else { "/".into() },
        PathBuf::from,
    )
}
