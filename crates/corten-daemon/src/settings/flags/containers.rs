//! What containers have that name nothing themselves, and who makes them.

use super::super::file;
use super::super::values::{absolute, invalid, one_of, parse_bool, parse_number, parse_pair};
use super::{DEFAULT, Flag, Form, word};
use corten_api::container::Ulimit;
use corten_engine::{Defaults, SeccompProfile};
use corten_std::size;

/// In the order of the help.
pub(super) const FLAGS: &[Flag] = &[
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
        name: "--selinux-enabled",
        key: "selinux-enabled",
        text: "Give containers SELinux labels, where the kernel and its policy have them\n\
               (default false)",
        apply: |settings, flag, value| parse_bool(flag, value).map(|on| settings.selinux = on),
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
        name: "--cdi-spec-dir",
        key: "cdi-spec-dirs",
        form: Form::List("list"),
        text: "Folder with files that name vendors' devices (CDI); a later one goes\n\
               before an earlier one (default /etc/cdi and /var/run/cdi)",
        apply: |settings, flag, value| {
            // The first one takes the place of the default.
            if settings.defaults.cdi_folders == Defaults::default().cdi_folders {
                settings.defaults.cdi_folders.clear();
            }
            settings.defaults.cdi_folders.push(absolute(flag, value)?);
            Ok(())
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
];
