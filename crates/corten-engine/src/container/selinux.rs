//! SELinux: which labels the processes and files of a container have. The kernel decides by them; a pair of categories of
//! its own keeps each container from the files of the others.
//!
//! ```text
//! system_u:system_r:container_t:s0:c12,c345        processes
//! system_u:object_r:container_file_t:s0:c12,c345   its root, memory, devices; volumes and binds with `Z`
//! system_u:object_r:container_file_t:s0            volumes, and binds with `z`: what several containers share
//! ```
//!
//! What the labels begin with is the policy's word: `/etc/selinux/TYPE/contexts/lxc_contexts`, as for other engines.

use crate::container::record::{MountKind, Mounted, Record};
use crate::container::spec::security::{self, SecurityOption};
use crate::engine::EngineInner;
use crate::error::{EngineError, Result};
use corten_api::container::HostConfig;
use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Categories of the policy.
const CATEGORIES: u64 = 1024;
/// Of files of containers without a label of their own: nobody else gets this pair.
const PRIVILEGED_LEVEL: &str = "s0:c1022,c1023";
/// The four parts of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Context {
    user: String,
    role: String,
    kind: String,
    /// Empty where the policy has no levels.
    level: String,
}

impl Context {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ':').map(str::to_owned);
        let context = Self {
            user: parts.next()?,
            role: parts.next()?,
            kind: parts.next()?,
            level: parts.next().unwrap_or_default(),
        };
        let whole = [&context.user, &context.role, &context.kind].into_iter().all(|part| !part.is_empty());
        (whole && !text.contains(char::is_whitespace)).then_some(context)
    }
}

impl fmt::Display for Context {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}", self.user, self.role, self.kind)?;
        if self.level.is_empty() { Ok(()) } else { write!(formatter, ":{}", self.level) }
    }
}

/// The labels of a container; empty where it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    pub(crate) process: String,
    pub(crate) mount: String,
}

/// What labels are made from.
#[derive(Debug)]
pub(crate) struct Selinux {
    process: Context,
    file: Context,
    /// Levels of containers that are being made.
    claimed: Mutex<HashSet<String>>,
}

/// Keeps others from a level until the container that has it can be seen.
#[derive(Debug)]
pub(crate) struct Claim<'selinux> {
    claimed: &'selinux Mutex<HashSet<String>>,
    level: String,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.level);
    }
}

impl Selinux {
    /// Where the daemon is to use it: with the policy's words. None, with a warning in the log, where the kernel has no
    /// SELinux or the policy nothing for containers.
    pub(crate) fn of_host() -> Option<Self> {
        if !corten_sys::selinux::is_enabled() {
            tracing::warn!("SELinux cannot be used: the kernel has none, or no policy");
            return None;
        }
        let made = read_contexts(Path::new("/etc/selinux"));
        if let Err(why) = &made {
            tracing::warn!(why, "containers get no SELinux labels: the policy says nothing of containers");
        }
        made.ok()
    }

