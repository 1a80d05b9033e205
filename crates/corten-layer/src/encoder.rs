//! A writer that makes what is written through it shorter, for whoever asked for that form.

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use std::fmt;
use std::io::{self, Write};

/// The writer.
pub struct Encoder<W: Write>(Form<W>);

enum Form<W: Write> {
    Plain(W),
    Gzip(GzEncoder<W>),
    Deflate(DeflateEncoder<W>),
}

impl<W: Write> Encoder<W> {
    /// Hands everything on as it is.
    pub fn plain(writer: W) -> Self {
        Self(Form::Plain(writer))
    }

    /// Writes gzip (RFC 1952).
    pub fn gzip(writer: W) -> Self {
        Self(Form::Gzip(GzEncoder::new(writer, Compression::default())))
    }

    /// Writes deflate without any head (RFC 1951).
    pub fn deflate(writer: W) -> Self {
        Self(Form::Deflate(DeflateEncoder::new(writer, Compression::default())))
    }

    /// Writes what was held back, and the form's end.
    ///
    /// # Errors
    /// What the writer says.
    pub fn finish(self) -> io::Result<()> {
        match self.0 {
            Form::Plain(mut writer) => writer.flush(),
            Form::Gzip(encoder) => encoder.finish().map(drop),
            Form::Deflate(encoder) => encoder.finish().map(drop),
        }
    }
}

impl<W: Write> fmt::Debug for Encoder<W> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.0 {
            Form::Plain(_) => "Plain",
            Form::Gzip(_) => "Gzip",
            Form::Deflate(_) => "Deflate",
        })
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Form::Plain(writer) => writer.write(bytes),
            Form::Gzip(encoder) => encoder.write(bytes),
            Form::Deflate(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Form::Plain(writer) => writer.flush(),
            Form::Gzip(encoder) => encoder.flush(),
            Form::Deflate(encoder) => encoder.flush(),
        }
    }
}
