//! Streams of progress documents, as Docker's clients show them: bars that move on a terminal, plain lines elsewhere.

use crate::context::Context;
use crate::error::{CliError, Result};
use crate::terminal;
use corten_std::size;
use serde::Deserialize;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Read};

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    /// As data.
    Output,
    /// Beside the data: of a pull that something else needed.
    Error,
    /// Not at all; failures are told all the same.
    Nowhere,
}

/// One document.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message {
    stream: String,
    status: String,
    id: String,
    error: String,
    #[serde(rename = "errorDetail")]
    error_detail: Option<ErrorDetail>,
    #[serde(rename = "progressDetail")]
    bar: Option<Bar>,
    aux: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorDetail {
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Bar {
    current: i64,
    total: i64,
}

/// Shows a stream to its end; an error in it is the command's. Gives what was meant for programs.
pub(crate) fn show(context: &mut Context, reply: impl Read, place: Where) -> Result<Vec<serde_json::Value>> {
    let is_terminal = match place {
        Where::Output => context.ui.is_terminal,
        Where::Error => rustix::termios::isatty(io::stderr()),
        Where::Nowhere => false,
    };
    let width = if is_terminal { terminal::size().map_or(0, |(_, columns)| columns) } else { 0 };
    let mut screen = Screen { is_terminal, width, lines: HashMap::new() };
    let mut aux = Vec::new();
    let reader = io::BufReader::new(reply);
    for message in serde_json::Deserializer::from_reader(reader).into_iter::<Message>() {
        let message = message
            .map_err(|error| CliError::said(format!("the daemon's progress cannot be read: {error}")))?;
        if let Some(value) = message.aux {
            aux.push(value);
            continue;
        }
        if let Some(detail) = message.error_detail.as_ref().filter(|detail| !detail.message.is_empty()) {
            return Err(CliError::said(detail.message.clone()));
        }
        if !message.error.is_empty() {
            return Err(CliError::said(message.error));
        }
        let text = screen.draw(&message);
        match place {
            Where::Output => {
                context.ui.data(text.as_bytes())?;
                context.ui.flush()?;
            }
            Where::Error => context.ui.raw_error(text.as_bytes())?,
            Where::Nowhere => {}
        }
    }
    Ok(aux)
}

struct Screen {
    is_terminal: bool,
    /// Columns.
    width: u16,
    /// The line of each ID, counted from the first one.
    lines: HashMap<String, usize>,
}

impl Screen {
    /// What is to be written for a message.
    fn draw(&mut self, message: &Message) -> String {
        let mut text = String::new();
        let mut up = 0;
        if !message.id.is_empty() && message.bar.is_some() {
            let next = self.lines.len();
            let line = *self.lines.entry(message.id.clone()).or_insert_with(|| {
                if self.is_terminal {
                    text.push('\n');
                }
                next
            });
            up = self.lines.len() - line;
            if self.is_terminal {
                let _ = write!(text, "\x1b[{up}A");
            }
        } else {
            self.lines.clear();
        }
        let drawn = message.bar.as_ref().map(|bar| bar.draw(self.width)).unwrap_or_default();
        let moves = self.is_terminal && message.stream.is_empty() && message.bar.is_some();
        if moves {
            text.push_str("\x1b[2K\r");
        } else if !drawn.is_empty() {
            return text;
        }
        if !message.id.is_empty() {
            text.push_str(&message.id);
            text.push_str(": ");
        }
        if moves {
            let _ = write!(text, "{} {drawn}\r", message.status);
        } else if !message.stream.is_empty() {
            text.push_str(&message.stream);
        } else {
            text.push_str(&message.status);
            text.push('\n');
        }
        if !message.id.is_empty() && self.is_terminal && up > 0 {
            let _ = write!(text, "\x1b[{up}B");
        }
        text
    }
}

impl Bar {
    fn draw(&self, width: u16) -> String {
        let number = |bytes: i64| size::human(bytes.max(0) as f64);
        if self.current <= 0 && self.total <= 0 {
            return String::new();
        }
        if self.total <= 0 {
            return format!("{:>8}", number(self.current));
        }
        let done = ((self.current as f64 / self.total as f64 * 100.0) as usize / 2).min(50);
        let drawn = if width > 110 {
            format!("[{}>{}] ", "=".repeat(done), " ".repeat(50 - done))
        } else {
            String::new()
        };
        let numbers = format!("{:>8}", number(self.current));
        if self.current > self.total {
            drawn + &numbers
        } else {
            format!("{drawn}{numbers}/{}", number(self.total))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(is_terminal: bool, messages: &[&str]) -> String {
        let mut screen = Screen { is_terminal, width: 80, lines: HashMap::new() };
        messages.iter().map(|text| screen.draw(&serde_json::from_str(text).unwrap())).collect()
    }

    const MESSAGES: [&str; 5] = [
        r#"{"status":"Pulling from library/a","id":"latest"}"#,
        r#"{"status":"Pulling fs layer","progressDetail":{},"id":"aa"}"#,
        r#"{"status":"Pulling fs layer","progressDetail":{},"id":"bb"}"#,
        r#"{"status":"Downloading","progressDetail":{"current":5,"total":10},"id":"aa"}"#,
        r#"{"status":"Digest: sha256:00"}"#,
    ];

    #[test]
    fn lines_elsewhere_and_places_on_a_terminal() {
        assert_eq!(
            drawn(false, &MESSAGES),
            "latest: Pulling from library/a\naa: Pulling fs layer\nbb: Pulling fs layer\nDigest: sha256:00\n"
        );
        assert_eq!(
            drawn(true, &MESSAGES),
            "latest: Pulling from library/a\n\
             \n\x1b[1A\x1b[2K\raa: Pulling fs layer \r\x1b[1B\
             \n\x1b[1A\x1b[2K\rbb: Pulling fs layer \r\x1b[1B\
             \x1b[2A\x1b[2K\raa: Downloading       5B/10B\r\x1b[2BDigest: sha256:00\n"
        );
    }
}
