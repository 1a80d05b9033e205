//! `attach`.

use super::run::detach_keys;
use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::session::{self, End, Ending, Session, Subject};
use crate::terminal::{self, RawMode};
use corten_client::{AttachOptions, Object};

pub(crate) const ENTRY: Entry = Entry {
    name: "container attach",
    aliases: &["attach"],
    usage: "[OPTIONS] CONTAINER",
    count: Count::Exact(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Attach local standard input, output, and error streams to a running container
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    detach_keys: String,
    /// Do not attach STDIN
    #[arg(long)]
    no_stdin: bool,
    /// Proxy all received signals to the process
    #[arg(long, default_value = "true")]
    sig_proxy: bool,
    /// Container
    container: String,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let client = context.client()?;
    let container = client.container_inspect(&arguments.container, false)?;
    check_state(&container)?;
    let (terminal, open_stdin) = (flag(&container, "/Config/Tty"), flag(&container, "/Config/OpenStdin"));
    let input = !arguments.no_stdin && open_stdin;
    if input && terminal && !terminal::input_is_terminal() {
        return Err(CliError::said("the input device is not a TTY"));
    }
    let id = text(&container, "/Id").to_owned();
    let keys = detach_keys(context, &arguments.detach_keys)?;
    let options = AttachOptions {
        stdin: input,
        stdout: true,
        stderr: true,
        logs: false,
        detach_keys: Some(arguments.detach_keys).filter(|keys| !keys.is_empty()),
    };
    // The wait begins first, so that an end during the attach is not missed.
    let mut ending = Ending::begin(&client, &id, "not-running")?;
    let raw = client.container_attach(&id, &options)?;
    let raw_mode = if terminal && input { RawMode::enter() } else { None };
    let signals = session::catch_signals(arguments.sig_proxy && !terminal, terminal);
    let subject = Subject::Container(id.clone());
    if terminal {
        subject.resize(&client);
    }
    let session =
        Session { subject, terminal, input, detach_keys: (terminal && input).then_some(keys), signals };
    let end = session.run(context, raw, Some(&mut ending));
    drop(raw_mode);
    if end? == End::Detached {
        return Err(CliError::said("read escape sequence"));
    }
    let code = ending.code()?;
    Ok((code & 0xff) as u8)
}

/// Refuses a container that cannot be attached to.
fn check_state(container: &Object) -> Result<()> {
    let said = |what: &str| Err(CliError::said(format!("You cannot attach to a {what}")));
    if flag(container, "/State/Paused") {
        return said("paused container, unpause it first");
    }
    if flag(container, "/State/Restarting") {
        return said("restarting container, wait until it is running");
    }
    if !flag(container, "/State/Running") {
        return said("stopped container, start it first");
    }
    Ok(())
}

/// A truth somewhere in an inspected object.
pub(crate) fn flag(object: &Object, path: &str) -> bool {
    object.pointer(path).and_then(serde_json::Value::as_bool).unwrap_or(false)
}

/// A text somewhere in an inspected object.
pub(crate) fn text<'a>(object: &'a Object, path: &str) -> &'a str {
    object.pointer(path).and_then(serde_json::Value::as_str).unwrap_or_default()
}
