//! Registries: which, how many at once, through which proxies.

use super::super::values::{invalid, parse_duration, parse_number};
use super::super::{Settings, SettingsError};
use super::{DEFAULT, Flag, Form};

/// In the order of the help.
pub(super) const FLAGS: &[Flag] = &[
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
        name: "--policy",
        key: "policy",
        form: Form::Value("string"),
        text: "File that says which images need a signature (default /etc/corten/policy.toml)",
        apply: |settings, _, value| {
            settings.reloadable.policy = value.into();
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--compressed-layers",
        key: "compressed-layers",
        form: Form::Value("string"),
        text: "What is done with the compressed form of layers: keep (default), or drop it where it\n\
               can be had again byte for byte, by compressing or from its registry",
        apply: |settings, flag, value| {
            settings.reloadable.layer_forms.drop_compressed = match value {
                "keep" => false,
                "drop" => true,
                _ => return Err(invalid(flag, value, "it is keep or drop".to_owned())),
            };
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--unpacked-layers-for",
        key: "unpacked-layers-for",
        form: Form::Value("duration"),
        text: "So long layers stay unpacked that no container uses, where their compressed form is\n\
               here to unpack them again (default 0: for ever)",
        apply: |settings, flag, value| {
            let duration = parse_duration(flag, value)?;
            settings.reloadable.layer_forms.unpacked_for =
                Some(duration).filter(|duration| !duration.is_zero());
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
        text: "Proxy for those with TLS, http://, https:// or socks5:// (default HTTPS_PROXY)",
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
