//! What is to be mounted where: `Binds` (`-v`), `Mounts` (`--mount`), `Tmpfs`, `VolumesFrom` and the image's volumes,
//! read by Docker's rules into one list. Pure but for the question whether a bind's source is there.

use crate::container::record::{MountKind, Mounted, ReadOnlyDepth};
use crate::error::{EngineError, Result};
use corten_api::container::{HostConfig, Mount};
use corten_api::null::Set;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// A mount as asked for; volumes are not looked up yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) destination: String,
    pub(crate) read_only: bool,
    pub(crate) propagation: String,
    pub(crate) mode: String,
    pub(crate) recursive: bool,
    pub(crate) read_only_depth: ReadOnlyDepth,
    pub(crate) source: Source,
}

/// What is asked for at one place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    /// A path of the host.
    Bind { path: PathBuf, create: bool },
    /// A volume by name, or a new anonymous one.
    Volume {
        name: Option<String>,
        driver: String,
        options: BTreeMap<String, String>,
        labels: BTreeMap<String, String>,
        subpath: String,
        copy: bool,
    },
    /// Memory, with mount(8)'s options.
    Tmpfs { options: String },
    /// The files of an image.
    Image { name: String, subpath: String },
    /// The mount of another container.
    Taken(MountKind),
}

/// Modes of `-v` by their group; one of each group at most.
const MODES: [&[&str]; 5] = [
    &["ro", "rw"],
    &["z", "Z"],
    &["nocopy"],
    &["private", "rprivate", "slave", "rslave", "shared", "rshared"],
    &["consistent", "cached", "delegated"],
];

/// Everything a request mounts, ordered so that a mount comes after the one it lies in. `taken` are the mounts of
/// `VolumesFrom`, with their read-only flag settled; `exists` tells whether a path of the host is there.
pub(crate) fn wanted(
    host: &HostConfig,
    volumes: Option<&Set>,
    taken: Vec<Mounted>,
    exists: &dyn Fn(&Path) -> bool,
) -> Result<Vec<Wanted>> {
    let mut all: BTreeMap<String, Wanted> = BTreeMap::new();
    for mounted in taken {
        all.insert(
            mounted.destination.clone(),
            Wanted {
                destination: mounted.destination,
                read_only: mounted.read_only,
                propagation: mounted.propagation,
                mode: mounted.mode,
                recursive: mounted.recursive,
                read_only_depth: mounted.read_only_depth,
                source: Source::Taken(mounted.kind),
            },
        );
    }
    let mut given: Vec<Wanted> = Vec::new();
    for text in host.binds.iter().flatten() {
        given.push(parse_bind(text)?);
    }
    for mount in &host.mounts {
        given.push(parse_mount(mount, exists)?);
    }
    for (destination, options) in &host.tmpfs {
        if let Some(unknown) = options.split(',').find(|option| !is_tmpfs_option(option)) {
            let name = unknown.split('=').next().unwrap_or_default();
            return Err(EngineError::invalid(format!("invalid tmpfs option {name:?}")));
        }
        given.push(Wanted {
            destination: clean(destination).map_err(EngineError::invalid)?,
            read_only: false,
            propagation: String::new(),
            mode: String::new(),
            recursive: false,
            read_only_depth: ReadOnlyDepth::Top,
            source: Source::Tmpfs { options: options.clone() },
        });
    }
    let mut seen = std::collections::BTreeSet::new();
    for wanted in given {
        if !seen.insert(wanted.destination.clone()) {
            return Err(EngineError::invalid(format!("Duplicate mount point: {}", wanted.destination)));
        }
        all.insert(wanted.destination.clone(), wanted);
    }
    for path in volumes.into_iter().flat_map(BTreeMap::keys) {
        // Docker takes any path here, and counts it from the root.
        let path = if path.is_empty() || path.starts_with('/') { path } else { &format!("/{path}") };
        let destination = clean(path).map_err(|why| {
            EngineError::invalid(format!("invalid mount config for type \"volume\": {why}"))
        })?;
        all.entry(destination.clone()).or_insert_with(|| anonymous(destination));
    }
    let mut list: Vec<Wanted> = all.into_values().collect();
    // `--volume-driver` is for volumes that name no driver themselves.
    for wanted in &mut list {
        if let Source::Volume { driver, .. } = &mut wanted.source
            && driver.is_empty()
        {
            driver.clone_from(&host.volume_driver);
        }
    }
    list.sort_by_key(|wanted| wanted.destination.matches('/').count());
    Ok(list)
}

