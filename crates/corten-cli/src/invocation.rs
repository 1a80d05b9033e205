//! From the words of the process to one command of the table.

use crate::command::{ENTRIES, GROUPS};
use crate::completion;
use crate::context::Context;
use crate::entry::{Entry, Words};
use crate::error::CliError;
use crate::help::{self, HELP};
use crate::nearest::nearest;
use crate::plugin;
use clap::Parser;
use std::ffi::OsString;
use std::path::Path;

/// Commands and plug-ins of Docker's that are not there yet, and are not in the help either.
const UNBUILT: &[&str] = &[
    "builder",
    "buildx",
    "checkpoint",
    "compose",
    "config",
    "node",
    "scout",
    "secret",
    "service",
    "stack",
    "swarm",
    "trust",
];

/// Options that stand before the command.
#[derive(Debug, Default, Parser)]
pub(crate) struct GlobalOptions {
    /// Location of client config files
    #[arg(long, value_name = "string")]
    pub(crate) config: Option<String>,
    /// Name of the context to use to connect to the daemon (overrides DOCKER_HOST env var and the default context)
    #[arg(short, long, value_name = "string")]
    pub(crate) context: Option<String>,
    /// Enable debug mode
    #[arg(short = 'D', long)]
    pub(crate) debug: bool,
    /// Daemon socket to connect to
    #[arg(short = 'H', long, value_name = "string")]
    pub(crate) host: Option<String>,
    /// Set the logging level ("debug", "info", "warn", "error", "fatal")
    #[arg(short, long, value_name = "string", default_value = "info")]
    pub(crate) log_level: String,
    /// Use TLS; implied by --tlsverify
    #[arg(long)]
    pub(crate) tls: bool,
    /// Trust certs signed only by this CA
    #[arg(long, value_name = "string")]
    pub(crate) tlscacert: Option<String>,
    /// Path to TLS certificate file
    #[arg(long, value_name = "string")]
    pub(crate) tlscert: Option<String>,
    /// Path to TLS key file
    #[arg(long, value_name = "string")]
    pub(crate) tlskey: Option<String>,
    /// Use TLS and verify the remote
    #[arg(long)]
    pub(crate) tlsverify: bool,
    /// Print version information and quit
    #[arg(short, long)]
    pub(crate) version: bool,
}

/// What `--log-level` can be; none where there are no global options.
const LEVELS: [&str; 9] = ["", "trace", "debug", "info", "warn", "warning", "error", "fatal", "panic"];

/// Runs one command; gives the exit code.
pub(crate) fn run(arguments: Vec<OsString>) -> u8 {
    let mut words = arguments.into_iter();
    let called = words
        .next()
        .as_deref()
        .and_then(|path| Path::new(path).file_name()?.to_str().map(str::to_owned))
        .unwrap_or_default();
    let program = if called == "docker" { "docker" } else { "corten" }.to_owned();
    let mut words: Vec<OsString> = words.collect();
    let count = global_words(&words);
    plugin::without_own_name(&called, &mut words, count);
    let (before, after) = words.split_at(count);
    let options =
        if before.is_empty() { Ok(GlobalOptions::default()) } else { global_options(&program, before) };
    let (mut context, result) = match options {
        Ok(options) if !LEVELS.contains(&options.log_level.to_ascii_lowercase().as_str()) => {
            let error = CliError::said(format!("Unable to parse logging level: {}", options.log_level));
            (Context::new(program, GlobalOptions::default()), Err(error))
        }
        Ok(options) => {
            let version = options.version;
            let mut context = Context::new(program, options);
            let result =
                if version { print_version(&mut context) } else { dispatch(&mut context, &words, after) };
            (context, result)
        }
        Err(error) => (Context::new(program, GlobalOptions::default()), Err(error)),
    };
    let result = result.and_then(|code| context.ui.flush().map(|()| code));
    finish(&mut context, result)
}

