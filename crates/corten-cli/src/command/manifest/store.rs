//! Lists that are being made: a folder `manifests/LIST` beside the configuration with a file for each manifest, as Docker's
//! command line keeps them, so that both can go on with each other's.

use crate::error::{CliError, Result};
use corten_oci::Reference;
use corten_oci::image::Descriptor;
use corten_std::file;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::path::{Path, PathBuf};

/// One manifest of a list, as it lies in its file and is printed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    #[serde(rename = "Ref")]
    pub(super) name: String,
    #[serde(rename = "Descriptor")]
    pub(super) descriptor: Descriptor,
    /// The manifest's bytes, in Base64; older files do not have it.
    #[serde(rename = "Raw", default)]
    pub(super) raw: String,
    #[serde(rename = "SchemaV2Manifest", default, skip_serializing_if = "Option::is_none")]
    pub(super) docker: Option<Box<RawValue>>,
    #[serde(rename = "OCIManifest", default, skip_serializing_if = "Option::is_none")]
    pub(super) oci: Option<Box<RawValue>>,
}

/// The lists of a configuration.
#[derive(Debug)]
pub(super) struct Lists {
    root: PathBuf,
}

fn safe(name: &Reference) -> String {
    name.canonical().replace(':', "-").replace('/', "_")
}

fn no_such(name: &Reference) -> CliError {
    CliError::said(format!("No such manifest: {}", name.canonical()))
}

impl Lists {
    pub(super) fn new(configuration: &Path) -> Self {
        Self { root: configuration.join("manifests") }
    }

    fn folder(&self, list: &Reference) -> PathBuf {
        self.root.join(safe(list))
    }

    /// One manifest of a list; none where it is not in it.
    pub(super) fn find(&self, list: &Reference, name: &Reference) -> Result<Option<Stored>> {
        read(&self.folder(list).join(safe(name)))
    }

    /// The same, where it must be in it.
    pub(super) fn get(&self, list: &Reference, name: &Reference) -> Result<Stored> {
        self.find(list, name)?.ok_or_else(|| no_such(name))
    }

    /// All manifests of a list by the names of their files; none where there is no such list.
    pub(super) fn find_all(&self, list: &Reference) -> Result<Option<Vec<Stored>>> {
        let folder = self.folder(list);
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CliError::said(format!("cannot read {}: {error}", folder.display()))),
        };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        let mut all = Vec::new();
        for path in paths {
            all.extend(read(&path)?);
        }
        Ok(Some(all))
    }

    /// The same, where it must be there.
    pub(super) fn all(&self, list: &Reference) -> Result<Vec<Stored>> {
        self.find_all(list)?.ok_or_else(|| no_such(list))
    }

    pub(super) fn save(&self, list: &Reference, name: &Reference, manifest: &Stored) -> Result<()> {
        let folder = self.folder(list);
        file::create_dir_all_with_mode(&folder, 0o755)?;
        let text = compact(&super::text_of(manifest)?);
        Ok(file::write_atomic(folder.join(safe(name)), text.as_bytes(), file::Durability::Disk)?)
    }

    pub(super) fn remove(&self, list: &Reference) -> Result<()> {
        let folder = self.folder(list);
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(CliError::said(format!("cannot remove {}: {error}", folder.display())))
            }
            _ => Ok(()),
        }
    }
}

fn read(path: &Path) -> Result<Option<Stored>> {
    let Some(bytes) = file::read_optional(path)? else { return Ok(None) };
    let stored = serde_json::from_slice(&bytes);
    stored
        .map(Some)
        .map_err(|error| CliError::said(format!("invalid manifest file {}: {error}", path.display())))
}

/// JSON text without white space outside of its strings.
fn compact(text: &str) -> String {
    indent(text, None)
}

/// JSON text in lines, each value as it was written. Go's layout: nothing between the brackets of what is empty.
pub(super) fn indented(text: &str, unit: &str) -> String {
    indent(text, Some(unit))
}

fn indent(text: &str, unit: Option<&str>) -> String {
    let mut written = String::with_capacity(text.len() * 2);
    let (mut depth, mut quoted, mut escaped, mut empty) = (0_usize, false, false, false);
    let line = |written: &mut String, depth: usize| {
        if let Some(unit) = unit {
            written.push('\n');
            written.push_str(&unit.repeat(depth));
        }
    };
    for character in text.chars() {
        if quoted {
            written.push(character);
            quoted = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        if matches!(character, ' ' | '\n' | '\r' | '\t') {
            continue;
        }
        let closes = matches!(character, '}' | ']');
        if empty && !closes {
            line(&mut written, depth);
        }
        match character {
            '{' | '[' => {
                written.push(character);
                depth += 1;
                empty = true;
                continue;
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                if !empty {
                    line(&mut written, depth);
                }
                written.push(character);
            }
            ',' => {
                written.push(',');
                line(&mut written, depth);
            }
            ':' => written.push_str(if unit.is_some() { ": " } else { ":" }),
            _ => {
                quoted = character == '"';
                written.push(character);
            }
        }
        empty = false;
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_laid_out_as_go_does() {
        let text = r#"{"a" :[1,{ }, [] ],"b":"x, {\"y\\\": 1","c":{"d":null}}"#;
        let lines = "{|>'a': [|>>1,|>>{},|>>[]|>],|>'b': 'x, {^'y^^^': 1',|>'c': {|>>'d': null|>}|}";
        let lines = lines.replace('|', "\n").replace('>', "\t").replace('^', "\\").replace('\'', "\"");
        assert!(serde_json::from_str::<serde_json::Value>(text).is_ok());
        assert_eq!(indented(text, "\t"), lines);
        assert_eq!(indented(&compact(&lines), "\t"), lines);
        assert_eq!(compact("{ }"), "{}");
    }

    #[test]
    fn names_of_files_are_dockers() {
        let name = Reference::parse("127.0.0.1:5000/lib/multi:1").unwrap();
        assert_eq!(safe(&name), "127.0.0.1-5000_lib_multi-1");
    }
}
