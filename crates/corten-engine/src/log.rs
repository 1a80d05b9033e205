//! A container's log, read as it stands or followed as it grows.
//!
//! The shim writes it (`corten_shim::log`), also while this daemon is dead; here it is only read.

pub(crate) mod driver;

use crate::container::handle::View;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use corten_shim::log::{EntryHead, LogReader, LogWatch, ReadOptions};
use corten_shim::mux::Stream;
use corten_std::Timestamp;
use std::sync::Arc;
use tokio::sync::watch;

/// Which lines of a log are wanted, and how.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Go on with what comes until the container ends.
    pub follow: bool,
    /// A time stamp in front of each line.
    pub timestamps: bool,
    /// Label and variable pairs in front of each line's text.
    pub details: bool,
    /// Only so many lines from the end.
    pub tail: Option<u64>,
    /// None older than this.
    pub since: Option<Timestamp>,
    /// None newer than this.
    pub until: Option<Timestamp>,
}

/// An open log.
#[derive(Debug)]
pub struct LogStream {
    reader: LogReader,
    /// There while it is followed.
    watch: Option<LogWatch>,
    view: watch::Receiver<Arc<View>>,
    options: LogOptions,
    /// Whether the container has a terminal: its log has one stream, and no frames are made of it.
    terminal: bool,
    /// The last entry did not end its line, so that the next one is no new line. One flag a stream.
    inside_line: [bool; 2],
}

impl Engine {
    /// Opens a container's log. Refused where neither stream is wanted, or the container keeps none.
    pub async fn logs(&self, reference: &str, options: LogOptions) -> Result<LogStream> {
        if !options.stdout && !options.stderr {
            return Err(EngineError::invalid("Bad parameters: you must choose at least one stream"));
        }
        let container = self.inner.containers.find(reference)?;
        let view = container.watch();
        let record = Arc::clone(&view.borrow().record);
        let log_config = &record.host_config.log_config;
        let disabled = log_config.config.as_ref().and_then(|options| options.get("cache-disabled"));
        let disabled = driver::NAMES.contains(&log_config.driver.as_str())
            && disabled.is_some_and(|value| matches!(value.as_str(), "true" | "1"));
        if log_config.driver == "none" || disabled {
            return Err(EngineError::not_implemented("configured logging driver does not support reading"));
        }
        let path = self.inner.settings.paths.container_log(&record.id);
        // Watched before it is read: what comes between is a change, not a loss.
        let watch = if options.follow {
            Some(self.inner.log_watches.watch(&path).map_err(EngineError::from)?)
        } else {
            None
        };
        let read = ReadOptions { tail: options.tail, since: options.since, until: options.until };
        let reader = LogReader::open(path, read).map_err(EngineError::from)?;
        Ok(LogStream { reader, watch, view, options, terminal: record.config.tty, inside_line: [false; 2] })
    }
}

impl LogStream {
    /// Whether the container has a terminal, so that frames go out without a head.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// What comes next, up to about so many bytes, as it goes to a client: with `framed` each entry behind a frame's head.
    /// None at the end; a follower waits for more until the container has ended.
    pub async fn next_piece(&mut self, framed: bool, most: usize) -> Result<Option<Vec<u8>>> {
        loop {
            // Looked at before the read: what a container wrote before its end is in the log when the end is seen.
            let ended = !self.view.borrow_and_update().life.phase.has_process();
            let piece = self.read(framed, most)?;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
            let Some(watch) = self.watch.as_mut().filter(|_| !ended && !self.reader.is_ended()) else {
                return Ok(None);
            };
            let until = self.options.until.map(|until| until.since(Timestamp::now()));
            tokio::select! {
                changed = watch.changed() => changed.map_err(|error| EngineError::from_error("watching the log", error))?,
                changed = self.view.changed() => {
                    if changed.is_err() {
                        // Its owner is gone, and the container with it.
                        self.watch = None;
                    }
                }
                () = tokio::time::sleep(until.unwrap_or_default()), if until.is_some() => self.watch = None,
            }
        }
    }

    /// What is there already.
    fn read(&mut self, framed: bool, most: usize) -> Result<Vec<u8>> {
        let mut piece = Vec::new();
        while piece.len() < most {
            let start = piece.len();
            let (options, inside) = (&self.options, &self.inside_line);
            let mut stream = Stream::Stdout;
            let mut begin = |head: &EntryHead, out: &mut Vec<u8>| {
                stream = head.stream;
                let is_error = stream == Stream::Stderr;
                if !(if is_error { options.stderr } else { options.stdout }) {
                    return false;
                }
                if framed {
                    out.extend_from_slice(&[0; FRAME_HEAD]);
                }
                if !inside[usize::from(is_error)] {
                    append_prefix(out, options, head);
                }
                true
            };
            if !self
                .reader
                .append_next(&mut piece, options.timestamps, &mut begin)
                .map_err(EngineError::from)?
            {
                break;
            }
            if piece.len() == start {
                continue;
            }
            self.inside_line[usize::from(stream == Stream::Stderr)] = piece.last() != Some(&b'\n');
            if framed {
                let length = piece.len() - start - FRAME_HEAD;
                piece[start..start + FRAME_HEAD].copy_from_slice(&corten_shim::mux::head(stream, length));
            }
        }
        Ok(piece)
    }
}

/// Bytes of a frame's head.
const FRAME_HEAD: usize = 8;

/// What was asked for in front of each line.
fn append_prefix(out: &mut Vec<u8>, options: &LogOptions, head: &EntryHead) {
    if options.timestamps {
        out.extend_from_slice(head.time.fixed_width().as_bytes());
        out.push(b' ');
    }
    if options.details {
        let pairs: Vec<String> = head
            .attributes
            .iter()
            .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
            .collect();
        out.extend_from_slice(pairs.join(",").as_bytes());
        out.push(b' ');
    }
}

/// Go's `url.QueryEscape`, which Docker puts around the pairs of `--details`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            _ => {
                escaped.push('%');
                escaped.push_str(&corten_std::id::hex(&[byte]).to_ascii_uppercase());
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn details_are_escaped_as_in_a_query() {
        assert_eq!(escape("a b=c/ü"), "a+b%3Dc%2F%C3%BC");
    }
}
