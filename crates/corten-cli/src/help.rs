//! Help texts in Docker's layout, made from the declarations.

use crate::command::{ENTRIES, GROUPS};
use crate::entry::{Entry, is_switch};
use crate::error::CliError;
use clap::{Arg, ArgAction, Command};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Lines are broken at this column where the terminal is not known.
const WIDTH: usize = 80;

/// The help of one command, as the "error" that ends it with code 0.
pub(crate) fn of_command(entry: &Entry, typed: &str, declared: &Command) -> CliError {
    let program = typed.split(' ').next().unwrap_or_default();
    let mut text = format!("Usage:  {typed} {}\n", entry.usage);
    if let Some(about) = declared.get_long_about().or(declared.get_about()) {
        let _ = write!(text, "\n{about}\n");
    }
    if !entry.aliases.is_empty() {
        let names = std::iter::once(&entry.name).chain(entry.aliases);
        let names: Vec<String> = names.map(|name| format!("{program} {name}")).collect();
        let _ = write!(text, "\nAliases:\n  {}\n", names.join(", "));
    }
    let flags = flags(declared, Some(WIDTH));
    if !flags.is_empty() {
        let _ = write!(text, "\nOptions:\n{flags}");
    }
    CliError::Said { text: text.trim_end().to_owned(), code: HELP }
}

/// The code that says "this is help, to be printed as data". Exit codes of programs are below 256, and this one is
/// never used as such.
pub(crate) const HELP: u8 = 255;

/// The help of a group, as in `docker volume`.
pub(crate) fn of_group(program: &str, group: &str) -> Option<String> {
    let (_, about) = GROUPS.iter().find(|(name, _)| *name == group)?;
    let rows: Vec<(String, String)> = ENTRIES
        .iter()
        .filter_map(|entry| {
            let name = entry.name.strip_prefix(group)?.strip_prefix(' ')?;
            if (entry.command)().is_hide_set() {
                return None;
            }
            Some((name.to_owned(), about_of(entry)))
        })
        .collect();
    Some(format!(
        "Usage:  {program} {group} COMMAND\n\n{about}\n\nCommands:\n{}\nRun '{program} {group} COMMAND --help' for more information on a command.",
        table(&rows)
    ))
}

/// The names of a group's commands that are shown.
pub(crate) fn names_of_group(group: &str) -> Vec<String> {
    let shown = ENTRIES.iter().filter(|entry| !(entry.command)().is_hide_set());
    shown.filter_map(|entry| Some(entry.name.strip_prefix(group)?.strip_prefix(' ')?.to_owned())).collect()
}

/// The names of the commands that stand alone.
pub(crate) fn names_of_program() -> Vec<String> {
    let names = ENTRIES.iter().filter_map(short);
    names.chain(std::iter::once("daemon".to_owned())).collect()
}

/// The commands that stand alone, with their texts.
pub(crate) fn shown_commands() -> Vec<(String, String)> {
    ENTRIES.iter().filter_map(|entry| Some((short(entry)?, about_of(entry)))).collect()
}

/// A command's name without a group.
fn short(entry: &Entry) -> Option<String> {
    std::iter::once(&entry.name)
        .chain(entry.aliases)
        .find(|name| !name.contains(' '))
        .map(|name| (*name).to_owned())
}

/// The help of the program, with the plugins' names and texts.
pub(crate) fn of_program(program: &str, plugins: &BTreeMap<String, String>) -> String {
    const COMMON: &[&str] = &[
        "run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "search", "version",
        "info",
    ];
    let mut rows = shown_commands();
    if program == "corten" {
        rows.push((
            "daemon".to_owned(),
            "Run the daemon in the foreground (other commands start it when none runs)".to_owned(),
        ));
    }
    rows.sort();
    let common: Vec<_> =
        COMMON.iter().filter_map(|name| rows.iter().find(|(other, _)| other == name).cloned()).collect();
    rows.retain(|(name, _)| !COMMON.contains(&name.as_str()));
    let mut groups: Vec<_> =
        GROUPS.iter().map(|(name, about)| ((*name).to_owned(), (*about).to_owned())).collect();
    groups.extend(plugins.iter().map(|(name, about)| (format!("{name}*"), about.clone())));
    groups.sort();
    let global = flags(&<crate::invocation::GlobalOptions as clap::CommandFactory>::command(), Some(WIDTH));
    format!(
        "Usage:  {program} [OPTIONS] COMMAND\n\nA container platform in one program\n\n\
         Common Commands:\n{}\nManagement Commands:\n{}\nCommands:\n{}\nGlobal Options:\n{global}\n\
         Run '{program} COMMAND --help' for more information on a command.",
        table(&common),
        table(&groups),
        table(&rows),
    )
}

/// A command's text.
pub(crate) fn about_of(entry: &Entry) -> String {
    (entry.command)().get_about().map(ToString::to_string).unwrap_or_default()
}

fn table(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(11);
    rows.iter().fold(String::new(), |mut text, (name, about)| {
        let _ = writeln!(text, "  {name:width$} {about}");
        text
    })
}

/// The flags' part: name, kind of value, text, default; sorted by long name. Without a width nothing is broken.
pub(crate) fn flags(declared: &Command, width: Option<usize>) -> String {
    let mut rows: Vec<(String, String, String)> = declared
        .get_arguments()
        .filter(|argument| !argument.is_positional() && !argument.is_hide_set())
        .filter_map(|argument| {
            let long = argument.get_long()?;
            let short = argument.get_short().map_or("    ".to_owned(), |letter| format!("-{letter}, "));
            let kind = if is_switch(argument) || matches!(argument.get_action(), ArgAction::SetTrue) {
                String::new()
            } else {
                format!(" {}", kind_of(argument))
            };
            Some((long.to_owned(), format!("  {short}--{long}{kind}"), text_of(argument)))
        })
        .collect();
    rows.sort();
    let column = rows.iter().map(|(_, name, _)| name.chars().count()).max().unwrap_or(0) + 3;
    let mut text = String::new();
    for (_, name, about) in rows {
        let lines = wrap(&about, width.map_or(usize::MAX, |width| width.saturating_sub(column).max(24)));
        for (number, line) in lines.iter().enumerate() {
            let left = if number == 0 { name.as_str() } else { "" };
            let _ = writeln!(text, "{}", format!("{left:column$}{line}").trim_end());
        }
    }
    text
}

fn kind_of(argument: &Arg) -> String {
    match argument.get_value_names() {
        // A declaration that names no kind gets the field's name from clap, which says nothing to people.
        Some([name, ..]) if name.chars().any(char::is_lowercase) => name.to_string(),
        _ if matches!(argument.get_action(), ArgAction::Append) => "list".to_owned(),
        _ => "string".to_owned(),
    }
}

fn text_of(argument: &Arg) -> String {
    let mut text = argument.get_help().map(ToString::to_string).unwrap_or_default();
    if let Some(default) = argument.get_default_values().first()
        && default != "false"
        && !default.is_empty()
        && !argument.is_hide_default_value_set()
    {
        let default = default.to_string_lossy();
        let plain = default == "true" || default.parse::<f64>().is_ok();
        let _ = if plain {
            write!(text, " (default {default})")
        } else {
            write!(text, " (default \"{default}\")")
        };
    }
    text
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}
