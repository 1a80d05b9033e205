//! `NAME=value` lists, on the command line and in files.

use crate::error::{CliError, Result};
use corten_std::file;
use std::collections::BTreeMap;
use std::path::Path;

/// Variables from files and flags, in that order. A bare name stands for the client's own value; one that the client
/// does not have is passed on bare from a flag and left out from a file.
pub(crate) fn variables(files: &[String], flags: &[String]) -> Result<Vec<String>> {
    let mut variables = Vec::new();
    for path in files {
        read_file(path, "env", &mut |name, whole| {
            if whole.contains('=') {
                variables.push(whole.to_owned());
            } else if let Ok(value) = std::env::var(name) {
                variables.push(format!("{name}={value}"));
            }
        })?;
    }
    for flag in flags {
        variables.push(match std::env::var(flag) {
            Ok(value) if !flag.contains('=') => format!("{flag}={value}"),
            _ => flag.clone(),
        });
    }
    Ok(variables)
}

/// Labels from files and flags, in that order.
pub(crate) fn labels(files: &[String], flags: &[String]) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for path in files {
        read_file(path, "label", &mut |_, whole| {
            let (name, value) = pair(whole);
            labels.insert(name, value);
        })?;
    }
    labels.extend(map(flags));
    Ok(labels)
}

/// A list of `NAME=value` as a map; a bare name has an empty value.
pub(crate) fn map(list: &[String]) -> BTreeMap<String, String> {
    list.iter().map(|entry| pair(entry)).collect()
}

/// A variable as a flag: it must have a name.
pub(crate) fn variable(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('=') {
        return Err(format!("invalid environment variable: {text}"));
    }
    Ok(text.to_owned())
}

/// A label as a flag: it must have a name, without spaces but for those that stand before it.
pub(crate) fn label(text: &str) -> Result<String, String> {
    const SPACES: [char; 2] = [' ', '\t'];
    let name = pair(text).0;
    match name.trim_start_matches(SPACES) {
        "" => Err(format!("invalid label '{text}': empty name")),
        rest if rest.contains(SPACES) => Err(format!("label '{name}' contains whitespaces")),
        _ => Ok(text.to_owned()),
    }
}

/// A storage option as a flag: it must have a value.
pub(crate) fn has_value(text: &str) -> bool {
    text.contains('=')
}

fn pair(entry: &str) -> (String, String) {
    let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
    (name.to_owned(), value.to_owned())
}

/// Calls `take` with name and whole line for every line that counts.
fn read_file(path: &str, what: &str, take: &mut dyn FnMut(&str, &str)) -> Result<()> {
    let bytes = file::read(Path::new(path)).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => CliError::said(format!("open {path}: no such file or directory")),
        _ => error.into(),
    })?;
    let bad = |why: String| CliError::said(format!("invalid {what} file ({path}): {why}"));
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = String::from_utf8_lossy(&bytes[..error.valid_up_to()]).matches('\n').count() + 1;
        bad(format!("invalid utf8 bytes at line {line}"))
    })?;
    for line in text.strip_prefix('\u{feff}').unwrap_or(text).lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        if name.contains([' ', '\t']) {
            return Err(bad(format!("variable '{name}' contains whitespaces")));
        }
        if name.is_empty() {
            return Err(bad(format!("no variable name on line '{line}'")));
        }
        take(name, line);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(content: &str, check: impl FnOnce(&[String])) {
        static COUNTER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("corten-cli-values-{}-{number}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        check(&[path.to_string_lossy().into_owned()]);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn files_come_before_flags() {
        with_file("# comment\n\nA=plain\nB=\"quoted\"\n  C=x y\nNOT_SET_ANYWHERE\n", |files| {
            let got = variables(files, &["A=flag".to_owned(), "NOT_SET_EITHER".to_owned()]).unwrap();
            assert_eq!(got, ["A=plain", "B=\"quoted\"", "C=x y", "A=flag", "NOT_SET_EITHER"]);
            let got = labels(files, &["A=flag".to_owned(), "bare".to_owned()]).unwrap();
            assert_eq!(got["A"], "flag");
            assert_eq!(got["bare"], "");
            assert_eq!(got["NOT_SET_ANYWHERE"], "");
        });
    }

    #[test]
    fn mistakes_name_the_line() {
        with_file("BAD NAME=x\n", |files| {
            let text = variables(files, &[]).unwrap_err().text();
            assert!(text.contains("variable 'BAD NAME' contains whitespaces"), "{text}");
        });
        with_file("=x\n", |files| {
            let text = variables(files, &[]).unwrap_err().text();
            assert!(text.contains("no variable name on line '=x'"), "{text}");
        });
        assert!(
            variables(&["/no/such".to_owned()], &[])
                .unwrap_err()
                .text()
                .contains("no such file or directory")
        );
        assert_eq!(variable("=x").unwrap_err(), "invalid environment variable: =x");
    }
}