fn anonymous(destination: String) -> Wanted {
    Wanted {
        destination,
        read_only: false,
        propagation: String::new(),
        mode: String::new(),
        recursive: false,
        read_only_depth: ReadOnlyDepth::Tree,
        source: Source::Volume {
            name: None,
            driver: String::new(),
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
            subpath: String::new(),
            copy: true,
        },
    }
}

/// `SOURCE:DESTINATION[:MODE]` or `DESTINATION`.
fn parse_bind(text: &str) -> Result<Wanted> {
    let wrong = || EngineError::invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.splitn(4, ':').collect();
    let (source, destination, mode) = match parts[..] {
        [destination] if !destination.is_empty() => (None, destination, ""),
        [source, destination] if !source.is_empty() && !is_mode(destination) => {
            (Some(source), destination, "")
        }
        [source, destination, mode] if !source.is_empty() => (Some(source), destination, mode),
        _ => return Err(wrong()),
    };
    if !mode.is_empty() && !is_mode(mode) {
        return Err(EngineError::invalid(format!("invalid mode: {mode}")));
    }
    let is_bind = source.is_some_and(|source| source.starts_with('/'));
    let kind = if is_bind { "bind" } else { "volume" };
    let refuse = |why: &str| {
        EngineError::invalid(format!(
            "invalid volume specification: '{text}': invalid mount config for type \"{kind}\": {why}"
        ))
    };
    let destination = clean(destination).map_err(|why| refuse(&why))?;
    let words: Vec<&str> = mode.split(',').collect();
    let propagation = words.iter().copied().find(|word| MODES[3].contains(word));
    if is_bind && words.contains(&"nocopy") {
        return Err(refuse("field VolumeOptions must not be specified"));
    }
    if !is_bind && propagation.is_some() {
        return Err(refuse("field BindOptions must not be specified"));
    }
    let read_only = words.contains(&"ro");
    let wanted = match source {
        Some(path) if is_bind => Wanted {
            destination,
            read_only,
            propagation: propagation.unwrap_or("rprivate").to_owned(),
            mode: mode.to_owned(),
            // Whatever the propagation: what is mounted below the source comes too.
            recursive: true,
            read_only_depth: ReadOnlyDepth::Tree,
            source: Source::Bind { path: clean_path(path), create: true },
        },
        name => Wanted {
            destination,
            read_only,
            propagation: String::new(),
            mode: if name.is_some() && mode.is_empty() { "z".to_owned() } else { mode.to_owned() },
            recursive: false,
            read_only_depth: ReadOnlyDepth::Tree,
            source: Source::Volume {
                name: name.map(str::to_owned),
                driver: String::new(),
                options: BTreeMap::new(),
                labels: BTreeMap::new(),
                subpath: String::new(),
                copy: !words.contains(&"nocopy"),
            },
        },
    };
    Ok(wanted)
}

fn is_mode(text: &str) -> bool {
    let mut used = [false; MODES.len()];
    text.split(',').all(|word| {
        MODES
            .iter()
            .position(|group| group.contains(&word))
            .is_some_and(|group| !std::mem::replace(&mut used[group], true))
    })
}