    /// The labels of a new container by its options, `user:…`, `role:…`, `type:…`, `level:…`, `filetype:…` or `disable`.
    /// `others` are the labels of the processes of all containers that there are.
    pub(crate) fn labels(
        &self,
        options: &[String],
        others: impl Iterator<Item = String>,
    ) -> Result<(Labels, Option<Claim<'_>>)> {
        let (mut process, mut file) = (self.process.clone(), self.file.clone());
        let mut level = None;
        for option in options {
            if option == "disable" {
                let mount = Context { level: PRIVILEGED_LEVEL.to_owned(), ..self.file.clone() };
                return Ok((Labels { process: String::new(), mount: mount.to_string() }, None));
            }
            let Some((key, value)) = option.split_once(':') else {
                return Err(EngineError::invalid(format!(
                    "bad label option {option:?}, valid options 'disable' or \n'user, role, level, type, filetype' followed by ':' and a value"
                )));
            };
            let value = value.to_owned();
            match key {
                "user" => (process.user, file.user) = (value.clone(), value),
                "role" => process.role = value,
                "type" => process.kind = value,
                "filetype" => file.kind = value,
                "level" => level = Some(value),
                _ => {
                    return Err(EngineError::invalid(format!(
                        "bad label option {option:?}, valid options 'disable, user, role, level, type, filetype'"
                    )));
                }
            }
        }
        let mut claim = None;
        if let Some(level) = level {
            // It may be another's: that is how containers share files.
            (process.level, file.level) = (level.clone(), level);
        } else if !process.level.is_empty() {
            let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
            let mut taken: HashSet<String> =
                others.filter_map(|label| Some(Context::parse(&label)?.level)).collect();
            taken.extend(claimed.iter().cloned());
            let level = free_level(&taken)?;
            claimed.insert(level.clone());
            claim = Some(Claim { claimed: &self.claimed, level: level.clone() });
            (process.level, file.level) = (level.clone(), level);
        }
        Ok((Labels { process: process.to_string(), mount: file.to_string() }, claim))
    }
}

/// Two different categories that no container has.
fn free_level(taken: &HashSet<String>) -> Result<String> {
    let pairs = CATEGORIES * (CATEGORIES - 1) / 2;
    // Guessed, so that a level is not had again soon; where nearly all are taken the rest is looked through.
    let random = || RandomState::new().build_hasher().finish();
    for _ in 0..1000 {
        let (one, other) = (random() % CATEGORIES, random() % CATEGORIES);
        let level = pair(one.min(other), one.max(other));
        if one != other && level != PRIVILEGED_LEVEL && !taken.contains(&level) {
            return Ok(level);
        }
    }
    (0..CATEGORIES)
        .flat_map(|one| (one + 1..CATEGORIES).map(move |other| pair(one, other)))
        .find(|level| level != PRIVILEGED_LEVEL && !taken.contains(level))
        .ok_or_else(|| {
            EngineError::system(format!("every one of the {pairs} pairs of SELinux categories is taken"))
        })
}

fn pair(low: u64, high: u64) -> String {
    format!("s0:c{low},c{high}")
}

/// The policy's words for containers.
fn read_contexts(folder: &Path) -> std::result::Result<Selinux, String> {
    let read =
        |path: &Path| corten_std::file::read_to_string(path).map_err(|error| corten_std::chain(&error));
    let value = |text: &str, key: &str| {
        text.lines().find_map(|line| {
            let (name, value) = line.trim().split_once('=')?;
            (name.trim() == key).then(|| value.trim().trim_matches('"').to_owned())
        })
    };
    let config = folder.join("config");
    let kind = value(&read(&config)?, "SELINUXTYPE")
        .ok_or_else(|| format!("{} names no SELINUXTYPE", config.display()))?;
    let contexts = folder.join(kind).join("contexts/lxc_contexts");
    let text = read(&contexts)?;
    let context = |key: &str| {
        value(&text, key)
            .and_then(|text| Context::parse(&text))
            .ok_or_else(|| format!("{} has no label for `{key}`", contexts.display()))
    };
    Ok(Selinux { process: context("process")?, file: context("file")?, claimed: Mutex::default() })
}

