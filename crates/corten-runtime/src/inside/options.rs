//! The words of `mount -o`: which are flags of the mount, which are the filesystem's own.

use corten_sys::mount::{Attributes, Propagation};

/// Mount options, sorted.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// Flags switched on.
    pub(super) set: Attributes,
    /// Flags switched off.
    pub(super) clear: Attributes,
    /// Flags switched on in the whole tree.
    pub(super) set_recursive: Attributes,
    /// Flags switched off in the whole tree.
    pub(super) clear_recursive: Attributes,
    /// Propagation, and whether it is for the whole tree.
    pub(super) propagation: Option<(Propagation, bool)>,
    /// The mount is a bind; with `true` of the whole tree.
    pub(super) bind: Option<bool>,
    /// It begins with what is in the folder that it covers.
    pub(super) copy_up: bool,
    /// The filesystem's own, key and value.
    pub(super) data: Vec<(String, Option<String>)>,
}

/// Sorts the options of one mount. Later words win.
pub(super) fn parse(words: &[String]) -> Result<Options, String> {
    let mut options = Options {
        set: Attributes::empty(),
        clear: Attributes::empty(),
        set_recursive: Attributes::empty(),
        clear_recursive: Attributes::empty(),
        propagation: None,
        bind: None,
        copy_up: false,
        data: Vec::new(),
    };
    for word in words {
        if word.is_empty() || is_without_effect(word) {
            continue;
        }
        if let Some((flag, on)) = flag(word) {
            set_flag(&mut options.set, &mut options.clear, flag, on);
        } else if let Some((flag, on)) = word.strip_prefix('r').and_then(flag) {
            set_flag(&mut options.set_recursive, &mut options.clear_recursive, flag, on);
        } else if let Some(propagation) = propagation(word) {
            options.propagation = Some(propagation);
        } else if word == "bind" || word == "rbind" {
            options.bind = Some(word == "rbind");
        } else if word == "tmpcopyup" {
            options.copy_up = true;
        } else if word == "remount" {
            return Err(format!("mount option {word} is not supported"));
        } else {
            let (key, value) = word
                .split_once('=')
                .map_or((word.as_str(), None), |(key, value)| (key, Some(value.to_owned())));
            options.data.push((key.to_owned(), value));
        }
    }
    Ok(options)
}

fn set_flag(set: &mut Attributes, clear: &mut Attributes, flag: Attributes, on: bool) {
    set.set(flag, on);
    clear.set(flag, !on);
}

/// Words that say what is so anyway, or that whoever took the tree of a bind has acted on.
fn is_without_effect(word: &str) -> bool {
    matches!(
        word,
        "defaults"
            | "newinstance"
            | "silent"
            | "loud"
            | "async"
            | "nomand"
            | "noiversion"
            | "norelatime"
            | "idmap"
            | "ridmap"
            | "z"
            | "Z"
    )
}

fn flag(word: &str) -> Option<(Attributes, bool)> {
    Some(match word {
        "ro" => (Attributes::MOUNT_ATTR_RDONLY, true),
        "rw" => (Attributes::MOUNT_ATTR_RDONLY, false),
        "nosuid" => (Attributes::MOUNT_ATTR_NOSUID, true),
        "suid" => (Attributes::MOUNT_ATTR_NOSUID, false),
        "nodev" => (Attributes::MOUNT_ATTR_NODEV, true),
        "dev" => (Attributes::MOUNT_ATTR_NODEV, false),
        "noexec" => (Attributes::MOUNT_ATTR_NOEXEC, true),
        "exec" => (Attributes::MOUNT_ATTR_NOEXEC, false),
        "noatime" => (Attributes::MOUNT_ATTR_NOATIME, true),
        "strictatime" => (Attributes::MOUNT_ATTR_STRICTATIME, true),
        "relatime" => (Attributes::empty(), true),
        "nodiratime" => (Attributes::MOUNT_ATTR_NODIRATIME, true),
        "diratime" => (Attributes::MOUNT_ATTR_NODIRATIME, false),
        "nosymfollow" => (Attributes::MOUNT_ATTR_NOSYMFOLLOW, true),
        "symfollow" => (Attributes::MOUNT_ATTR_NOSYMFOLLOW, false),
        _ => return None,
    })
}

/// The propagation that a word names.
pub(super) fn propagation(word: &str) -> Option<(Propagation, bool)> {
    Some(match word {
        "private" => (Propagation::Private, false),
        "rprivate" => (Propagation::Private, true),
        "slave" => (Propagation::Slave, false),
        "rslave" => (Propagation::Slave, true),
        "shared" => (Propagation::Shared, false),
        "rshared" => (Propagation::Shared, true),
        "unbindable" => (Propagation::Unbindable, false),
        "runbindable" => (Propagation::Unbindable, true),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(',').map(str::to_owned).collect()
    }

    #[test]
    fn words_are_sorted() {
        let options = parse(&words("rbind,ro,nosuid,rslave,rnoexec,size=64m,noswap,rw")).unwrap();
        assert_eq!(options.set, Attributes::MOUNT_ATTR_NOSUID);
        assert_eq!(options.clear, Attributes::MOUNT_ATTR_RDONLY);
        assert_eq!(options.set_recursive, Attributes::MOUNT_ATTR_NOEXEC);
        assert_eq!(options.propagation, Some((Propagation::Slave, true)));
        assert_eq!(options.bind, Some(true));
        assert_eq!(options.data, [("size".to_owned(), Some("64m".to_owned())), ("noswap".to_owned(), None)]);
        assert!(parse(&words("tmpcopyup")).unwrap().copy_up);
        assert!(parse(&words("remount")).is_err());
    }
}
