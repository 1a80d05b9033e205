//! `system dial-stdio`: standard input and output joined to the daemon's socket. It is what `ssh://` endpoints run on
//! the far side.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use std::io::{self, Read, Write};

pub(crate) const ENTRY: Entry = Entry {
    name: "system dial-stdio",
    aliases: &[],
    usage: "[OPTIONS]",
    count: Count::None,
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Proxy the stdio stream to the daemon connection. Should not be invoked manually.
#[derive(Debug, clap::Parser)]
#[command(hide = true)]
pub(crate) struct Arguments {}

fn run(context: &mut Context, _: Arguments) -> Result<u8> {
    let mut socket = context.client()?.raw_connection()?;
    let mut upward = socket.try_clone().map_err(CliError::Output)?;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = pass_on(&mut io::stdin(), &mut upward);
            let _ = upward.shutdown_write();
        });
        let result = pass_on(&mut socket, &mut context.ui);
        // The other direction waits for input that nobody wants any more: the process ends with this one.
        let _ = context.ui.flush();
        match result {
            Ok(()) => std::process::exit(0),
            Err(error) => Err(CliError::Output(error)),
        }
    })
}

fn pass_on(source: &mut impl Read, target: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0_u8; 32 << 10];
    loop {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        target.write_all(&buffer[..count])?;
        target.flush()?;
    }
}
