//! A container's log, read as it stands or followed as it grows.
//!
//! The shim writes it (`corten_shim::log`), also while this daemon is dead; here it is only read.

use crate::container::handle::View;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use corten_shim::log::{LogEntry, LogReader, LogWatch, ReadOptions};
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

/// One line, or a part of a long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFrame {
    /// Number of the stream in the framing: 1 standard output, 2 standard error.
    pub stream: u8,
    /// The text with what was asked for in front of it.
    pub bytes: Vec<u8>,
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
        if record.host_config.log_config.driver == "none" {
            return Err(EngineError::not_implemented("configured logging driver does not support reading"));
        }
        let path = self.inner.settings.paths.container_log(&record.id);
        // Watched before it is read: what comes between is a change, not a loss.
        let watch =
            if options.follow { Some(LogWatch::new(&path).map_err(EngineError::from)?) } else { None };
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

    /// The next line; none at the end. A follower waits for more until the container has ended.
    pub async fn next(&mut self) -> Result<Option<LogFrame>> {
        loop {
            // Looked at before the read: what a container wrote before its end is in the log when the end is seen.
            let ended = !self.view.borrow_and_update().life.phase.has_process();
            while let Some(entry) = self.reader.next().map_err(EngineError::from)? {
                let wanted =
                    if entry.stream == Stream::Stderr { self.options.stderr } else { self.options.stdout };
                if wanted {
                    return Ok(Some(self.frame(&entry)));
                }
            }
            let Some(watch) = self.watch.as_ref().filter(|_| !ended && !self.reader.is_ended()) else {
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

    fn frame(&mut self, entry: &LogEntry) -> LogFrame {
        let stream: u8 = if entry.stream == Stream::Stderr { 2 } else { 1 };
        let inside = &mut self.inside_line[usize::from(stream - 1)];
        let mut text = String::new();
        if !*inside {
            if self.options.timestamps {
                text.push_str(&entry.time.fixed_width());
                text.push(' ');
            }
            if self.options.details {
                let pairs: Vec<String> = entry
                    .attributes
                    .iter()
                    .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
                    .collect();
                text.push_str(&pairs.join(","));
                text.push(' ');
            }
        }
        *inside = entry.is_partial();
        text.push_str(&entry.line);
        LogFrame { stream, bytes: text.into_bytes() }
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
