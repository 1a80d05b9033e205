//! `start`.

use super::attach::{flag, text};
use super::each;
use super::run::detach_keys;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::session::{self, End, Ending, Session, Subject};
use crate::terminal::{self, RawMode};
use corten_client::AttachOptions;

pub(crate) const ENTRY: Entry = Entry {
    name: "container start",
    aliases: &["start"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    count: Count::Min(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Start one or more stopped containers
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Attach STDOUT/STDERR and forward signals
    #[arg(short, long)]
    attach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    detach_keys: String,
    /// Attach container's STDIN
    #[arg(short, long)]
    interactive: bool,
    /// Proxy all received signals to the process
    #[arg(long, default_value = "true", hide = true)]
    sig_proxy: bool,
    /// Containers
    containers: Vec<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    if !arguments.attach && !arguments.interactive {
        let mut failed = Vec::new();
        let code = each(context, &arguments.containers, |client, name| {
            client.container_start(name, None).inspect_err(|_| failed.push(name.to_owned()))
        })?;
        if !failed.is_empty() {
            context.ui.note(format!("Error: failed to start containers: {}", failed.join(", ")));
        }
        return Ok(code);
    }
    let [name] = arguments.containers.as_slice() else {
        return Err(CliError::said("you cannot start and attach multiple containers at once"));
    };
    let client = context.client()?;
    let container = client.container_inspect(name, false)?;
    let id = text(&container, "/Id").to_owned();
    let terminal = flag(&container, "/Config/Tty");
    let input = arguments.interactive && flag(&container, "/Config/OpenStdin");
    if input && terminal && !terminal::input_is_terminal() {
        return Err(CliError::said("the input device is not a TTY"));
    }
    let keys = detach_keys(context, &arguments.detach_keys)?;
    let options = AttachOptions {
        stdin: input,
        stdout: true,
        stderr: true,
        logs: false,
        detach_keys: Some(arguments.detach_keys).filter(|keys| !keys.is_empty()),
    };
    let auto_remove = flag(&container, "/HostConfig/AutoRemove");
    let raw = client.container_attach(&id, &options)?;
    let mut ending = Ending::begin(&client, &id, if auto_remove { "removed" } else { "next-exit" })?;
    let raw_mode = if terminal && input { RawMode::enter() } else { None };
    let signals = session::catch_signals(arguments.sig_proxy && !terminal, terminal);
    ending.check_attached(&raw)?;
    client.container_start(&id, None)?;
    ending.check_started(&raw)?;
    let subject = Subject::Container(id.clone());
    if terminal {
        subject.resize(&client);
    }
    let session =
        Session { subject, terminal, input, detach_keys: (terminal && input).then_some(keys), signals };
    let end = session.run(context, raw, Some(&mut ending));
    drop(raw_mode);
    if end? == End::Detached {
        context.ui.note("read escape sequence");
        return Ok(0);
    }
    let code = ending.code()?;
    Ok((code & 0xff) as u8)
}