/// One entry of `HostConfig.Mounts`.
fn parse_mount(mount: &Mount, exists: &dyn Fn(&Path) -> bool) -> Result<Wanted> {
    let kind = mount.kind.as_str();
    let wrong =
        |text: &str| EngineError::invalid(format!("invalid mount config for type \"{kind}\": {text}"));
    if mount.target.is_empty() {
        return Err(wrong("field Target must not be empty"));
    }
    let destination = clean(&mount.target).map_err(|why| wrong(&why))?;
    let not_for = |given: bool, field: &str| {
        if given { Err(wrong(&format!("field {field} must not be specified"))) } else { Ok(()) }
    };
    let mut wanted = Wanted {
        destination,
        read_only: mount.read_only,
        propagation: String::new(),
        mode: String::new(),
        recursive: false,
        read_only_depth: ReadOnlyDepth::Tree,
        source: Source::Tmpfs { options: String::new() },
    };
    match kind {
        "bind" => {
            if mount.source.is_empty() {
                return Err(wrong("field Source must not be empty"));
            }
            not_for(mount.volume_options.is_some(), "VolumeOptions")?;
            not_for(mount.tmpfs_options.is_some(), "TmpfsOptions")?;
            not_for(mount.image_options.is_some(), "ImageOptions")?;
            if !mount.source.starts_with('/') {
                return Err(wrong(&format!(
                    "invalid mount path: '{}' mount path must be absolute",
                    mount.source
                )));
            }
            let options = mount.bind_options.clone().unwrap_or_default();
            let path = clean_path(&mount.source);
            if !options.create_mountpoint && !exists(&path) {
                return Err(wrong(&format!("bind source path does not exist: {}", mount.source)));
            }
            if !options.propagation.is_empty() && !MODES[3].contains(&options.propagation.as_str()) {
                return Err(wrong(&format!("invalid propagation mode: {}", options.propagation)));
            }
            wanted.propagation =
                if options.propagation.is_empty() { "rprivate".to_owned() } else { options.propagation };
            wanted.recursive = !options.non_recursive;
            wanted.read_only_depth =
                match (options.read_only_non_recursive, options.read_only_force_recursive) {
                    (true, true) => {
                        return Err(wrong(
                            "mount options conflict: ReadOnlyNonRecursive && ReadOnlyForceRecursive",
                        ));
                    }
                    (true, false) => ReadOnlyDepth::Top,
                    (false, true) => ReadOnlyDepth::Forced,
                    (false, false) => ReadOnlyDepth::Tree,
                };
            wanted.source = Source::Bind { path, create: options.create_mountpoint };
        }
        "volume" => {
            not_for(mount.bind_options.is_some(), "BindOptions")?;
            not_for(mount.tmpfs_options.is_some(), "TmpfsOptions")?;
            not_for(mount.image_options.is_some(), "ImageOptions")?;
            if mount.source.is_empty() && mount.read_only {
                return Err(wrong("must not set ReadOnly mode when using anonymous volumes"));
            }
            let options = mount.volume_options.clone().unwrap_or_default();
            if !options.subpath.is_empty() {
                if mount.source.is_empty() {
                    return Err(wrong("must not set Subpath when using anonymous volumes"));
                }
                if !is_local(&options.subpath) {
                    return Err(wrong("subpath must be a relative path within the volume"));
                }
            }
            let driver = options.driver_config.unwrap_or_default();
            "z".clone_into(&mut wanted.mode);
            wanted.source = Source::Volume {
                name: (!mount.source.is_empty()).then(|| mount.source.clone()),
                driver: driver.name,
                options: driver.options,
                labels: options.labels,
                subpath: options.subpath,
                copy: !options.no_copy,
            };
        }
        "tmpfs" => {
            not_for(!mount.source.is_empty(), "Source")?;
            not_for(mount.bind_options.is_some(), "BindOptions")?;
            not_for(mount.volume_options.is_some(), "VolumeOptions")?;
            not_for(mount.image_options.is_some(), "ImageOptions")?;
            let options = mount.tmpfs_options.clone().unwrap_or_default();
            let mut words = Vec::new();
            for option in &options.options {
                if option.is_empty() || option.len() > 2 {
                    return Err(wrong("invalid option array length"));
                }
                if !is_tmpfs_option(&option.join("=")) {
                    return Err(wrong(&format!("invalid option: {:?}", option.join("="))));
                }
            }
            if options.size_bytes < 0 {
                return Err(wrong("the size must not be negative"));
            }
            if options.size_bytes != 0 {
                words.push(format!("size={}", options.size_bytes));
            }
            if options.mode != 0 {
                words.push(format!("mode={:o}", options.mode));
            }
            words.extend(options.options.iter().map(|pair| pair.join("=")));
            wanted.source = Source::Tmpfs { options: words.join(",") };
        }
        "image" => {
            not_for(mount.bind_options.is_some(), "BindOptions")?;
            not_for(mount.volume_options.is_some(), "VolumeOptions")?;
            not_for(mount.tmpfs_options.is_some(), "TmpfsOptions")?;
            if mount.source.is_empty() {
                return Err(wrong("field Source must not be empty"));
            }
            let subpath = mount.image_options.clone().unwrap_or_default().subpath;
            if !subpath.is_empty() && !is_local(&subpath) {
                return Err(wrong("subpath must be a relative path within the volume"));
            }
            wanted.read_only = true;
            "rprivate".clone_into(&mut wanted.propagation);
            wanted.source = Source::Image { name: mount.source.clone(), subpath };
        }
        _ => return Err(wrong("mount type unknown")),
    }
    Ok(wanted)
}

