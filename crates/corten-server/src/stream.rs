//! Producers of streamed bodies and writers to connections that were taken over.

use std::future::Future;
use std::io;
use std::pin::Pin;

use corten_engine::EngineError;
use corten_http::server::{BlockingWriter, BodyStream, NextPiece};
use corten_std::chain;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use tokio::sync::Semaphore;

/// A streamed body made by a function that gives state and piece: `async |state| -> Option<(state, piece)>`.
pub(crate) struct Unfold<S, F, Fut> {
    /// What the next step needs; none while a step runs, and at the end.
    state: Option<S>,
    step: F,
    running: Option<Pin<Box<Fut>>>,
}

/// A body made step by step. A step goes on where it was when the client's side was looked at in between.
pub(crate) fn unfold<S, F, Fut>(state: S, step: F) -> Unfold<S, F, Fut>
where
    F: FnMut(S) -> Fut,
    Fut: Future<Output = Option<(S, io::Result<Vec<u8>>)>>,
{
    Unfold { state: Some(state), step, running: None }
}

impl<S, F, Fut> BodyStream for Unfold<S, F, Fut>
where
    S: Send,
    F: FnMut(S) -> Fut + Send,
    Fut: Future<Output = Option<(S, io::Result<Vec<u8>>)>> + Send,
{
    fn next(&mut self) -> NextPiece<'_> {
        Box::pin(async {
            if let Some(state) = self.state.take() {
                self.running = Some(Box::pin((self.step)(state)));
            }
            let next = self.running.as_mut()?.as_mut().await;
            self.running = None;
            let (state, piece) = next?;
            self.state = Some(state);
            Some(piece)
        })
    }
}

/// So many bodies are written at once. Whoever comes later waits without a thread.
static WRITERS: Semaphore = Semaphore::const_new(1000);

/// A body that `write` writes on a thread of its own, which may block for as long as a client reads slowly: the threads that
/// all other work shares are not for that. Where it fails the body breaks off, which is all that can
/// still be told to the client; `what` names it in the log.
pub(crate) fn written(
    what: &'static str,
    write: impl FnOnce(&mut BlockingWriter) -> Result<(), EngineError> + Send + 'static,
) -> impl BodyStream {
    let (mut writer, body) = BlockingWriter::channel();
    let run = move || match write(&mut writer) {
        Ok(()) => drop(writer.finish()),
        Err(error) if writer.is_abandoned() => {
            tracing::debug!(error = chain(&error), "{what} is not wanted any more");
        }
        Err(error) => tracing::warn!(error = chain(&error), "{what} ended early"),
    };
    let runtime = tokio::runtime::Handle::current();
    tokio::spawn(async move {
        let turn = WRITERS.acquire().await;
        let thread = std::thread::Builder::new().name("stream".to_owned()).spawn(move || {
            let _inside = runtime.enter();
            run();
            drop(turn);
        });
        if let Err(error) = thread {
            tracing::warn!(error = chain(&error), "{what} cannot begin: no thread for it");
        }
    });
    body
}

/// The head of a frame: stream 1 is standard output, 2 standard error, 3 the daemon's own error, which ends it.
pub(crate) fn frame(stream: u8, bytes: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(8 + bytes.len());
    framed.extend_from_slice(&[stream, 0, 0, 0]);
    framed.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(bytes);
    framed
}

/// Writes to a non-blocking connection, waiting where it is full. May block its thread.
pub(crate) fn write_blocking(connection: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(connection, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                poll(&mut [PollFd::from_borrowed_fd(connection.as_fd(), PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        assert_eq!(frame(2, b"ab"), [2, 0, 0, 0, 0, 0, 0, 2, b'a', b'b']);
    }

    #[tokio::test]
    async fn a_step_that_was_looked_away_from_goes_on() {
        let (sender, receiver) = tokio::sync::mpsc::channel::<u8>(1);
        let mut body = unfold(receiver, |mut receiver| async move {
            let byte = receiver.recv().await?;
            Some((receiver, Ok(vec![byte])))
        });
        tokio::select! {
            biased;
            _ = body.next() => panic!("nothing was sent"),
            () = std::future::ready(()) => {}
        }
        sender.send(7).await.unwrap();
        assert_eq!(body.next().await.unwrap().unwrap(), [7]);
        drop(sender);
        assert!(body.next().await.is_none());
    }
}
