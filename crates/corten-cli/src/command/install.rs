//! `install`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;
use crate::install::{self, Place, Record, Step, Wanted};

pub(crate) const ENTRY: Entry = Entry {
    name: "install",
    aliases: &[],
    usage: "[OPTIONS]",
    count: Count::None,
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Install this program with its systemd units and shell completion
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Take Docker's place too: the name `docker`, and its socket where Docker has no unit for it
    #[arg(long)]
    docker: bool,
    /// Print what would be installed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Group that may use the socket, which is root on this machine (default: root alone)
    #[arg(long, value_name = "name")]
    group: Option<String>,
    /// Leave out the systemd units
    #[arg(long)]
    no_systemd: bool,
    /// Folder below which the program and the rest go
    #[arg(long, value_name = "path", default_value = "/usr/local")]
    prefix: String,
    /// Folder that stands for `/`, for packages and images
    #[arg(long, value_name = "path", default_value = "/")]
    root: String,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let place = Place::new(&arguments.root, &arguments.prefix)?;
    let wanted =
        Wanted { systemd: !arguments.no_systemd, docker: arguments.docker, group: arguments.group.clone() };
    let items = install::items(&place, &wanted)?;
    let record = Record::read(&place)?.unwrap_or_default();
    let planned = install::plan(&place, items, &record)?;
    if !arguments.dry_run {
        install::put(&place, &planned, &record).map_err(install::explain)?;
    }
    for (item, step) in &planned {
        let real = place.real(&item.path);
        match step {
            Step::Put => context.ui.line(real.display().to_string())?,
            Step::Keep => context.ui.note(format!("{} is there already, and stays", real.display())),
        }
    }
    if let Some(unit) = install::docker_unit(&place).filter(|_| wanted.docker && wanted.systemd) {
        context.ui.note(format!("Docker's socket stays Docker's: {} holds it", unit.display()));
    }
    if arguments.dry_run {
        context.ui.note("Nothing was changed (--dry-run)");
    } else if wanted.systemd && place.is_here() {
        context.ui.note(
            "To start it now and at each boot:\n  systemctl daemon-reload\n  systemctl enable --now corten.socket corten.service",
        );
    }
    Ok(0)
}
