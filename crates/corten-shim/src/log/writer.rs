//! Writes the log: one write for all that came in one wake-up, rotation by size, no sync.

use super::entry::{append, time_text};
use super::rotated;
use super::split::Splitter;
use crate::mux::Stream;
use crate::protocol::LogSettings;
use corten_std::{PathError, Timestamp, file};
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

/// The writing end of a log. A failure (disk full) loses the lines that could not be written and is kept for
/// [`LogWriter::take_failure`]; the container goes on.
#[derive(Debug)]
pub struct LogWriter {
    settings: LogSettings,
    /// The settings' attributes as JSON; empty where there are none.
    attributes: Vec<u8>,
    /// None where nothing is kept, or the file could not be opened.
    file: Option<File>,
    /// Length of the file in bytes.
    size: u64,
    stdout: Splitter,
    stderr: Splitter,
    /// Entries not yet written.
    batch: Vec<u8>,
    failure: Option<PathError>,
    /// The last failure was told; the next success resets it.
    failing: bool,
}

impl LogWriter {
    /// Opens the log for appending; a last line that a crash cut short is ended.
    pub fn open(settings: LogSettings) -> Self {
        let attributes = if settings.attributes.is_empty() {
            Vec::new()
        } else {
            serde_json::to_vec(&settings.attributes).unwrap_or_default()
        };
        let mut writer = Self {
            settings,
            attributes,
            file: None,
            size: 0,
            stdout: Splitter::default(),
            stderr: Splitter::default(),
            batch: Vec::new(),
            failure: None,
            failing: false,
        };
        writer.reopen();
        writer
    }

    /// Opens the file anew, after somebody moved it away.
    pub fn reopen(&mut self) {
        self.file = None;
        if self.settings.format == "none" {
            return;
        }
        match open(&self.settings) {
            Ok((file, size)) => {
                self.file = Some(file);
                self.size = size;
            }
            Err(error) => self.fail(error),
        }
    }

    /// Takes output of one stream; it is in the file after [`LogWriter::flush`].
    pub fn write(&mut self, stream: Stream, output: &[u8], time: Timestamp) {
        if self.settings.format == "none" {
            return;
        }
        let time = time_text(time);
        let mut splitter = std::mem::take(self.splitter(stream));
        splitter.feed(output, |text| self.entry(stream, text, &time));
        *self.splitter(stream) = splitter;
    }

    /// One stream has ended: what it left without a line feed becomes an entry.
    pub fn finish(&mut self, stream: Stream, time: Timestamp) {
        let mut splitter = std::mem::take(self.splitter(stream));
        splitter.finish(|text| self.entry(stream, text, &time_text(time)));
        self.flush();
    }

    /// Writes what is pending and gives its memory back.
    pub fn flush(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return;
        }
        if self.file.is_none() {
            // It could not be opened, or a rotation failed half-way: perhaps it works now.
            self.reopen();
        }
        let Some(file) = &mut self.file else { return };
        match file.write_all(&batch) {
            Ok(()) => {
                self.size += batch.len() as u64;
                self.failing = false;
            }
            Err(source) => {
                // What was written in part is taken back, so that the file stays one entry a line.
                let _ = file.set_len(self.size);
                let error = PathError::new("write", &self.settings.path, source);
                self.fail(error);
            }
        }
    }

    /// The failure since the last call, once per series of failures.
    pub fn take_failure(&mut self) -> Option<PathError> {
        self.failure.take()
    }

    fn splitter(&mut self, stream: Stream) -> &mut Splitter {
        if stream == Stream::Stderr { &mut self.stderr } else { &mut self.stdout }
    }

    fn entry(&mut self, stream: Stream, text: &[u8], time: &str) {
        if let Some(max_size) = self.settings.max_size
            && self.size + self.batch.len() as u64 >= max_size
        {
            self.flush();
            if self.size >= max_size {
                self.rotate();
            }
        }
        append(&mut self.batch, stream, text, &self.attributes, time);
    }

    /// `PATH` becomes `PATH.1`, and so on; the last is dropped.
    fn rotate(&mut self) {
        let Some(file) = &mut self.file else { return };
        if self.settings.max_file <= 1 {
            if let Err(source) = file.set_len(0) {
                let error = PathError::new("truncate", &self.settings.path, source);
                return self.fail(error);
            }
            self.size = 0;
            return;
        }
        for number in (1..self.settings.max_file).rev() {
            let from = rotated(&self.settings.path, number - 1);
            match file::rename(&from, rotated(&self.settings.path, number)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return self.fail(error),
                _ => {}
            }
        }
        self.reopen();
    }

    fn fail(&mut self, error: PathError) {
        if !self.failing {
            self.failing = true;
            self.failure = Some(error);
        }
    }
}

fn open(settings: &LogSettings) -> file::Result<(File, u64)> {
    let failed = |source| PathError::new("open", &settings.path, source);
    let mut file = OpenOptions::new()
        .append(true)
        .read(true)
        .create(true)
        .mode(0o640)
        .open(&settings.path)
        .map_err(failed)?;
    let mut size = file.seek(SeekFrom::End(0)).map_err(failed)?;
    if size > 0 {
        let mut last = [0];
        file.read_exact_at(&mut last, size - 1).map_err(failed)?;
        if last != *b"\n" {
            file.write_all(b"\n").map_err(failed)?;
            size += 1;
        }
    }
    Ok((file, size))
}