/// An option of mount(8) that Docker takes for a tmpfs.
fn is_tmpfs_option(option: &str) -> bool {
    const FLAGS: [&str; 29] = [
        "",
        "defaults",
        "ro",
        "rw",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "exec",
        "noexec",
        "sync",
        "async",
        "dirsync",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
        "private",
        "rprivate",
        "slave",
        "rslave",
        "shared",
        "rshared",
        "mand",
        "nomand",
    ];
    const SETTINGS: [&str; 7] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];
    match option.split_once('=') {
        Some((name, _)) => SETTINGS.contains(&name),
        None => FLAGS.contains(&option),
    }
}

/// A cleaned absolute path inside that is not the root, or what is wrong with it.
fn clean(destination: &str) -> std::result::Result<String, String> {
    if !destination.starts_with('/') {
        return Err(format!("invalid mount path: '{destination}' mount path must be absolute"));
    }
    let path = clean_path(destination);
    if path == Path::new("/") {
        return Err("invalid specification: destination can't be '/'".to_owned());
    }
    Ok(path.to_string_lossy().into_owned())
}

/// Whether a relative path stays in its folder, by its text alone.
fn is_local(path: &str) -> bool {
    let mut depth = 0_i32;
    for part in Path::new(path).components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::ParentDir => depth -= 1,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return false,
        }
        if depth < 0 {
            return false;
        }
    }
    true
}

