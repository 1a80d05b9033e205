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
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many requests at most are under way at once.
const LANES: usize = 8;

/// Does something to each of several objects, one after the other: the name of each that worked is printed, what went
/// wrong is said at the end, and the code is 1 where anything did.
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
            Err(error) => errors.push(unless_alone(error)?),
        }
    }
    finish(context, &errors)
}

/// As [`each`], side by side: for what waits for processes to end.
pub(crate) fn each_together(
    context: &mut Context,
    names: &[String],
    act: impl Fn(&Client, &str) -> Result<(), ClientError> + Sync,
) -> Result<u8> {
    let mut errors = Vec::new();
    for (name, result) in names.iter().zip(together(&*context.client()?, names, act)) {
        match result {
            Ok(()) => context.ui.line(name)?,
            Err(error) => errors.push(unless_alone(error)?),
        }
    }
    finish(context, &errors)
}

/// Does something to each of several objects, a few at a time; the results are in the order of the names. A single one
/// starts no thread.
pub(crate) fn together(
    client: &Client,
    names: &[String],
    act: impl Fn(&Client, &str) -> Result<(), ClientError> + Sync,
) -> Vec<Result<(), ClientError>> {
    let lanes = names.len().min(LANES);
    if lanes < 2 {
        return names.iter().map(|name| act(client, name)).collect();
    }
    // The first goes alone: it finds out the version, and starts a daemon where none runs.
    let first = act(client, &names[0]);
    let next = AtomicUsize::new(1);
    let results: Mutex<Vec<(usize, Result<(), ClientError>)>> = Mutex::new(vec![(0, first)]);
    std::thread::scope(|scope| {
        for _ in 1..lanes {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(name) = names.get(at) else { return };
                    let result = act(client, name);
                    if let Ok(mut results) = results.lock() {
                        results.push((at, result));
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Without a daemon the next ones fail alike, and one error is enough.
fn unless_alone(error: ClientError) -> Result<CliError> {
    match error {
        error @ (ClientError::NoDaemon { .. } | ClientError::Denied { .. } | ClientError::Start(_)) => {
            Err(error.into())
        }
        error => Ok(error.into()),
    }
}

/// Says what went wrong; the code is 1 where anything did.
pub(crate) fn finish(context: &mut Context, errors: &[CliError]) -> Result<u8> {
    for error in errors {
        context.ui.error(error);
    }
    Ok(u8::from(!errors.is_empty()))
}
