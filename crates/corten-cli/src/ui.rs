//! The one way out: data to standard output, everything else to standard error.
//!
//! Output is gathered and written in large pieces; whoever streams calls [`Ui::flush`].

use crate::error::{CliError, Result};
use std::io::{self, Write};
use std::os::fd::AsFd;

/// Gathered output is written when it is longer than this.
const LARGE: usize = 32 << 10;

/// Standard output and standard error of this process.
#[derive(Debug)]
pub(crate) struct Ui {
    gathered: Vec<u8>,
    /// Whether standard output is a terminal.
    pub(crate) is_terminal: bool,
    /// Where a test reads what would have been printed, instead of printing.
    #[cfg(test)]
    pub(crate) captured: bool,
}

impl Ui {
    pub(crate) fn new() -> Self {
        Self {
            gathered: Vec::new(),
            is_terminal: rustix::termios::isatty(io::stdout()),
            #[cfg(test)]
            captured: false,
        }
    }

    /// A line of data.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> Result<()> {
        self.gathered.extend_from_slice(text.as_ref().as_bytes());
        self.gathered.push(b'\n');
        self.flush_large()
    }

    /// Data as it is.
    pub(crate) fn data(&mut self, bytes: &[u8]) -> Result<()> {
        self.gathered.extend_from_slice(bytes);
        self.flush_large()
    }

    /// Bytes of a container's error output, after everything gathered.
    pub(crate) fn raw_error(&mut self, bytes: &[u8]) -> Result<()> {
        self.flush()?;
        write_all(io::stderr(), bytes).map_err(CliError::Output)
    }

    /// A line for the person: notes, warnings, questions' surroundings.
    pub(crate) fn note(&mut self, text: impl AsRef<str>) {
        let _ = self.flush();
        // Nobody is left to be told where this fails.
        let _ = write_all(io::stderr(), format!("{}\n", text.as_ref()).as_bytes());
    }

    /// A failure with its hint.
    pub(crate) fn error(&mut self, error: &CliError) {
        let text = error.text();
        if !text.is_empty() {
            self.note(&text);
        }
        if let Some(hint) = error.hint() {
            self.note(format!("hint: {hint}"));
        }
    }

    /// Asks a yes-or-no question on standard error; anything but `y` is no. The text ends with its own mark.
    pub(crate) fn confirm(&mut self, question: &str) -> Result<bool> {
        self.flush()?;
        write_all(io::stdout(), format!("{question} [y/N] ").as_bytes()).map_err(CliError::Output)?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).map_err(CliError::Output)?;
        Ok(answer.trim().eq_ignore_ascii_case("y"))
    }

    /// Writes out what was gathered.
    pub(crate) fn flush(&mut self) -> Result<()> {
        #[cfg(test)]
        if self.captured {
            return Ok(());
        }
        if self.gathered.is_empty() {
            return Ok(());
        }
        let result = write_all(io::stdout(), &self.gathered);
        self.gathered.clear();
        result.map_err(CliError::Output)
    }

    fn flush_large(&mut self) -> Result<()> {
        if self.gathered.len() > LARGE { self.flush() } else { Ok(()) }
    }

    #[cfg(test)]
    pub(crate) fn take(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.gathered)).unwrap()
    }
}

/// For bulk data that is copied past the gathered output; the caller has flushed.
impl Write for Ui {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_all(io::stdout(), bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes everything, past the locks and buffers of the standard library. Waits where the other side is a pipe that
/// somebody made non-blocking.
fn write_all(file: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&file, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let mut poll = [rustix::event::PollFd::new(&file, rustix::event::PollFlags::OUT)];
                let _ = rustix::event::poll(&mut poll, None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
