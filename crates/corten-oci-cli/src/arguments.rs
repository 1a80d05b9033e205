//! Words to values, as runc reads them: `--flag value`, `--flag=value`, `-f value`, switches with `=true` or
//! `=false`; a flag may have one dash or two. What is no flag is positional; behind the first positional word of a
//! command that runs one, everything is.

use std::ffi::OsString;
use std::fmt::Write;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing, or `=true`, `=false`.
    Switch,
    /// A value; the last one counts.
    Value,
    /// A value; all count.
    List,
}

/// One flag of a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    short: Option<char>,
    kind: Kind,
    about: &'static str,
}

impl Flag {
    pub(crate) const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, short: None, kind, about }
    }

    pub(crate) const fn short(self, letter: char) -> Self {
        Self { short: Some(letter), ..self }
    }

    fn is(&self, name: &str) -> bool {
        let mut letters = name.chars();
        self.name == name
            || (self.short.is_some() && self.short == letters.next() && letters.next().is_none())
    }
}

/// Flags and positional words of one call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arguments {
    flags: Vec<(&'static str, String)>,
    /// What is no flag.
    pub(crate) words: Vec<String>,
}

impl Arguments {
    /// Flags up to the first positional word; the rest is given back.
    pub(crate) fn parse_leading<'words>(
        table: &[Flag],
        words: &'words [OsString],
    ) -> Result<(Self, &'words [OsString]), String> {
        let mut parsed = Self::default();
        let mut at = 0;
        while let Some(word) = words.get(at) {
            let text = word.to_string_lossy();
            if !is_flag(&text) {
                break;
            }
            at += parsed.take(table, &text, words.get(at + 1))?;
        }
        Ok((parsed, &words[at.min(words.len())..]))
    }

    /// Flags first, then positional words: as in runc, no flag is one behind a positional word, or behind `--`.
    pub(crate) fn parse(table: &[Flag], words: &[OsString]) -> Result<Self, String> {
        let (mut parsed, mut rest) = Self::parse_leading(table, words)?;
        if rest.first().is_some_and(|word| word == "--") {
            rest = &rest[1..];
        }
        for word in rest {
            let word = word
                .to_str()
                .ok_or_else(|| format!("the argument {} is not valid UTF-8", word.to_string_lossy()))?;
            parsed.words.push(word.to_owned());
        }
        Ok(parsed)
    }

    /// Takes one flag; how many words it was.
    fn take(&mut self, table: &[Flag], text: &str, next: Option<&OsString>) -> Result<usize, String> {
        let name = text.trim_start_matches('-');
        let (name, inline) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        let flag = table
            .iter()
            .find(|flag| flag.is(name))
            .ok_or_else(|| format!("flag provided but not defined: -{name}"))?;
        if flag.kind == Kind::Switch {
            let value = inline.unwrap_or_else(|| "true".to_owned());
            if !matches!(value.as_str(), "true" | "false" | "1" | "0" | "t" | "f") {
                return Err(format!("invalid boolean value {value:?} for -{name}: parse error"));
            }
            self.flags.push((flag.name, value));
            return Ok(1);
        }
        let (value, count) = match (inline, next) {
            (Some(value), _) => (value, 1),
            (None, Some(next)) => (next.to_string_lossy().into_owned(), 2),
            (None, None) => return Err(format!("flag needs an argument: -{name}")),
        };
        self.flags.push((flag.name, value));
        Ok(count)
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| matches!(value, "true" | "1" | "t"))
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let found = self.flags.iter().filter(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone()).collect()
    }

    /// A value as a number.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        self.value(name)
            .filter(|value| !value.is_empty())
            .map(|value| {
                value.parse().map_err(|_| format!("invalid value {value:?} for flag -{name}: parse error"))
            })
            .transpose()
    }
}

fn is_flag(text: &str) -> bool {
    text.len() > 1 && text.starts_with('-') && text != "--"
}

/// The flags for people.
pub(crate) fn table(flags: &[Flag]) -> String {
    let mut text = String::new();
    for flag in flags {
        let short = flag.short.map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
        let value = if flag.kind == Kind::Switch { "" } else { " value" };
        let name = format!("{short}--{}{value}", flag.name);
        let _ = writeln!(text, "  {name:<32}  {}", flag.about);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        Flag::new("bundle", Kind::Value, "").short('b'),
        Flag::new("detach", Kind::Switch, "").short('d'),
        Flag::new("env", Kind::List, "").short('e'),
    ];

    fn parse(line: &str) -> Result<Arguments, String> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        Arguments::parse(FLAGS, &words)
    }

    #[test]
    fn words_become_flags_and_the_rest() {
        let arguments = parse("-b /x --detach --env A=1 -e B=2 name ls -b --detach").unwrap();
        assert_eq!(arguments.value("bundle"), Some("/x"));
        assert!(arguments.is_set("detach"));
        assert_eq!(arguments.list("env"), ["A=1", "B=2"]);
        assert_eq!(arguments.words, ["name", "ls", "-b", "--detach"]);
        assert_eq!(parse("--bundle=/y -- -x").unwrap().words, ["-x"]);
        assert!(!parse("--detach=false x").unwrap().is_set("detach"));
    }

    #[test]
    fn mistakes_are_named_as_runc_names_them() {
        assert_eq!(parse("--nope").unwrap_err(), "flag provided but not defined: -nope");
        assert_eq!(parse("--bundle").unwrap_err(), "flag needs an argument: -bundle");
    }
}
