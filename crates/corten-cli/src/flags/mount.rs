//! `--mount` and `-v`.

use corten_api::container::{
    BindOptions, DriverConfig, HostConfig, ImageOptions, Mount, TmpfsOptions, VolumeOptions,
};
use corten_api::null::{Empty, Set};
use std::path::{Path, PathBuf};

/// What `-v` and `--tmpfs` come to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Volumes {
    /// With a source.
    pub(crate) binds: Vec<String>,
    /// Anonymous ones.
    pub(crate) anonymous: Set,
}

/// Reads `-v`: a source that begins with a dot is made absolute here, because the daemon does not know our folder.
pub(crate) fn volumes(flags: &[String], folder: &Path) -> Result<Volumes, String> {
    let mut volumes = Volumes::default();
    for flag in flags {
        if flag.is_empty() {
            return Err("invalid empty volume spec".to_owned());
        }
        if flag.starts_with(':') && flag.len() > 1 {
            return Err(format!("invalid spec: {flag}: empty section between colons"));
        }
        match flag.split_once(':') {
            None => {
                volumes.anonymous.insert(flag.clone(), Empty);
            }
            Some((source, rest))
                if source == "."
                    || source == ".."
                    || source.starts_with("./")
                    || source.starts_with("../") =>
            {
                volumes.binds.push(format!("{}:{rest}", absolute(source, folder)));
            }
            Some(_) => volumes.binds.push(flag.clone()),
        }
    }
    Ok(volumes)
}

/// `--tmpfs path[:options]` into the host's configuration.
pub(crate) fn tmpfs(flags: &[String], host: &mut HostConfig) {
    for flag in flags {
        let (path, options) = flag.split_once(':').unwrap_or((flag, ""));
        host.tmpfs.insert(path.to_owned(), options.to_owned());
    }
}

/// A `--mount` that can be read; the text is kept, because the folder it is read against is not known yet.
pub(crate) fn checked(text: &str) -> Result<String, String> {
    parse(text, Path::new("/")).map(|_| text.to_owned())
}

