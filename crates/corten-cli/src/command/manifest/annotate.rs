//! `manifest annotate`.

use super::store::Lists;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};

pub(crate) const ENTRY: Entry = Entry {
    name: "manifest annotate",
    aliases: &[],
    usage: "[OPTIONS] MANIFEST_LIST MANIFEST",
    count: Count::Exact(2),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Add additional information to a local image manifest
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Set architecture
    #[arg(long, value_name = "string")]
    arch: Option<String>,
    /// Set operating system
    #[arg(long, value_name = "string")]
    os: Option<String>,
    /// Set operating system feature
    #[arg(long, value_name = "strings")]
    os_features: Vec<String>,
    /// Set operating system version
    #[arg(long, value_name = "string")]
    os_version: Option<String>,
    /// Set architecture variant
    #[arg(long, value_name = "string")]
    variant: Option<String>,
    /// The list
    list: String,
    /// The manifest
    manifest: String,
}

/// Pairs that programs are built for.
const KNOWN: &[(&str, &[&str])] = &[
    ("darwin", &["386", "amd64", "arm", "arm64"]),
    ("dragonfly", &["amd64"]),
    ("freebsd", &["386", "amd64", "arm"]),
    ("linux", &["386", "amd64", "arm", "arm64", "ppc64le", "mips64", "mips64le", "riscv64", "s390x"]),
    ("netbsd", &["386", "amd64", "arm"]),
    ("openbsd", &["386", "amd64", "arm"]),
    ("plan9", &["386", "amd64"]),
    ("solaris", &["amd64"]),
    ("windows", &["386", "amd64"]),
];

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let parse = |what: &str, text: &str| {
        super::parse(text).map_err(|error| {
            CliError::said(format!("annotate: error parsing name for {what} {text}: {}", error.text()))
        })
    };
    let list = parse("manifest list", &arguments.list)?;
    let name = parse("manifest", &arguments.manifest)?;
    let lists = Lists::new(context.folder());
    let mut stored = lists.find(&list, &name)?.ok_or_else(|| {
        CliError::said(format!(
            "manifest for image {} does not exist in {}",
            arguments.manifest, arguments.list
        ))
    })?;
    let platform = stored.descriptor.platform.get_or_insert_default();
    let set = |field: &mut String, value: &Option<String>| {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            field.clone_from(value);
        }
    };
    set(&mut platform.os, &arguments.os);
    set(&mut platform.architecture, &arguments.arch);
    set(&mut platform.variant, &arguments.variant);
    set(&mut platform.os_version, &arguments.os_version);
    for feature in arguments.os_features.iter().flat_map(|features| features.split(',')) {
        if !platform.os_features.iter().any(|one| one == feature) {
            platform.os_features.push(feature.to_owned());
        }
    }
    let known = KNOWN.iter().any(|(os, architectures)| {
        *os == platform.os && architectures.contains(&platform.architecture.as_str())
    });
    if !known {
        return Err(CliError::said(format!(
            "manifest entry for image has unsupported os/arch combination: {}/{}",
            arguments.os.unwrap_or_default(),
            arguments.arch.unwrap_or_default()
        )));
    }
    lists.save(&list, &name, &stored)?;
    Ok(0)
}
