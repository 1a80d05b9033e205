//! `spec`: a runtime document to begin with.

use std::path::Path;

use corten_oci::runtime::{LinuxIdMapping, LinuxNamespace, NamespaceKind, PosixRlimit, Spec};
use corten_runtime::SpecOptions;

use super::{Command, HELP};
use crate::Context;
use crate::arguments::{Arguments, Flag, Kind};
use crate::failure::{Failure, Result};

pub(super) const COMMAND: Command = Command {
    name: "spec",
    about: "Write a config.json to begin with",
    positional: "",
    flags: FLAGS,
    makes_processes: false,
    run,
};

const FLAGS: &[Flag] = &[
    Flag::new("bundle", Kind::Value, "folder of the bundle (default: the working folder)").short('b'),
    Flag::new(
        "rootless",
        Kind::Switch,
        "for somebody who is not root: a user namespace with the own id alone",
    ),
    HELP,
];

fn run(_: &mut Context, arguments: &Arguments) -> Result<i32> {
    let bundle = arguments.value("bundle").filter(|path| !path.is_empty()).unwrap_or(".");
    let path = Path::new(bundle).join("config.json");
    if path.exists() {
        return Err(Failure::new("File config.json exists. Remove it first"));
    }
    let mut spec = corten_runtime::default_spec(SpecOptions {
        args: vec!["sh".to_owned()],
        hostname: "corten".to_owned(),
        terminal: true,
        readonly_root: true,
        ..SpecOptions::default()
    });
    if let Some(process) = &mut spec.process {
        process.no_new_privileges = true;
        process.oom_score_adj = None;
        process.env.push("TERM=xterm".to_owned());
        process.rlimits = vec![PosixRlimit { kind: "RLIMIT_NOFILE".to_owned(), hard: 1024, soft: 1024 }];
        let few: Vec<String> =
            ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"].map(str::to_owned).to_vec();
        let sets = process.capabilities.get_or_insert_default();
        (sets.bounding, sets.effective, sets.permitted) = (few.clone(), few.clone(), few);
    }
    if let Some(linux) = &mut spec.linux
        && !linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::Cgroup)
    {
        linux.namespaces.push(LinuxNamespace { kind: NamespaceKind::Cgroup, path: None });
    }
    if arguments.is_set("rootless") {
        make_rootless(&mut spec);
    }
    let mut text = serde_json::to_string_pretty(&spec)
        .map_err(|error| Failure::of("cannot write the document", &error))?;
    text.push('\n');
    corten_std::file::write(&path, text)?;
    Ok(0)
}

/// What somebody who is not root can have made: root inside is the caller, the network is the host's, and so is `/sys`,
/// which shows it; no other id and no limit is asked for.
fn make_rootless(spec: &mut Spec) {
    let own = |id: u32| vec![LinuxIdMapping { container_id: 0, host_id: id, size: 1 }];
    if let Some(linux) = &mut spec.linux {
        linux.namespaces.retain(|namespace| namespace.kind != NamespaceKind::Network);
        linux.namespaces.push(LinuxNamespace { kind: NamespaceKind::User, path: None });
        linux.uid_mappings = own(rustix::process::geteuid().as_raw());
        linux.gid_mappings = own(rustix::process::getegid().as_raw());
        linux.resources = None;
    }
    for mount in &mut spec.mounts {
        mount.options.retain(|option| !option.starts_with("uid=") && !option.starts_with("gid="));
        if mount.destination == "/sys" {
            mount.kind = Some("none".to_owned());
            mount.source = Some("/sys".to_owned());
            mount.options = ["rbind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned).to_vec();
        }
    }
}
