//! What a command is, and how its words become its arguments.
//!
//! Flags are declared with clap, a struct per command; the words are split here the way Docker's command line splits
//! them (single-dash bundles, `--flag=false`, values that begin with a dash, `run` stopping at IMAGE), and given to
//! clap one clear `--name=value` at a time.

use crate::context::Context;
use crate::error::{CliError, Result};
use crate::help;
use crate::nearest::nearest;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches};
use std::ffi::OsString;
use std::fmt::Write as _;

/// How many arguments, flags not counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    /// Any number.
    Any,
    /// None at all.
    None,
    /// Just so many.
    Exact(usize),
    /// So many or more.
    Min(usize),
    /// So many or fewer.
    Max(usize),
    /// From so many to so many.
    Range(usize, usize),
}

/// One command of the table.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its full name, as in `container run`.
    pub(crate) name: &'static str,
    /// Its other full names, as in `ps`, `container list`.
    pub(crate) aliases: &'static [&'static str],
    /// What follows the name in the usage line.
    pub(crate) usage: &'static str,
    /// How many arguments.
    pub(crate) count: Count,
    /// Whether flags may stand behind arguments; where not, everything behind the first argument is the container's.
    pub(crate) mixed: bool,
    /// The declaration, for help and completion.
    pub(crate) command: fn() -> Command,
    /// What it does; gives the exit code.
    pub(crate) run: fn(&mut Context, Words<'_>) -> Result<u8>,
}

/// The words of one invocation, with the entry they are for.
#[derive(Debug)]
pub(crate) struct Words<'a> {
    /// Which command.
    pub(crate) entry: &'a Entry,
    /// What was typed for it, as in `docker ps`.
    pub(crate) typed: String,
    /// What follows.
    pub(crate) rest: Vec<OsString>,
}

