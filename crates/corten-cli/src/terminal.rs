//! The person's terminal: raw mode that is always undone, and its size.

use crate::error::{CliError, Result};
use rustix::termios::{OptionalActions, Termios};
use std::io;

/// Whether standard input is a terminal.
pub(crate) fn input_is_terminal() -> bool {
    rustix::termios::isatty(io::stdin())
}

/// Rows and columns of the terminal, where there is one.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(io::stdout())
        .or_else(|_| rustix::termios::tcgetwinsize(io::stdin()))
        .ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Reads a line from standard input; what is typed is not shown where it is a secret.
pub(crate) fn read_line(shown: bool) -> Result<String> {
    let before = if shown { None } else { rustix::termios::tcgetattr(io::stdin()).ok() };
    let restore = before.map(RawMode);
    if let Some(RawMode(before)) = &restore {
        let mut silent = before.clone();
        silent.local_modes.remove(rustix::termios::LocalModes::ECHO);
        rustix::termios::tcsetattr(io::stdin(), OptionalActions::Flush, &silent)
            .map_err(|error| CliError::Output(error.into()))?;
    }
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(CliError::Output)?;
    drop(restore);
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Raw mode of the terminal at standard input, until dropped.
#[derive(Debug)]
pub(crate) struct RawMode(Termios);

impl RawMode {
    /// Switches to raw mode where standard input is a terminal.
    pub(crate) fn enter() -> Option<Self> {
        let before = rustix::termios::tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// The keys that detach, and how far they have been typed.
#[derive(Debug)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    typed: usize,
}

impl DetachKeys {
    /// Reads `ctrl-p,ctrl-q` and the like; empty means the default.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = if text.is_empty() { "ctrl-p,ctrl-q" } else { text };
        let key = |part: &str| -> Option<u8> {
            match part.strip_prefix("ctrl-") {
                None => match part.as_bytes() {
                    [byte] => Some(*byte),
                    _ => None,
                },
                Some(letter) => match letter.as_bytes() {
                    [byte @ b'a'..=b'z'] => Some(byte - b'a' + 1),
                    b"@" => Some(0),
                    b"[" => Some(27),
                    b"\\" => Some(28),
                    b"]" => Some(29),
                    b"^" => Some(30),
                    b"_" => Some(31),
                    _ => None,
                },
            }
        };
        let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
        match keys {
            Some(keys) => Ok(Self { keys, typed: 0 }),
            None => Err(CliError::said(format!("invalid detach keys ({text}) provided"))),
        }
    }

    /// Takes what was typed; gives what is to be sent on, and whether the keys were typed in full. The beginning of
    /// the keys is held back until it is clear what it is.
    pub(crate) fn filter(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(input.len());
        for &byte in input {
            if byte == self.keys[self.typed] {
                self.typed += 1;
                if self.typed == self.keys.len() {
                    self.typed = 0;
                    return (passed, true);
                }
                continue;
            }
            passed.extend_from_slice(&self.keys[..self.typed]);
            self.typed = usize::from(byte == self.keys[0]);
            if self.typed == 0 {
                passed.push(byte);
            } else if self.keys.len() == 1 {
                self.typed = 0;
                return (passed, true);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_found_across_reads() {
        for (keys, reads, passed, found) in [
            ("", &["abc"][..], "abc", false),
            ("", &["a\u{10}\u{11}b"], "a", true),
            ("", &["a\u{10}", "\u{11}"], "a", true),
            ("", &["\u{10}x"], "\u{10}x", false),
            ("", &["\u{10}\u{10}\u{11}"], "\u{10}", true),
            ("q", &["xq"], "x", true),
            ("ctrl-a,a", &["\u{1}b\u{1}a"], "\u{1}b", true),
        ] {
            let mut keys = DetachKeys::parse(keys).unwrap();
            let mut got = Vec::new();
            let mut detached = false;
            for read in reads {
                let (bytes, done) = keys.filter(read.as_bytes());
                got.extend(bytes);
                detached |= done;
            }
            assert_eq!((String::from_utf8(got).unwrap().as_str(), detached), (passed, found), "{reads:?}");
        }
        assert!(DetachKeys::parse("ctrl-P").is_err());
        assert!(DetachKeys::parse("abc").is_err());
    }
}
