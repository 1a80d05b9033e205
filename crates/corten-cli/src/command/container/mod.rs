//! `container …` and its short forms.

pub(crate) mod attach;
pub(crate) mod commit;
pub(crate) mod cp;
pub(crate) mod create;
pub(crate) mod diff;
pub(crate) mod exec;
pub(crate) mod export;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod pause;
pub(crate) mod port;
pub(crate) mod prune;
pub(crate) mod rename;
pub(crate) mod restart;
pub(crate) mod rm;
pub(crate) mod run;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod stop;
pub(crate) mod top;
pub(crate) mod unpause;
pub(crate) mod update;
pub(crate) mod wait;

use crate::context::Context;
use crate::error::{CliError, Result};
use corten_client::{Client, ClientError};

/// Does something to each of several objects: the name of each that worked is printed, what went wrong is said at the
/// end, and the code is 1 where anything did.
pub(crate) fn each(
    context: &mut Context,
    names: &[String],
    mut act: impl FnMut(&Client, &str) -> Result<(), ClientError>,
) -> Result<u8> {
    let client = context.client()?;
    let mut errors = Vec::new();
    for name in names {
        match act(&client, name) {
            Ok(()) => context.ui.line(name)?,
            // Without a daemon the next ones fail alike.
            Err(
                error @ (ClientError::NoDaemon { .. } | ClientError::Denied { .. } | ClientError::Start(_)),
            ) => {
                return Err(error.into());
            }
            Err(error) => errors.push(CliError::from(error)),
        }
    }
    finish(context, &errors)
}

/// Says what went wrong; the code is 1 where anything did.
pub(crate) fn finish(context: &mut Context, errors: &[CliError]) -> Result<u8> {
    for error in errors {
        context.ui.error(error);
    }
    Ok(u8::from(!errors.is_empty()))
}