fn finish(context: &mut Context, result: Result<u8, CliError>) -> u8 {
    match result {
        Ok(code) => code,
        Err(CliError::Said { text, code: HELP }) => {
            match context.ui.line(text).and_then(|()| context.ui.flush()) {
                Ok(()) => 0,
                Err(_) => 1,
            }
        }
        // The reader of a pipe has all it wanted.
        Err(CliError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => 1,
        Err(error) => {
            context.ui.error(&error);
            error.code()
        }
    }
}

/// So many words at the front are global options with their values.
fn global_words(words: &[OsString]) -> usize {
    const WITH_VALUE: &[&str] = &[
        "--config",
        "--context",
        "-c",
        "--host",
        "-H",
        "--log-level",
        "-l",
        "--tlscacert",
        "--tlscert",
        "--tlskey",
    ];
    let mut at = 0;
    while let Some(word) = words.get(at).and_then(|word| word.to_str()).filter(|word| word.starts_with('-')) {
        at += if WITH_VALUE.contains(&word) { 2 } else { 1 };
    }
    at.min(words.len())
}

fn global_options(program: &str, words: &[OsString]) -> Result<GlobalOptions, CliError> {
    static GLOBAL: Entry = Entry {
        name: "",
        aliases: &[],
        usage: "[OPTIONS] COMMAND [ARG...]",
        count: crate::entry::Count::None,
        mixed: true,
        command: <GlobalOptions as clap::CommandFactory>::command,
        run: |_, _| Ok(0),
    };
    let given = |rest| Words { entry: &GLOBAL, typed: program.to_owned(), rest };
    given(words.to_vec()).parse().map_err(|error| match error {
        CliError::Said { code: HELP, .. } => {
            // The plugins are those of the configuration that is named beside.
            let others = words.iter().filter(|word| *word != "--help" && *word != "-h").cloned().collect();
            let options = given(others).parse().unwrap_or_default();
            let mut context = Context::new(program.to_owned(), options);
            let plugins = plugin::list(&mut context);
            CliError::Said { text: help::of_program(program, &plugins), code: HELP }
        }
        other => other,
    })
}

fn print_version(context: &mut Context) -> Result<u8, CliError> {
    let name = if context.program == "docker" { "Docker" } else { "Corten" };
    context.ui.line(format!("{name} version {}, build corten", env!("CARGO_PKG_VERSION")))?;
    Ok(0)
}

/// Runs the command that `words` begin with; `all` is the whole command line.
fn dispatch(context: &mut Context, all: &[OsString], words: &[OsString]) -> Result<u8, CliError> {
    let program = context.program.clone();
    let text = |at: usize| words.get(at).and_then(|word| word.to_str()).unwrap_or_default();
    let first = text(0);
    if first.is_empty() {
        // Nobody asked for the help: it is not data.
        let plugins = plugin::list(context);
        context.ui.note(help::of_program(&program, &plugins));
        return Ok(0);
    }
    if first == "help" {
        return dispatch_help(context, all, &words[1..]);
    }
    if first == completion::NAME {
        let words: Vec<String> = words[1..].iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let before: Vec<OsString> = words.iter().map(OsString::from).collect();
        let globals = global_words(&before[..before.len().saturating_sub(1)]);
        // Candidates come from the daemon that the line itself means.
        if let Ok(options) = global_options(&program, &before[..globals]) {
            let mut meant = Context::new(program, options);
            completion::run(&mut meant, &words, globals)?;
            return meant.ui.flush().map(|()| 0);
        }
        return completion::run(context, &words, globals);
    }
    if first == plugin::METADATA {
        context.ui.line(plugin::own_metadata())?;
        return Ok(0);
    }
    if let Some(entry) = find(first) {
        let words = Words { entry, typed: format!("{program} {first}"), rest: words[1..].to_vec() };
        return (entry.run)(context, words);
    }
    if GROUPS.iter().any(|(name, _)| *name == first) {
        let second = text(1);
        if second.is_empty() || second == "--help" || second == "-h" {
            let text = help::of_group(&program, first).unwrap_or_default();
            if second.is_empty() {
                context.ui.note(text);
                return Ok(0);
            }
            return Err(CliError::Said { text, code: HELP });
        }
        let name = format!("{first} {second}");
        if let Some(entry) = find(&name) {
            let words = Words { entry, typed: format!("{program} {name}"), rest: words[2..].to_vec() };
            return (entry.run)(context, words);
        }
        let known = help::names_of_group(first);
        let meant = nearest(second, known.iter().map(String::as_str));
        let meant = meant.map(|meant| format!("\nhint: did you mean `{program} {first} {meant}`?"));
        return Err(CliError::said(format!(
            "{program}: unknown command: {program} {name}\n\nUsage:  {program} {first}\n\nRun '{program} {first} --help' for more information{}",
            meant.unwrap_or_default()
        )));
    }
    plugin::run(context, first, all)?;
    if UNBUILT.contains(&first) {
        return Err(CliError::said(format!("{program}: '{first}' is not built yet")));
    }
    let meant = nearest(
        first,
        help::names_of_program().iter().map(String::as_str).chain(GROUPS.iter().map(|(name, _)| *name)),
    )
    .map(|meant| format!("\nhint: did you mean `{program} {meant}`?"));
    Err(CliError::said(format!(
        "{program}: unknown command: {program} {first}\n\nRun '{program} --help' for more information{}",
        meant.unwrap_or_default()
    )))
}

/// `help COMMAND…`.
fn dispatch_help(context: &mut Context, all: &[OsString], words: &[OsString]) -> Result<u8, CliError> {
    if words.is_empty() {
        let plugins = plugin::list(context);
        return Err(CliError::Said { text: help::of_program(&context.program, &plugins), code: HELP });
    }
    let mut words = words.to_vec();
    words.push("--help".into());
    dispatch(context, all, &words)
}

fn find(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name || entry.aliases.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn global_options_end_at_the_command() {
        for (line, count) in
            [("ps -a", 0), ("-H x ps", 2), ("--host=x -D ps -H y", 2), ("-c", 1), ("--version", 1)]
        {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(global_words(&words), count, "{line}");
        }
    }

    #[test]
    fn every_declaration_holds() {
        for entry in ENTRIES {
            crate::entry::prepare((entry.command)()).debug_assert();
        }
    }

    #[test]
    fn no_name_means_two_commands() {
        let mut names: Vec<&str> = ENTRIES
            .iter()
            .flat_map(|entry| std::iter::once(&entry.name).chain(entry.aliases))
            .copied()
            .collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
