//! Every flag of the daemon, declared once: its spellings, its key in the file of settings, its help and what it does.

mod containers;
mod network;
mod process;
mod registries;

use super::values::invalid;
use super::{Settings, SettingsError};
use std::fmt::Write;

/// What a flag takes; the word stands for its value in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Nothing, or `=true` and `=false`.
    Switch,
    /// One value; a later one wins.
    Value(&'static str),
    /// One value each time.
    List(&'static str),
}

/// One flag.
#[derive(Debug)]
pub(crate) struct Flag {
    /// With its two dashes.
    pub(crate) name: &'static str,
    /// Shorter spellings, with their dash.
    short: &'static [&'static str],
    /// The key in `daemon.json`; empty: the file does not have it.
    pub(crate) key: &'static str,
    pub(crate) form: Form,
    /// The help, in lines.
    text: &'static str,
    /// Takes one value; the second argument names the flag, or the key, in errors.
    pub(crate) apply: fn(&mut Settings, &str, &str) -> Result<(), SettingsError>,
}

/// The flag of that spelling.
pub(crate) fn find(name: &str) -> Option<&'static Flag> {
    all().find(|flag| flag.name == name || flag.short.contains(&name))
}

/// The flag of that key.
pub(crate) fn of_key(key: &str) -> Option<&'static Flag> {
    all().find(|flag| !flag.key.is_empty() && flag.key == key)
}

/// The help text of `corten daemon --help`.
pub(crate) fn help() -> String {
    /// Where texts begin.
    const COLUMN: usize = 28;
    let mut help = "\
Usage:  corten daemon [OPTIONS]

Run the daemon. It stays in the foreground; containers go on when it ends.

Options:
"
    .to_owned();
    for flag in all() {
        let short = flag.short.first().map_or_else(|| "    ".to_owned(), |short| format!("{short}, "));
        let value = match flag.form {
            Form::Switch => String::new(),
            Form::Value(word) | Form::List(word) => format!(" {word}"),
        };
        let mut line = format!("  {short}{}{value}", flag.name);
        for text in flag.text.lines() {
            if line.len() + 1 > COLUMN {
                let _ = writeln!(help, "{}", line.trim_end());
                line.clear();
            }
            let _ = writeln!(help, "{line:COLUMN$}{text}");
            line.clear();
        }
    }
    help.push_str(
        "  -v, --version             Print version information and quit

Several daemons side by side need a --data-root, an --exec-root and a --bridge each. The same settings can stand in the
--config-file; SIGHUP to the process of the --pidfile has it read anew.
",
    );
    help
}

const DEFAULT: Flag =
    Flag { name: "", short: &[], key: "", form: Form::Switch, text: "", apply: |_, _, _| Ok(()) };

/// In the order of the help.
fn all() -> impl Iterator<Item = &'static Flag> {
    [process::FLAGS, network::FLAGS, containers::FLAGS, registries::FLAGS].into_iter().flatten()
}

/// Any text but none.
fn word(flag: &str, value: &str) -> Result<String, SettingsError> {
    if value.is_empty() { Err(invalid(flag, value, "a value is missing")) } else { Ok(value.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_and_key_is_there_once_and_has_its_help() {
        let help = help();
        for (index, flag) in all().enumerate() {
            for other in all().take(index) {
                assert_ne!(flag.name, other.name);
                assert!(flag.key.is_empty() || flag.key != other.key, "{}", flag.key);
                assert!(flag.short.iter().all(|short| !other.short.contains(short)), "{}", flag.name);
            }
            assert!(help.contains(&format!("{} ", flag.name)) || help.contains(&format!("{}\n", flag.name)));
        }
        assert!(help.lines().all(|line| line.len() <= 120));
    }
}