/// The path without `.`, `..` and doubled slashes, by its text alone.
fn clean_path(path: &str) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// `NAME[:ro|:rw]` of `VolumesFrom`.
pub(crate) fn parse_volumes_from(text: &str) -> Result<(&str, Option<bool>)> {
    match text.split_once(':') {
        None if text.is_empty() => {
            Err(EngineError::invalid("volumes-from specification cannot be an empty string"))
        }
        None => Ok((text, None)),
        Some((name, mode)) if is_mode(mode) => Ok((
            name,
            mode.split(',').find_map(|word| match word {
                "ro" => Some(true),
                "rw" => Some(false),
                _ => None,
            }),
        )),
        Some((_, mode)) => Err(EngineError::invalid(format!("invalid mode: {mode}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_api::null::Empty;

    fn host(binds: &[&str]) -> HostConfig {
        HostConfig {
            binds: Some(binds.iter().map(|&bind| bind.to_owned()).collect()),
            ..HostConfig::default()
        }
    }

    fn list(host: &HostConfig) -> Result<Vec<Wanted>> {
        wanted(host, None, Vec::new(), &|path| path.starts_with("/there"))
    }

    #[track_caller]
    fn check_refused(binds: &[&str], text: &str) {
        let error = list(&host(binds)).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }

    #[test]
    fn binds_that_cannot_be() {
        check_refused(&["relative/path/:relative"], "invalid volume specification");
        check_refused(&["/a:/b:c:d"], "invalid volume specification");
        check_refused(&["/foo:rw"], "invalid volume specification");
        check_refused(&[":/x"], "invalid volume specification");
        check_refused(&["/tmp:/x:nonsense"], "invalid mode: nonsense");
        check_refused(&["/tmp:/x:ro,rw"], "invalid mode: ro,rw");
        check_refused(&["/tmp:/"], "destination can't be '/'");
        check_refused(&["/tmp:/x/.."], "destination can't be '/'");
        check_refused(&["one:/x", "two:/x"], "Duplicate mount point: /x");
    }

    #[test]
    fn binds_and_volumes_are_told_apart_and_ordered() {
        let all = list(&host(&["vol:/a/b/c:ro", "/src:/a//", "/x/y"])).unwrap();
        let destinations: Vec<_> = all.iter().map(|wanted| wanted.destination.as_str()).collect();
        assert_eq!(destinations, ["/a", "/x/y", "/a/b/c"]);
        assert!(matches!(&all[0].source, Source::Bind { create: true, .. }));
        assert_eq!((all[0].propagation.as_str(), all[0].recursive), ("rprivate", true));
        assert!(matches!(&all[1].source, Source::Volume { name: None, .. }));
        assert!(all[2].read_only);
    }

    #[track_caller]
    fn check_mount(mount: Mount, text: &str) {
        let host = HostConfig { mounts: vec![mount], ..HostConfig::default() };
        match list(&host) {
            Ok(_) => assert_eq!(text, ""),
            Err(error) => assert!(!text.is_empty() && error.to_string().contains(text), "{error}"),
        }
    }

    #[test]
    fn mounts_that_cannot_be() {
        let mount = |kind: &str, source: &str, target: &str| Mount {
            kind: kind.to_owned(),
            source: source.to_owned(),
            target: target.to_owned(),
            ..Mount::default()
        };
        check_mount(mount("bind", "/there/x", "/x"), "");
        check_mount(mount("bind", "/nothing", "/x"), "bind source path does not exist: /nothing");
        check_mount(mount("odd", "", "/x"), "invalid mount config for type \"odd\": mount type unknown");
        check_mount(mount("volume", "v", ""), "field Target must not be empty");
        check_mount(mount("tmpfs", "v", "/x"), "field Source must not be specified");
        check_mount(Mount { read_only: true, ..mount("volume", "", "/x") }, "must not set ReadOnly mode");
        let below = |source: &str, subpath: &str| Mount {
            volume_options: Some(corten_api::container::VolumeOptions {
                subpath: subpath.to_owned(),
                ..corten_api::container::VolumeOptions::default()
            }),
            ..mount("volume", source, "/x")
        };
        check_mount(below("v", "a/../b"), "");
        check_mount(below("v", "a/../../b"), "subpath must be a relative path within the volume");
        check_mount(below("v", "/a"), "subpath must be a relative path within the volume");
        check_mount(below("", "a"), "must not set Subpath when using anonymous volumes");
    }

    #[test]
    fn the_images_volumes_yield_to_what_was_asked_for() {
        let volumes: Set = [("/data".to_owned(), Empty), ("/more".to_owned(), Empty)].into();
        let all = wanted(&host(&["/src:/data"]), Some(&volumes), Vec::new(), &|_| true).unwrap();
        assert_eq!(all.len(), 2);
        assert!(matches!(&all[0].source, Source::Bind { .. }));
        assert_eq!(parse_volumes_from("c:ro").unwrap(), ("c", Some(true)));
        assert_eq!(parse_volumes_from("c:odd").unwrap_err().to_string(), "invalid mode: odd");
        let text = "volumes-from specification cannot be an empty string";
        assert_eq!(parse_volumes_from("").unwrap_err().to_string(), text);
    }
}
