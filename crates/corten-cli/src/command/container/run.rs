//! `run`: create, attach, wait, start, stream, exit code.

use super::create::{create, request_of, with_help};
use crate::context::Context;
use crate::entry::{Count, Entry, Words};
use crate::error::{CliError, Result};
use crate::flags::create::CreateFlags;
use crate::session::{self, End, Ending, Session, Subject};
use crate::terminal::{self, DetachKeys, RawMode};
use corten_api::container::CreateRequest;
use corten_client::AttachOptions;

pub(crate) const ENTRY: Entry = Entry {
    name: "container run",
    aliases: &["run"],
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    count: Count::Min(1),
    mixed: false,
    command: <Arguments as clap::CommandFactory>::command,
    run,
};

/// Create and run a new container from an image
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    #[command(flatten)]
    flags: CreateFlags,
    /// Run container in background and print container ID
    #[arg(short, long)]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    detach_keys: String,
    /// Proxy received signals to the process
    #[arg(long, default_value = "true")]
    sig_proxy: bool,
    /// Image, command and arguments
    words: Vec<String>,
}

fn run(context: &mut Context, words: Words<'_>) -> Result<u8> {
    let arguments: Arguments = words.parse()?;
    let program = context.program.clone();
    let fail = |error, code| with_help(program.clone(), "run", error, code);
    let mut request =
        request_of(context, &arguments.flags, &arguments.words).map_err(|error| fail(error, 125))?;
    if arguments.detach {
        if !arguments.flags.attach.is_empty() {
            return Err(CliError::said("conflicting options: cannot specify both --attach and --detach"));
        }
        let config = &mut request.config;
        config.attach_stdin = false;
        config.attach_stdout = false;
        config.attach_stderr = false;
        config.stdin_once = false;
    } else if request.config.tty && request.config.attach_stdin && !terminal::input_is_terminal() {
        return Err(CliError::said("the input device is not a TTY"));
    }
    let keys = detach_keys(context, &arguments.detach_keys)?;
    let id = create(context, &arguments.flags, &request).map_err(|error| start_error(fail, error))?;
    if arguments.detach {
        let client = context.client()?;
        client.container_start(&id, None).map_err(|error| start_error(fail, error.into()))?;
        context.ui.line(id)?;
        return Ok(0);
    }
    attached(context, &arguments, &request, &id, keys, &|error| start_error(fail, error))
}

/// Attaches, starts, streams, and gives the exit code.
fn attached(
    context: &mut Context,
    arguments: &Arguments,
    request: &CreateRequest,
    id: &str,
    keys: DetachKeys,
    start_error: &dyn Fn(CliError) -> CliError,
) -> Result<u8> {
    let client = context.client()?;
    let config = &request.config;
    let options = AttachOptions {
        stdin: config.attach_stdin,
        stdout: config.attach_stdout,
        stderr: config.attach_stderr,
        logs: false,
        detach_keys: Some(arguments.detach_keys.clone()).filter(|keys| !keys.is_empty()),
    };
    let auto_remove = request.host_config.auto_remove;
    let raw = client.container_attach(id, &options)?;
    let mut ending = Ending::begin(&client, id, if auto_remove { "removed" } else { "next-exit" })?;
    let raw_mode = if config.tty && config.attach_stdin { RawMode::enter() } else { None };
    let signals = session::catch_signals(arguments.sig_proxy && raw_mode.is_none(), config.tty);
    let started = ending.check_attached(&raw).and_then(|()| Ok(client.container_start(id, None)?));
    if let Err(error) = started {
        drop(raw_mode);
        return Err(start_error(error));
    }
    ending.check_started(&raw)?;
    let subject = Subject::Container(id.to_owned());
    if config.tty {
        subject.resize(&client);
    }
    let detach_keys = (config.tty && config.attach_stdin).then_some(keys);
    let session = Session { subject, terminal: config.tty, input: config.attach_stdin, detach_keys, signals };
    let end = session.run(context, raw, Some(&mut ending));
    drop(raw_mode);
    if end? == End::Detached {
        context.ui.note("read escape sequence");
        return Ok(0);
    }
    let code = ending.code()?;
    Ok((code & 0xff) as u8)
}

/// The keys from the flag or the configuration.
pub(crate) fn detach_keys(context: &mut Context, flag: &str) -> Result<DetachKeys> {
    if flag.is_empty() {
        DetachKeys::parse(&context.configuration().detach_keys)
    } else {
        DetachKeys::parse(flag)
    }
}

/// A failed start's exit code is told by its text, as the shell's would be.
fn start_error(fail: impl Fn(CliError, u8) -> CliError, error: CliError) -> CliError {
    let code = start_code(&error.text()).unwrap_or(125);
    fail(error, code)
}

/// 127 where the command is not there, 126 where it cannot be run.
pub(crate) fn start_code(text: &str) -> Option<u8> {
    if ["executable file not found", "no such file or directory"].iter().any(|part| text.contains(part)) {
        Some(127)
    } else if ["permission denied", "is a directory"].iter().any(|part| text.contains(part)) {
        Some(126)
    } else {
        None
    }
}
