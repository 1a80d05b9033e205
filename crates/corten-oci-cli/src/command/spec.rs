//! `spec`: a runtime document to begin with.

use std::path::Path;

use corten_oci::runtime::{LinuxNamespace, NamespaceKind, PosixRlimit};
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
    Flag::new("rootless", Kind::Switch, "not supported"),
    HELP,
];

fn run(_: &mut Context, arguments: &Arguments) -> Result<i32> {
    if arguments.is_set("rootless") {
        return Err(Failure::new("containers without root (--rootless) are not supported by this runtime"));
    }
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
    let mut text = serde_json::to_string_pretty(&spec)
        .map_err(|error| Failure::of("cannot write the document", &error))?;
    text.push('\n');
    corten_std::file::write(&path, text)?;
    Ok(0)
}