impl Words<'_> {
    /// The arguments as the command declares them.
    pub(crate) fn parse<T: CommandFactory + FromArgMatches>(self) -> Result<T> {
        let declared = prepare(T::command());
        let words = self.split(&declared)?;
        let mut declared = declared;
        let matches =
            declared.try_get_matches_from_mut(words).map_err(|error| self.clap_error(&declared, &error))?;
        T::from_arg_matches(&matches).map_err(|error| CliError::said(error.to_string()))
    }

    /// Splits the words into clear ones: the command's name, `--flag=value` each, `--`, arguments.
    fn split(&self, declared: &Command) -> Result<Vec<String>> {
        let mut flags = vec![String::new()];
        let mut arguments = Vec::new();
        let mut words = self.rest.iter();
        let text = |word: &OsString| -> Result<String> {
            word.to_str().map(str::to_owned).ok_or_else(|| {
                self.flag_error(&format!("the argument `{}` is not valid UTF-8", word.to_string_lossy()))
            })
        };
        let mut only_arguments = false;
        while let Some(word) = words.next() {
            let word = text(word)?;
            if only_arguments || word == "-" || !word.starts_with('-') {
                arguments.push(word);
                only_arguments |= !self.entry.mixed;
            } else if word == "--" {
                only_arguments = true;
            } else if let Some(long) = word.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (long, None),
                };
                if name == "help" {
                    return Err(help::of_command(self.entry, &self.typed, declared));
                }
                let Some(argument) = declared.get_arguments().find(|argument| has_long(argument, name))
                else {
                    return Err(self.unknown_flag(declared, name));
                };
                let name = argument.get_long().unwrap_or(name);
                let value = match value {
                    Some(value) => value,
                    None if is_switch(argument) => "true".to_owned(),
                    None => match words.next() {
                        Some(next) => text(next)?,
                        None => return Err(self.flag_error(&format!("flag needs an argument: --{name}"))),
                    },
                };
                flags.push(format!("--{name}={value}"));
            } else {
                self.split_bundle(declared, &word, &mut words, &mut flags)?;
            }
        }
        self.check_count(arguments.len())?;
        flags.push("--".to_owned());
        flags.extend(arguments);
        Ok(flags)
    }

    /// Splits `-it`, `-n5`, `-n=5`, `-n 5`.
    fn split_bundle(
        &self,
        declared: &Command,
        word: &str,
        words: &mut std::slice::Iter<'_, OsString>,
        flags: &mut Vec<String>,
    ) -> Result<()> {
        let mut rest = &word[1..];
        while let Some(letter) = rest.chars().next() {
            let after = &rest[letter.len_utf8()..];
            let Some(argument) =
                declared.get_arguments().find(|argument| argument.get_short() == Some(letter))
            else {
                if letter == 'h' {
                    return Err(help::of_command(self.entry, &self.typed, declared));
                }
                return Err(self.flag_error(&format!("unknown shorthand flag: '{letter}' in -{rest}")));
            };
            let name = argument.get_long().unwrap_or_default();
            if is_switch(argument) {
                if let Some(value) = after.strip_prefix('=') {
                    flags.push(format!("--{name}={value}"));
                    return Ok(());
                }
                flags.push(format!("--{name}=true"));
                rest = after;
                continue;
            }
            let value = if after.is_empty() {
                let Some(next) = words.next().and_then(|next| next.to_str()) else {
                    let text = format!("flag needs an argument: '{letter}' in -{rest}");
                    return Err(self.flag_error(&text));
                };
                next
            } else {
                after.strip_prefix('=').unwrap_or(after)
            };
            flags.push(format!("--{name}={value}"));
            return Ok(());
        }
        Ok(())
    }

    fn check_count(&self, given: usize) -> Result<()> {
        let plural = |count: usize| if count == 1 { "argument" } else { "arguments" };
        let wanted = match self.entry.count {
            Count::None if given > 0 => "accepts no arguments".to_owned(),
            Count::Exact(count) if given != count => format!("requires {count} {}", plural(count)),
            Count::Min(count) if given < count => format!("requires at least {count} {}", plural(count)),
            Count::Max(count) if given > count => format!("requires at most {count} {}", plural(count)),
            Count::Range(least, most) if given < least || given > most => {
                format!("requires at least {least} and at most {most} {}", plural(most))
            }
            _ => return Ok(()),
        };
        let program = self.typed.split(' ').next().unwrap_or_default();
        let word = if matches!(self.entry.count, Count::Min(_)) { "See" } else { "Run" };
        Err(CliError::said(format!(
            "{program}: '{typed}' {wanted}\n\nUsage:  {typed} {usage}\n\n{word} '{typed} --help' for more information",
            typed = self.typed,
            usage = self.entry.usage,
        )))
    }

    fn unknown_flag(&self, declared: &Command, name: &str) -> CliError {
        let shown = declared.get_arguments().filter(|argument| !argument.is_hide_set());
        let mut error = self.flag_error(&format!("unknown flag: --{name}"));
        if let Some(meant) = nearest(name, shown.filter_map(Arg::get_long))
            && let CliError::Said { text, .. } = &mut error
        {
            let _ = write!(text, "\nhint: did you mean `--{meant}`?");
        }
        error
    }

    /// A flag that cannot be understood: said with the usage, exit code 125.
    pub(crate) fn flag_error(&self, what: &str) -> CliError {
        CliError::Said {
            text: format!(
                "{what}\n\nUsage:  {typed} {usage}\n\nRun '{typed} --help' for more information",
                typed = self.typed,
                usage = self.entry.usage,
            ),
            code: 125,
        }
    }

    /// clap's refusal of a value, in Docker's words.
    fn clap_error(&self, declared: &Command, error: &clap::Error) -> CliError {
        let context = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => Some(text.as_str()),
            _ => None,
        };
        let (Some(flag), Some(value)) =
            (context(ContextKind::InvalidArg), context(ContextKind::InvalidValue))
        else {
            return self.flag_error(error.to_string().trim());
        };
        let long = flag.trim_start_matches('-').split([' ', '=', '[']).next().unwrap_or_default();
        let short = declared
            .get_arguments()
            .find(|argument| argument.get_long() == Some(long))
            .and_then(Arg::get_short)
            .map(|letter| format!("-{letter}, "))
            .unwrap_or_default();
        let why =
            std::error::Error::source(error).map_or_else(|| error.kind().to_string(), ToString::to_string);
        self.flag_error(&format!("invalid argument \"{value}\" for \"{short}--{long}\" flag: {why}"))
    }
}

fn has_long(argument: &Arg, name: &str) -> bool {
    argument.get_long() == Some(name)
        || argument.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
}

/// Whether a flag takes no value unless written with `=`.
pub(crate) fn is_switch(argument: &Arg) -> bool {
    argument.get_num_args().is_some_and(|range| range.min_values() == 0) && !argument.is_positional()
}

/// Gives every flag the habits of Docker's: switches take `=false`, the last of several values wins.
pub(crate) fn prepare(command: Command) -> Command {
    command.disable_help_flag(true).disable_version_flag(true).args_override_self(true).mut_args(|argument| {
        match argument.get_action() {
            ArgAction::SetTrue => {
                let on = argument.get_default_values().first().is_some_and(|value| value == "true");
                argument
                    .action(ArgAction::Set)
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true")
                    .default_value(if on { "true" } else { "false" })
                    .value_parser(go_bool)
            }
            _ if argument.is_positional() => argument.allow_hyphen_values(true),
            _ => argument.require_equals(true).allow_hyphen_values(true),
        }
    })
}

/// Truth as Go's `strconv.ParseBool` reads it.
fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing \"{text}\": invalid syntax")),
    }
}
