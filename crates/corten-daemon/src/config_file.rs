//! The daemon's file of settings, in the form of Docker's `daemon.json`.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use corten_engine::RuntimeProgram;

/// What the file can say. Anything else in it is refused: a setting that is passed over in silence helps nobody.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ConfigFile {
    /// Other OCI runtimes by their name.
    #[serde(default)]
    runtimes: BTreeMap<String, RuntimeEntry>,
    /// The runtime of containers that name none.
    #[serde(default)]
    pub(crate) default_runtime: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RuntimeEntry {
    path: String,
    #[serde(default)]
    runtime_args: Vec<String>,
}

impl ConfigFile {
    /// Reads the file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = corten_std::file::read_to_string(path).map_err(|error| corten_std::chain(&error))?;
        Self::parse(&text).map_err(|error| {
            format!("{} cannot be used: {error} (known here: runtimes, default-runtime)", path.display())
        })
    }

    fn parse(text: &str) -> Result<Self, serde_json::Error> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(text)
    }

    /// The runtimes, each checked.
    pub(crate) fn runtimes(self) -> Result<BTreeMap<String, RuntimeProgram>, String> {
        let checked = |(name, entry): (String, RuntimeEntry)| {
            let program = runtime(&name, &entry.path, entry.runtime_args)?;
            Ok((name, program))
        };
        self.runtimes.into_iter().map(checked).collect()
    }
}

/// A runtime by its name and path; a bare name is looked up in the search path.
pub(crate) fn runtime(name: &str, path: &str, arguments: Vec<String>) -> Result<RuntimeProgram, String> {
    if name.is_empty() {
        return Err("a runtime needs a name: NAME=PATH".to_owned());
    }
    if corten_engine::is_own_runtime(name) {
        return Err(format!("invalid runtime: runtime name '{name}' is reserved"));
    }
    if path.is_empty() {
        return Err(format!("invalid runtime {name}: a path is missing"));
    }
    Ok(RuntimeProgram { path: find(path)?, arguments })
}

fn find(path: &str) -> Result<PathBuf, String> {
    if path.starts_with('/') {
        return Ok(PathBuf::from(path));
    }
    if path.contains('/') {
        return Err(format!("the path {path} of a runtime must begin with /, or be a name alone"));
    }
    let search = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&search)
        .map(|folder| folder.join(path))
        .find(|file| file.is_absolute() && file.is_file())
        .ok_or_else(|| format!("no program {path} was found in the search path"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_form_is_read() {
        let file = ConfigFile::parse(
            r#"{"default-runtime":"crun","runtimes":{"crun":{"path":"/usr/bin/crun","runtimeArgs":["--debug"]}}}"#,
        )
        .unwrap();
        assert_eq!(file.default_runtime.as_deref(), Some("crun"));
        let runtimes = file.runtimes().unwrap();
        assert_eq!(runtimes["crun"].arguments, ["--debug"]);
        assert!(ConfigFile::parse(r#"{"log-driver":"none"}"#).is_err());
        assert!(ConfigFile::parse("").unwrap().default_runtime.is_none());
    }

    #[test]
    fn names_and_paths_are_checked() {
        assert!(runtime("runc", "/usr/bin/runc", Vec::new()).unwrap_err().contains("reserved"));
        assert!(runtime("x", "a/b", Vec::new()).is_err());
        assert!(runtime("x", "no-such-program-anywhere", Vec::new()).is_err());
        assert_eq!(runtime("x", "sh", Vec::new()).unwrap().path.file_name().unwrap(), "sh");
    }
}