/// Reads one `--mount`.
pub(crate) fn parse(text: &str, folder: &Path) -> Result<Mount, String> {
    let mut mount = Mount { kind: "volume".to_owned(), ..Mount::default() };
    let mut bind = BindOptions::default();
    let mut volume = VolumeOptions::default();
    let mut image = ImageOptions::default();
    let mut tmpfs = TmpfsOptions::default();
    let mut used: Vec<&'static str> = Vec::new();
    if text.is_empty() {
        return Err("EOF".to_owned());
    }
    for field in csv(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value.to_owned())),
            None => (field.to_ascii_lowercase(), None),
        };
        let switch = |value: &Option<String>| -> Result<bool, String> {
            match value.as_deref() {
                None | Some("true" | "1" | "TRUE" | "True" | "t" | "T") => Ok(true),
                Some("false" | "0" | "FALSE" | "False" | "f" | "F") => Ok(false),
                Some(other) => Err(format!("invalid value for {key}: {other}")),
            }
        };
        let group = ["bind-", "volume-", "image-", "tmpfs-"].into_iter().find(|group| key.starts_with(group));
        used.extend(group);
        match key.as_str() {
            "readonly" | "ro" => {
                mount.read_only = switch(&value)?;
                continue;
            }
            "volume-nocopy" => {
                volume.no_copy = switch(&value)?;
                continue;
            }
            "bind-nonrecursive" => {
                bind.non_recursive = switch(&value)?;
                continue;
            }
            _ => {}
        }
        let Some(value) = value else {
            return Err(format!("invalid field '{field}' must be a key=value pair"));
        };
        match key.as_str() {
            "type" => mount.kind = value.to_ascii_lowercase(),
            "source" | "src" => {
                mount.source =
                    if value == "." || value.starts_with("./") || value == ".." || value.starts_with("../") {
                        absolute(&value, folder)
                    } else {
                        value
                    }
            }
            "target" | "dst" | "destination" => mount.target = value,
            "consistency" => mount.consistency = value,
            "bind-propagation" => bind.propagation = value.to_ascii_lowercase(),
            "bind-recursive" => match value.as_str() {
                "enabled" => {}
                "disabled" => bind.non_recursive = true,
                "writable" => bind.read_only_non_recursive = true,
                "readonly" => bind.read_only_force_recursive = true,
                _ => {
                    return Err(format!(
                        "invalid value for {key}: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                    ));
                }
            },
            "volume-subpath" => volume.subpath = value,
            "volume-label" => {
                let (name, value) = value.split_once('=').unwrap_or((&value, ""));
                volume.labels.insert(name.to_owned(), value.to_owned());
            }
            "volume-driver" => volume.driver_config.get_or_insert_default().name = value,
            "volume-opt" => {
                let (name, value) = value.split_once('=').unwrap_or((&value, ""));
                let driver: &mut DriverConfig = volume.driver_config.get_or_insert_default();
                driver.options.insert(name.to_owned(), value.to_owned());
            }
            "image-subpath" => image.subpath = value,
            "tmpfs-size" => {
                tmpfs.size_bytes =
                    super::number::bytes(&value).map_err(|_| format!("invalid value for {key}: {value}"))?;
            }
            "tmpfs-mode" => {
                tmpfs.mode = u32::from_str_radix(&value, 8)
                    .map_err(|_| format!("invalid value for {key}: {value}"))?;
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if mount.kind.is_empty() {
        return Err("type is required".to_owned());
    }
    if mount.target.is_empty() {
        return Err("target is required".to_owned());
    }
    for (group, kind) in [("bind-", "bind"), ("volume-", "volume"), ("image-", "image"), ("tmpfs-", "tmpfs")]
    {
        if used.contains(&group) && mount.kind != kind {
            return Err(format!("cannot mix '{group}*' options with mount type '{}'", mount.kind));
        }
    }
    if bind.read_only_non_recursive && !mount.read_only {
        return Err(
            "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction".to_owned()
        );
    }
    if bind.read_only_force_recursive && !mount.read_only {
        return Err(
            "option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction".to_owned()
        );
    }
    if bind.read_only_force_recursive && bind.propagation != "rprivate" {
        return Err(
            "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction"
                .to_owned(),
        );
    }
    mount.bind_options = used.contains(&"bind-").then_some(bind);
    mount.volume_options = used.contains(&"volume-").then_some(volume);
    mount.image_options = used.contains(&"image-").then_some(image);
    mount.tmpfs_options = used.contains(&"tmpfs-").then_some(tmpfs);
    Ok(mount)
}

/// The fields of one line of CSV: a field in quotes may hold commas, `""` is a quote.
pub(crate) fn csv(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut field = String::new();
            let mut letters = quoted.char_indices().peekable();
            let end = loop {
                match letters.next() {
                    Some((_, '"')) if letters.peek().is_some_and(|(_, next)| *next == '"') => {
                        letters.next();
                        field.push('"');
                    }
                    Some((at, '"')) => break at,
                    Some((_, letter)) => field.push(letter),
                    None => return Err("parse error: extraneous or missing \" in quoted-field".to_owned()),
                }
            };
            fields.push(field);
            rest = &quoted[end + 1..];
            match rest.strip_prefix(',') {
                Some(after) => rest = after,
                None if rest.is_empty() => return Ok(fields),
                None => return Err("parse error: extraneous or missing \" in quoted-field".to_owned()),
            }
        } else {
            let (field, after) = match rest.split_once(',') {
                Some((field, after)) => (field, Some(after)),
                None => (rest, None),
            };
            if field.contains('"') {
                return Err("parse error: bare \" in non-quoted-field".to_owned());
            }
            fields.push(field.to_owned());
            match after {
                Some(after) => rest = after,
                None => return Ok(fields),
            }
        }
    }
}

/// A path made absolute and plain, without looking at the file system.
fn absolute(path: &str, folder: &Path) -> String {
    let mut plain = PathBuf::new();
    for part in folder.join(path).components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let got = match parse(text, Path::new("/home/me")) {
            Ok(mount) => serde_json::to_string(&mount).unwrap().replace('"', ""),
            Err(error) => error,
        };
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn mounts_are_read() {
        check("type=bind,src=./x/../y,dst=/d,ro", "{Type:bind,Source:/home/me/y,Target:/d,ReadOnly:true}");
        check("type=bind,\"src=/c,d\",dst=/z", "{Type:bind,Source:/c,d,Target:/z}");
        check("src=v,target=/d", "{Type:volume,Source:v,Target:/d}");
        check(
            "type=volume,src=v,dst=/d,volume-nocopy,volume-label=a=b,volume-opt=o=1",
            "{Type:volume,Source:v,Target:/d,VolumeOptions:{NoCopy:true,Labels:{a:b},DriverConfig:{Options:{o:1}}}}",
        );
        check(
            "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770",
            "{Type:tmpfs,Target:/t,TmpfsOptions:{SizeBytes:1048576,Mode:1016}}",
        );
        check("type=odd,dst=/x", "{Type:odd,Target:/x}");
        check("type=volume", "target is required");
        check("type=volume,nonsense", "invalid field 'nonsense' must be a key=value pair");
        check("type=volume,a=b", "unexpected key 'a' in 'a=b'");
        check("type=tmpfs,dst=/d,volume-nocopy", "cannot mix 'volume-*' options with mount type 'tmpfs'");
    }

    #[test]
    fn volumes_without_a_source_are_anonymous() {
        let flags = ["/a", "v:/b:ro", "./c:/d", "/e:/f"].map(str::to_owned);
        let volumes = volumes(&flags, Path::new("/h")).unwrap();
        assert_eq!(volumes.binds, ["v:/b:ro", "/h/c:/d", "/e:/f"]);
        assert_eq!(volumes.anonymous.keys().collect::<Vec<_>>(), ["/a"]);
    }
}
