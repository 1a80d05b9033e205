//! The files of an install: which, where, and what is in them.

use super::Content;
use crate::command::completion;
use crate::error::{CliError, Result};
use std::path::{Path, PathBuf};

/// Where to install.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The folder that stands for `/`.
    root: PathBuf,
    /// The folder below which everything but the units goes, as `/usr/local`.
    prefix: PathBuf,
}

impl Place {
    /// Checks the two.
    ///
    /// # Errors
    /// Where the prefix is none that units and scripts could name as it stands.
    pub(crate) fn new(root: &str, prefix: &str) -> Result<Self> {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._+-".contains(letter);
        if !prefix.starts_with('/')
            || !prefix.chars().all(plain)
            || prefix.split('/').any(|name| name == "..")
        {
            return Err(CliError::said(format!(
                "--prefix {prefix}: a path from / on is wanted, of letters, digits and ._+-"
            )));
        }
        let root = std::path::absolute(root)
            .map_err(|error| CliError::said(format!("--root {root}: cannot find the folder: {error}")))?;
        if !root.is_dir() {
            return Err(CliError::said(format!("--root {}: no such folder", root.display())));
        }
        Ok(Self { root, prefix: Path::new(prefix).components().collect() })
    }

    /// Where a path of the machine is now.
    pub(crate) fn real(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Whether this is the machine itself.
    pub(crate) fn is_here(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where the record is.
    pub(crate) fn record(&self) -> PathBuf {
        self.prefix.join("share/corten/installed.json")
    }

    /// Where systemd finds units that go with this prefix.
    fn units(&self) -> PathBuf {
        match self.prefix.to_str() {
            Some("/usr" | "/usr/local") => self.prefix.join("lib/systemd/system"),
            _ => PathBuf::from("/etc/systemd/system"),
        }
    }
}

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The units of systemd too.
    pub(crate) systemd: bool,
    /// Docker's place: the name `docker`, and its socket where nobody else has it.
    pub(crate) docker: bool,
    /// The group that owns the socket.
    pub(crate) group: Option<String>,
}

/// One file or link.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// On the machine.
    pub(crate) path: PathBuf,
    pub(crate) content: Content,
}

/// Everything, in the order in which it is told.
pub(crate) fn items(place: &Place, wanted: &Wanted) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    let mut add = |path: PathBuf, content| items.push(Item { path, content });
    let below = |path: &str| place.prefix.join(path);
    add(below("bin/corten"), Content::Program);
    let mut names = vec!["corten"];
    if wanted.docker {
        add(below("bin/docker"), Content::Link("corten".to_owned()));
        names.push("docker");
    }
    for name in names {
        for (shell, path) in [
            ("bash", format!("share/bash-completion/completions/{name}")),
            ("zsh", format!("share/zsh/site-functions/_{name}")),
            ("fish", format!("share/fish/vendor_completions.d/{name}.fish")),
        ] {
            let script = completion::script(shell, name).expect("these shells have scripts");
            add(below(&path), Content::Text(script));
        }
    }
    if wanted.systemd {
        if let Some(group) = &wanted.group {
            check_group(group)?;
        }
        let units = place.units();
        add(units.join("corten.service"), Content::Text(service(&place.prefix)));
        add(units.join("corten.socket"), Content::Text(socket(place, wanted)));
    }
    Ok(items)
}

fn check_group(group: &str) -> Result<()> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    if group.is_empty() || !group.chars().all(plain) || group.starts_with('-') {
        return Err(CliError::said(format!("--group {group}: the name or number of a group is wanted")));
    }
    Ok(())
}

/// The service's unit. `docs/systemd.md` has it too, and a test compares them.
fn service(prefix: &Path) -> String {
    SERVICE.replace("PREFIX", &prefix.display().to_string())
}

const SERVICE: &str = "\
[Unit]
Description=Corten
After=network-online.target nss-lookup.target time-set.target
Wants=network-online.target
Requires=corten.socket

[Service]
Type=notify
ExecStart=PREFIX/bin/corten daemon -H fd://
ExecReload=/bin/kill -s HUP $MAINPID
Restart=always
# Containers and their shims go on when the daemon is stopped or started again.
KillMode=process
# The containers' cgroups lie below the service's own, where systemd leaves them alone …
Delegate=yes
# … and the daemon in a leaf beside them, so that systemd can start it again while containers run (systemd 254).
DelegateSubgroup=daemon
LimitNOFILE=infinity
LimitNPROC=infinity
TasksMax=infinity
TimeoutStartSec=0

[Install]
WantedBy=multi-user.target
";

fn socket(place: &Place, wanted: &Wanted) -> String {
    let mut unit =
        "[Unit]\nDescription=Corten's API\n\n[Socket]\nListenStream=/run/corten/corten.sock\n".to_owned();
    if wanted.docker && docker_unit(place).is_none() {
        unit.push_str("ListenStream=/run/docker.sock\n");
    }
    unit.push_str("SocketMode=0660\n");
    if let Some(group) = &wanted.group {
        unit.push_str("SocketGroup=");
        unit.push_str(group);
        unit.push('\n');
    }
    unit.push_str("\n[Install]\nWantedBy=sockets.target\n");
    unit
}

/// The unit by which systemd holds Docker's socket for Docker: systemd would take the socket from under it.
pub(crate) fn docker_unit(place: &Place) -> Option<PathBuf> {
    ["/etc", "/usr/local/lib", "/usr/lib", "/lib"]
        .map(|folder| Path::new(folder).join("systemd/system/docker.socket"))
        .into_iter()
        .find(|path| place.real(path).exists())
}
