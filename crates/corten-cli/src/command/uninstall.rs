//! `uninstall`.

use crate::context::{self, Context};
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::install::{self, Place, Record, Removal};
use std::path::{Path, PathBuf};

pub(crate) const ENTRY: Entry = Entry {
    name: "uninstall",
    aliases: &[],
    usage: "[OPTIONS]",
    count: Count::None,
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Remove what `install` put on this machine; containers, images and volumes stay
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Print what would be removed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The folder that was given to `install`
    #[arg(long, value_name = "path", default_value = "/usr/local")]
    prefix: String,
    /// The folder that was given to `install`
    #[arg(long, value_name = "path", default_value = "/")]
    root: String,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let place = Place::new(&arguments.root, &arguments.prefix)?;
    let Some(record) = Record::read(&place)? else {
        return Err(CliError::said(format!(
            "nothing is installed there: there is no `{}`",
            place.real(&place.record()).display()
        )));
    };
    if let Some(link) = enabled(&place).filter(|_| !arguments.dry_run) {
        return Err(CliError::said(format!(
            "systemd starts it at each boot ({}): first run `systemctl disable --now corten.service corten.socket`",
            link.display()
        )));
    }
    let removals = install::removals(&place, &record)?;
    if !arguments.dry_run {
        install::remove(&place, &removals, record).map_err(install::explain)?;
    }
    for (path, removal) in &removals {
        let real = place.real(path);
        match removal {
            Removal::Remove => context.ui.line(real.display().to_string())?,
            Removal::Changed => {
                context.ui.note(format!("{} was changed since it was installed, and stays", real.display()));
            }
            Removal::Gone => {}
        }
    }
    let paths = context::paths();
    for (path, what) in [
        (paths.data_root, "images, containers, volumes"),
        (paths.exec_root, "what runs now"),
        (PathBuf::from("/etc/corten"), "settings"),
    ] {
        let real = place.real(&path);
        if real.exists() {
            context.ui.note(format!("{} stays: {what}", real.display()));
        }
    }
    if arguments.dry_run {
        context.ui.note("Nothing was changed (--dry-run)");
    }
    Ok(0)
}

/// A link by which systemd starts a unit of ours.
fn enabled(place: &Place) -> Option<PathBuf> {
    ["multi-user.target.wants/corten.service", "sockets.target.wants/corten.socket"]
        .map(|link| place.real(&Path::new("/etc/systemd/system").join(link)))
        .into_iter()
        .find(|link| link.is_symlink())
}
