//! `--security-opt`.

use corten_std::file;

/// What the options come to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Security {
    /// For the daemon; a seccomp profile's file has been replaced by its content.
    pub(crate) options: Vec<String>,
    /// `systempaths=unconfined`: nothing is masked or read-only.
    pub(crate) unconfined_paths: bool,
}

/// Reads all of them.
pub(crate) fn parse(flags: &[String]) -> Result<Security, String> {
    let mut security = Security::default();
    for flag in flags {
        if flag == "systempaths=unconfined" {
            security.unconfined_paths = true;
            continue;
        }
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag.as_str(), None),
        };
        match (name, value) {
            ("no-new-privileges", _) => security.options.push(flag.clone()),
            (_, None) if !flag.contains(':') => return Err(format!("invalid --security-opt: {flag:?}")),
            ("seccomp", Some(path)) if !matches!(path, "unconfined" | "builtin") => {
                let text = file::read_to_string(path)
                    .map_err(|error| format!("opening seccomp profile ({path}) failed: {}", corten_std::chain(&error)))?;
                let profile: serde_json::Value = serde_json::from_str(&text)
                    .map_err(|error| format!("compacting json for seccomp profile ({path}) failed: {error}"))?;
                security.options.push(format!("seccomp={profile}"));
            }
            _ => security.options.push(flag.clone()),
        }
    }
    Ok(security)
}
