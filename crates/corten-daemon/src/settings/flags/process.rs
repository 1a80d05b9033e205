//! The daemon itself: where it listens, where its files are, who may ask it, what it tells.

use super::super::values::{absolute, invalid, parse_bool, parse_host, parse_number, parse_pair};
use super::{DEFAULT, Flag, Form};

/// In the order of the help.
pub(super) const FLAGS: &[Flag] = &[
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
        name: "--config-file",
        form: Form::Value("string"),
        text: "File of settings, as daemon.json (default \"/etc/corten/daemon.json\")",
        apply: |settings, flag, value| absolute(flag, value).map(|path| settings.config_file = Some(path)),
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
