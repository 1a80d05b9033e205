//! What could come next on a command line: the answers behind `completion SHELL`, in the protocol that Docker's shells
//! speak. `__complete WORD… PARTIAL` prints a candidate per line, with its text behind a tab, and last `:NUMBER`: 4 says
//! that files are no candidates, 0 that the shell may add them.

use crate::command::{ENTRIES, GROUPS};
use crate::context::Context;
use crate::entry::{Entry, is_switch, prepare};
use crate::error::Result;
use crate::help;
use crate::plugin;
use clap::{Arg, Command};
use corten_api::filter::Filters;
use corten_client::ListOptions;

/// The command that shells call.
pub(crate) const NAME: &str = "__complete";

/// The shell adds no files.
const NO_FILES: u8 = 4;
/// The shell may add files.
const FILES: u8 = 0;

/// A candidate and its text.
type Candidate = (String, String);

/// Prints the candidates for the last of `words`; `globals` says how many words at the front are global options.
pub(crate) fn run(context: &mut Context, words: &[String], globals: usize) -> Result<u8> {
    let (partial, before) =
        words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let (candidates, directive) = candidates(context, before.get(globals..).unwrap_or_default(), partial);
    for (value, about) in candidates.iter().filter(|(value, _)| value.starts_with(partial)) {
        context.ui.line(if about.is_empty() { value.clone() } else { format!("{value}\t{about}") })?;
    }
    context.ui.line(format!(":{directive}"))?;
    Ok(0)
}

fn candidates(context: &mut Context, before: &[String], partial: &str) -> (Vec<Candidate>, u8) {
    let Some(first) = before.first() else {
        let mut all = if partial.starts_with('-') {
            flags(&<crate::invocation::GlobalOptions as clap::CommandFactory>::command())
        } else {
            commands(context)
        };
        all.sort();
        return (all, NO_FILES);
    };
    let named = |name: &str| ENTRIES.iter().find(|entry| entry.name == name || entry.aliases.contains(&name));
    if let Some(entry) = named(first) {
        return of_command(context, entry, &before[1..], partial);
    }
    match before.get(1) {
        None => (of_group(first), NO_FILES),
        Some(second) => match named(&format!("{first} {second}")) {
            Some(entry) => of_command(context, entry, &before[2..], partial),
            None => (Vec::new(), NO_FILES),
        },
    }
}

/// The words that can come first.
fn commands(context: &mut Context) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = help::shown_commands();
    all.extend(GROUPS.iter().map(|(name, about)| ((*name).to_owned(), (*about).to_owned())));
    all.extend(plugin::list(context));
    all
}

fn of_group(group: &str) -> Vec<Candidate> {
    let about = |name: &String| {
        let full = format!("{group} {name}");
        ENTRIES.iter().find(|entry| entry.name == full).map(help::about_of).unwrap_or_default()
    };
    help::names_of_group(group).into_iter().map(|name| (name.clone(), about(&name))).collect()
}

fn flags(declared: &Command) -> Vec<Candidate> {
    let shown =
        declared.get_arguments().filter(|argument| !argument.is_positional() && !argument.is_hide_set());
    shown
        .filter_map(|argument| {
            let about = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let about = about.lines().next().unwrap_or_default().to_owned();
            Some((format!("--{}", argument.get_long()?), about))
        })
        .collect()
}

/// What can come next in a command: a flag, a flag's value, an argument.
fn of_command(context: &mut Context, entry: &Entry, given: &[String], partial: &str) -> (Vec<Candidate>, u8) {
    let declared = prepare((entry.command)());
    let takes_value = |word: &str| -> Option<&Arg> {
        let found = if let Some(long) = word.strip_prefix("--") {
            declared.get_arguments().find(|argument| argument.get_long() == Some(long))
        } else {
            let letter = word.strip_prefix('-')?.chars().last()?;
            declared.get_arguments().find(|argument| argument.get_short() == Some(letter))
        };
        found.filter(|argument| !is_switch(argument))
    };
    let mut arguments = 0;
    let mut words = given.iter();
    while let Some(word) = words.next() {
        let is_flag = word.starts_with('-') && word.len() > 1;
        if !is_flag {
            arguments += 1;
            continue;
        }
        if let Some(flag) = takes_value(word)
            && words.next().is_none()
        {
            return of_flag(context, flag.get_long().unwrap_or_default());
        }
    }
    if let Some((flag, _)) = partial.split_once('=')
        && partial.starts_with("--")
    {
        let (values, directive) = of_flag(context, &flag[2..]);
        return (
            values.into_iter().map(|(value, about)| (format!("{flag}={value}"), about)).collect(),
            directive,
        );
    }
    if partial.starts_with('-') && (entry.mixed || arguments == 0) {
        let mut all = flags(&declared);
        all.sort();
        return (all, NO_FILES);
    }
    of_argument(context, entry, arguments, given)
}

