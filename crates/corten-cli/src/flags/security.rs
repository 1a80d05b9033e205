//! `--security-opt`.

use crate::error::CliError;
use corten_std::file;
use std::collections::BTreeSet;

/// Capabilities to add and to drop as the daemon wants them: upper case, with `CAP_`, sorted, each once.
pub(crate) fn capabilities(add: &[String], drop: &[String]) -> (Vec<String>, Vec<String>) {
    let normal = |names: &[String]| {
        let names = names.iter().map(|name| match name.trim().to_uppercase() {
            name if name == "ALL" || name.starts_with("CAP_") => name,
            name => format!("CAP_{name}"),
        });
        names.collect::<BTreeSet<String>>().into_iter().collect()
    };
    (normal(add), normal(drop))
}

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
            (_, None) if !flag.contains(':') => return Err(format!("Invalid --security-opt: {flag:?}")),
            ("seccomp", Some(path)) if !matches!(path, "unconfined" | "builtin") => {
                let text = file::read_to_string(path).map_err(|error| {
                    let cause = CliError::open(path, &error).text();
                    format!("opening seccomp profile ({path}) failed: {cause}")
                })?;
                let profile: serde_json::Value = serde_json::from_str(&text).map_err(|error| {
                    format!("compacting json for seccomp profile ({path}) failed: {error}")
                })?;
                security.options.push(format!("seccomp={profile}"));
            }
            _ => security.options.push(flag.clone()),
        }
    }
    Ok(security)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(add: &[&str], drop: &[&str], expected: &str) {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (add, drop) = capabilities(&owned(add), &owned(drop));
        assert_eq!(format!("+{} -{}", add.join(","), drop.join(",")), expected);
    }

    #[test]
    fn capabilities_have_one_spelling() {
        check(
            &["sys_time", "CAP_NET_ADMIN", "SYS_TIME"],
            &["chown"],
            "+CAP_NET_ADMIN,CAP_SYS_TIME -CAP_CHOWN",
        );
        check(&["net_raw"], &["all"], "+CAP_NET_RAW -ALL");
        check(&["ALL", "chown"], &["CHOWN"], "+ALL,CAP_CHOWN -CAP_CHOWN");
        check(&["chown"], &["CAP_CHOWN"], "+CAP_CHOWN -CAP_CHOWN");
    }

    #[test]
    fn open_system_paths_are_told_apart() {
        let flags = ["systempaths=unconfined", "no-new-privileges", "seccomp=unconfined"].map(str::to_owned);
        let security = parse(&flags).unwrap();
        assert!(security.unconfined_paths);
        assert_eq!(security.options, ["no-new-privileges", "seccomp=unconfined"]);
        assert!(parse(&["nonsense".to_owned()]).is_err());
        assert!(parse(&["seccomp=/no/such/file".to_owned()]).unwrap_err().contains("/no/such/file"));
    }
}
