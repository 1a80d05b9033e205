//! The record of a layer.

use std::io::{self, Write};

/// A record that nobody keeps: given to [`crate::apply`] or [`crate::diff`] where the tar is not made again.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRecord;

impl Write for NoRecord {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
