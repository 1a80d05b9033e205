//! `exec`.

use super::run::{detach_keys, start_code};
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::flags::key_value;
use crate::session::{self, End, Session, Subject};
use crate::terminal::{self, RawMode};
use corten_api::exec::{CreateRequest, StartRequest};

pub(crate) const ENTRY: Entry = Entry {
    name: "container exec",
    aliases: &["exec"],
    usage: "[OPTIONS] CONTAINER COMMAND [ARG...]",
    count: Count::Min(2),
    mixed: false,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Execute a command in a running container
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Detached mode: run command in the background
    #[arg(short, long)]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    detach_keys: String,
    /// Set environment variables
    #[arg(short, long, value_parser = crate::flags::key_value::variable)]
    env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long)]
    env_file: Vec<String>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    interactive: bool,
    /// Give extended privileges to the command
    #[arg(long)]
    privileged: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    tty: bool,
    /// Username or UID (format: "<name|uid>[:<group|gid>]")
    #[arg(short, long, value_name = "string", default_value = "", hide_default_value = true)]
    user: String,
    /// Working directory inside the container
    #[arg(short, long, value_name = "string", default_value = "", hide_default_value = true)]
    workdir: String,
    /// Container
    container: String,
    /// Command and arguments
    command: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let client = context.client()?;
    let attach = !arguments.detach;
    let input = attach && arguments.interactive;
    if input && arguments.tty && !terminal::input_is_terminal() {
        return Err(CliError::said("the input device is not a TTY"));
    }
    let console_size = if arguments.tty {
        terminal::size().map(|(rows, columns)| [rows.into(), columns.into()])
    } else {
        None
    };
    let keys = detach_keys(context, &arguments.detach_keys)?;
    let request = CreateRequest {
        user: arguments.user,
        privileged: arguments.privileged,
        tty: arguments.tty,
        console_size,
        attach_stdin: input,
        attach_stderr: attach,
        attach_stdout: attach,
        detach: arguments.detach,
        detach_keys: arguments.detach_keys,
        env: Some(key_value::variables(&arguments.env_file, &arguments.env)?),
        working_dir: arguments.workdir,
        cmd: Some(arguments.command),
    };
    let id = client.exec_create(&arguments.container, &request)?;
    let start = StartRequest { detach: arguments.detach, tty: arguments.tty, console_size };
    if arguments.detach {
        client.exec_start_detached(&id, &start).map_err(exec_error)?;
        return Ok(0);
    }
    let raw = client.exec_start(&id, &start).map_err(exec_error)?;
    let raw_mode = if arguments.tty && input { RawMode::enter() } else { None };
    let subject = Subject::Exec(id.clone());
    let signals = session::catch_signals(false, arguments.tty);
    if arguments.tty {
        subject.resize(&client);
    }
    let detach_keys = (arguments.tty && input).then_some(keys);
    let session = Session { subject, terminal: arguments.tty, input, detach_keys, signals };
    let end = session.run(context, raw, None);
    drop(raw_mode);
    if end? == End::Detached {
        return Err(CliError::said("read escape sequence"));
    }
    let code = client.exec_inspect(&id)?.exit_code.unwrap_or(0);
    Ok((code & 0xff) as u8)
}

fn exec_error(error: corten_client::ClientError) -> CliError {
    let error = CliError::from(error);
    match start_code(&error.text()) {
        Some(code) => CliError::Said { text: error.text(), code },
        None => error,
    }
}