/// The values of a flag, by its name.
fn of_flag(context: &mut Context, name: &str) -> (Vec<Candidate>, u8) {
    let fixed = |values: &[&str]| (plain(values.iter().copied()), NO_FILES);
    match name {
        "network" | "net" => {
            let (mut all, directive) = objects(context, Noun::Network);
            all.extend(plain(["bridge", "host", "none"]));
            all.sort();
            all.dedup();
            (all, directive)
        }
        "volumes-from" | "link" => objects(context, Noun::Container { running: false }),
        "platform" => fixed(&["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/386", "linux/riscv64"]),
        "restart" => fixed(&["always", "no", "on-failure", "unless-stopped"]),
        "pull" => fixed(&["always", "missing", "never"]),
        "log-driver" => fixed(&["fluentd", "gelf", "journald", "json-file", "local", "none", "syslog"]),
        "pid" | "uts" | "userns" => fixed(&["host"]),
        "ipc" => fixed(&["host", "none", "private", "shareable"]),
        "cgroupns" => fixed(&["host", "private"]),
        "type" => fixed(&["container", "image", "network", "volume"]),
        "cap-add" | "cap-drop" => {
            let all = corten_sys::capability::Capabilities::all().names();
            (
                std::iter::once("ALL".to_owned()).chain(all).map(|name| (name, String::new())).collect(),
                NO_FILES,
            )
        }
        "signal" | "stop-signal" => fixed(&["HUP", "INT", "KILL", "QUIT", "STOP", "TERM", "USR1", "USR2"]),
        "env-file" | "label-file" | "cidfile" | "input" | "output" | "volume" | "mount" | "workdir" => {
            (Vec::new(), FILES)
        }
        _ => (Vec::new(), NO_FILES),
    }
}

/// Kinds of things that arguments name.
#[derive(Clone, Copy)]
enum Noun {
    Container { running: bool },
    Image,
    Network,
    Volume,
}

/// The argument at a place, by the words of the command's usage.
fn of_argument(context: &mut Context, entry: &Entry, place: usize, given: &[String]) -> (Vec<Candidate>, u8) {
    let words = entry.usage.split(' ').filter(|word| *word != "[OPTIONS]" && *word != "|");
    let words: Vec<&str> = words.collect();
    let repeats = words.last().is_some_and(|word| word.ends_with("...]"));
    let word = words.get(place).or_else(|| words.last().filter(|_| repeats)).copied().unwrap_or_default();
    let running = matches!(
        entry.name,
        "container attach"
            | "container exec"
            | "container kill"
            | "container pause"
            | "container port"
            | "container stats"
            | "container stop"
            | "container top"
            | "container unpause"
    );
    let noun = match entry.name {
        "image tag" if place > 1 => return (Vec::new(), NO_FILES),
        "inspect" => {
            let mut all = Vec::new();
            for noun in [Noun::Container { running: false }, Noun::Image, Noun::Network, Noun::Volume] {
                all.extend(objects(context, noun).0);
            }
            return (all, NO_FILES);
        }
        "container cp" => {
            let (all, _) = objects(context, Noun::Container { running: false });
            return (all.into_iter().map(|(name, about)| (format!("{name}:"), about)).collect(), FILES);
        }
        "image import" | "image load" | "image build" => return (Vec::new(), FILES),
        _ if word.contains("CONTAINER") => Noun::Container { running },
        _ if word.contains("IMAGE") => Noun::Image,
        _ if word.contains("NETWORK") => Noun::Network,
        _ if word.contains("VOLUME") => Noun::Volume,
        // What stands behind an image or a container is the container's own.
        _ if !entry.mixed => return (Vec::new(), FILES),
        _ => return (Vec::new(), NO_FILES),
    };
    let (mut all, directive) = objects(context, noun);
    all.retain(|(name, _)| !given.contains(name));
    (all, directive)
}

/// What is there of a kind. A daemon that does not answer has nothing: a shell is no place for its error.
fn objects(context: &mut Context, noun: Noun) -> (Vec<Candidate>, u8) {
    let Ok(client) = context.client() else { return (Vec::new(), NO_FILES) };
    let none = Filters::default();
    let names: Vec<String> = match noun {
        Noun::Container { running } => {
            let found = client.container_list(&ListOptions { all: !running, ..ListOptions::default() });
            let names = found.unwrap_or_default().into_iter().flat_map(|container| container.names);
            names
                .map(|name| name.trim_start_matches('/').to_owned())
                .filter(|name| !name.contains('/'))
                .collect()
        }
        Noun::Image => {
            let found = client.image_list(false, &none).unwrap_or_default();
            let tags = found.into_iter().flat_map(|image| image.repo_tags);
            tags.filter(|tag| !tag.starts_with("<none>"))
                .flat_map(|tag| match tag.strip_suffix(":latest") {
                    Some(short) => vec![short.to_owned(), tag.clone()],
                    None => vec![tag],
                })
                .collect()
        }
        Noun::Network => {
            client.network_list(&none).unwrap_or_default().into_iter().map(|network| network.name).collect()
        }
        Noun::Volume => {
            let found = client.volume_list(&none).map(|list| list.volumes).unwrap_or_default();
            found.into_iter().map(|volume| volume.name).collect()
        }
    };
    let mut all = plain(names);
    all.sort();
    (all, NO_FILES)
}

fn plain(values: impl IntoIterator<Item = impl Into<String>>) -> Vec<Candidate> {
    values.into_iter().map(|value| (value.into(), String::new())).collect()
}