/// Writes into the options of a new container what its other options mean for labels, as Docker does: whoever shares the
/// host's processes or memory, or has every right, has no label of its own; whoever shares another container's has that
/// one's. `label_of` gives the process label of a container by name.
pub(crate) fn settle(host: &mut HostConfig, label_of: impl Fn(&str) -> Result<String>) -> Result<()> {
    let asked = host.security_opt.iter().flatten();
    if asked
        .filter_map(|option| security::parse(option).ok())
        .any(|one| matches!(one, SecurityOption::Label(_)))
    {
        return Ok(());
    }
    let set = |host: &mut HostConfig, labels: Vec<String>| {
        if !labels.is_empty() {
            host.security_opt.get_or_insert_default().extend(labels);
        }
    };
    if host.privileged || host.ipc_mode == "host" || host.pid_mode == "host" {
        set(host, vec!["label=disable".to_owned()]);
        return Ok(());
    }
    let of = |mode: &str| -> Result<Option<Vec<String>>> {
        mode.strip_prefix("container:").map(|name| Ok(as_options(&label_of(name)?))).transpose()
    };
    let labels = match (of(&host.ipc_mode)?, of(&host.pid_mode)?) {
        (Some(ipc), Some(pid)) if ipc != pid => {
            return Err(EngineError::system("--ipc and --pid containers SELinux labels aren't the same"));
        }
        (Some(labels), _) | (None, Some(labels)) => labels,
        (None, None) => Vec::new(),
    };
    set(host, labels);
    Ok(())
}

/// A label as options that give it again.
fn as_options(label: &str) -> Vec<String> {
    let Some(Context { user, role, kind, level }) = Context::parse(label) else { return Vec::new() };
    [("user", user), ("role", role), ("type", kind), ("level", level)]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("label={key}:{value}"))
        .collect()
}

/// The parts of labels that a container's options ask for.
pub(crate) fn options(host: &HostConfig) -> Vec<String> {
    let read = host.security_opt.iter().flatten().filter_map(|option| security::parse(option).ok());
    read.filter_map(|option| match option {
        SecurityOption::Label(part) => Some(part),
        _ => None,
    })
    .collect()
}

/// Gives a mount's source the container's label where that is asked for: `Z` for it alone, `z` for all who share it.
/// Volumes that nobody named are for the containers that know them.
pub(crate) fn relabel_mounted(
    engine: &EngineInner,
    record: &Record,
    mounted: &Mounted,
    source: &Path,
) -> Result<()> {
    let words = || mounted.mode.split(',');
    let anonymous = matches!(mounted.kind, MountKind::Volume { anonymous: true, .. });
    if words().any(|word| word == "Z") {
        relabel(engine, record, source, false)
    } else if anonymous || words().any(|word| word == "z") {
        relabel(engine, record, source, true)
    } else {
        Ok(())
    }
}

/// Gives a file of the host, or a folder with all in it, a container's label; nothing where there are no labels.
pub(crate) fn relabel(engine: &EngineInner, record: &Record, path: &Path, shared: bool) -> Result<()> {
    if engine.selinux.is_none() {
        return Ok(());
    }
    let Some(label) = record.mount_label() else { return Ok(()) };
    corten_runtime::relabel(path, label, shared).map_err(|error| EngineError::because("", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selinux() -> Selinux {
        Selinux {
            process: Context::parse("system_u:system_r:container_t:s0").unwrap(),
            file: Context::parse("system_u:object_r:container_file_t:s0").unwrap(),
            claimed: Mutex::default(),
        }
    }

    fn labels(selinux: &Selinux, options: &[&str]) -> Result<(String, String)> {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        selinux.labels(&options, std::iter::empty()).map(|(labels, _)| (labels.process, labels.mount))
    }

    #[test]
    fn options_change_parts() {
        let selinux = selinux();
        let check = |options: &[&str], process: &str, mount: &str| {
            assert_eq!(
                labels(&selinux, options).unwrap(),
                (process.to_owned(), mount.to_owned()),
                "{options:?}"
            );
        };
        check(
            &["level:s0:c1,c2"],
            "system_u:system_r:container_t:s0:c1,c2",
            "system_u:object_r:container_file_t:s0:c1,c2",
        );
        check(
            &["user:u", "role:r", "type:t", "filetype:f", "level:s0:c3"],
            "u:r:t:s0:c3",
            "u:object_r:f:s0:c3",
        );
        check(&["disable"], "", "system_u:object_r:container_file_t:s0:c1022,c1023");
        assert!(labels(&selinux, &["odd"]).unwrap_err().message().starts_with("bad label option \"odd\""));
        assert!(labels(&selinux, &["kind:x"]).is_err());
    }

    #[test]
    fn every_container_has_categories_of_its_own() {
        let selinux = selinux();
        let (mut seen, mut claims) = (HashSet::new(), Vec::new());
        for _ in 0..500 {
            let (labels, claim) = selinux.labels(&[], std::iter::empty()).unwrap();
            let (process, mount) =
                (Context::parse(&labels.process).unwrap(), Context::parse(&labels.mount).unwrap());
            assert_eq!(process.level, mount.level);
            assert!(seen.insert(process.level));
            claims.push(claim);
        }
        drop(claims);
        assert!(selinux.claimed.lock().unwrap().is_empty());
        // Those of containers that there are count too.
        let all = (0..CATEGORIES).flat_map(|one| (one + 1..CATEGORIES).map(move |other| pair(one, other)));
        let others = all.filter(|level| level != "s0:c5,c6").map(|level| format!("u:r:t:{level}"));
        let (labels, _claim) = selinux.labels(&[], others).unwrap();
        assert!(labels.process.ends_with(":s0:c5,c6"), "{}", labels.process);
    }

    #[test]
    fn when_nearly_all_are_taken_the_last_is_found() {
        let all = (0..CATEGORIES).flat_map(|one| (one + 1..CATEGORIES).map(move |other| pair(one, other)));
        let mut taken: HashSet<String> = all.filter(|level| level != "s0:c1000,c1001").collect();
        assert_eq!(free_level(&taken).unwrap(), "s0:c1000,c1001");
        taken.insert("s0:c1000,c1001".to_owned());
        assert!(free_level(&taken).is_err());
    }

    #[test]
    fn what_others_share_decides_where_nothing_is_asked_for() {
        let settled = |host: HostConfig| {
            let mut host = host;
            settle(&mut host, |name| Ok(format!("u:r:t:s0:{name}")))
                .map(|()| host.security_opt.unwrap_or_default())
        };
        assert_eq!(settled(HostConfig::default()).unwrap(), Vec::<String>::new());
        let privileged = HostConfig { privileged: true, ..HostConfig::default() };
        assert_eq!(settled(privileged.clone()).unwrap(), ["label=disable"]);
        let asked = HostConfig { security_opt: Some(vec!["label=type:x".to_owned()]), ..privileged };
        assert_eq!(settled(asked).unwrap(), ["label=type:x"]);
        let joined = HostConfig { pid_mode: "container:c1".to_owned(), ..HostConfig::default() };
        assert_eq!(
            settled(joined.clone()).unwrap(),
            ["label=user:u", "label=role:r", "label=type:t", "label=level:s0:c1"]
        );
        assert!(settled(HostConfig { ipc_mode: "container:c2".to_owned(), ..joined }).is_err());
    }

    #[test]
    fn the_policys_words_are_read() {
        let folder = corten_testing::Scratch::new("selinux-contexts");
        assert!(read_contexts(folder.path()).is_err());
        let contexts = folder.path().join("targeted/contexts");
        std::fs::create_dir_all(&contexts).unwrap();
        std::fs::write(folder.path().join("config"), "# x\nSELINUX=permissive\nSELINUXTYPE=targeted\n")
            .unwrap();
        std::fs::write(
            contexts.join("lxc_contexts"),
            "process = \"system_u:system_r:container_t:s0\"\nfile = \"system_u:object_r:container_file_t:s0\"\n",
        )
        .unwrap();
        let read = read_contexts(folder.path()).unwrap();
        assert_eq!(
            (read.process.kind.as_str(), read.file.kind.as_str()),
            ("container_t", "container_file_t")
        );
        std::fs::write(contexts.join("lxc_contexts"), "process = \"x\"\n").unwrap();
        assert!(read_contexts(folder.path()).unwrap_err().contains("process"));
    }
}
