//! Makes a layer's tar again from its record and its folder.

use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use crate::LayerError;
use crate::path::to_path_buf;
use crate::record::{Piece, RecordReader};
use crate::root::{Root, open_file};

/// How much of a file is read at once, in bytes.
const BUFFER: usize = 256 * 1024;

/// Writes to `out` the tar that was applied to `root` (or made of it), byte for byte, and gives its length. The caller compares its
/// digest: a file of the same length with other content cannot be told here.
pub fn reproduce(
    record: impl Read + Seek,
    root: BorrowedFd<'_>,
    out: &mut dyn Write,
) -> Result<u64, LayerError> {
    let mut record = RecordReader::new(record)?;
    let root = Root::new(root)?;
    let top = root.top().fd.as_fd();
    let failed = |source| LayerError::Write { what: "archive", source };
    let mut buffer = vec![0; BUFFER];
    let mut written = 0;
    while let Some(piece) = record.next_piece()? {
        match piece {
            Piece::Raw(bytes) => {
                out.write_all(&bytes).map_err(failed)?;
                written += bytes.len() as u64;
            }
            Piece::Zeros(length) => {
                std::io::copy(&mut std::io::repeat(0).take(length), out).map_err(failed)?;
                written += length;
            }
            Piece::File { path, size } => {
                copy_file(top, &path, size, &mut buffer, out)?;
                written += size;
            }
            Piece::Overwritten { size, frames, .. } => {
                record.overwritten(&frames, size, out)?;
                written += size;
            }
        }
    }
    if written != record.tar_size() {
        return Err(LayerError::Record { reason: "the tar has another length", source: None });
    }
    out.flush().map_err(failed)?;
    Ok(written)
}

fn copy_file(
    top: BorrowedFd<'_>,
    path: &[u8],
    size: u64,
    buffer: &mut [u8],
    out: &mut dyn Write,
) -> Result<(), LayerError> {
    let changed = |what| LayerError::Changed { path: to_path_buf(path), what };
    let (mut file, length) = match open_file(top, path) {
        Ok(opened) => opened,
        Err(Errno::NOENT | Errno::NOTDIR) => return Err(changed("it is gone")),
        Err(Errno::INVAL | Errno::LOOP) => return Err(changed("it is no longer a file")),
        Err(error) => return Err(LayerError::entry("open", path, error)),
    };
    if length != size {
        return Err(changed("its size differs"));
    }
    let mut remaining = size;
    while remaining > 0 {
        let wanted = usize::try_from(remaining).unwrap_or(usize::MAX).min(buffer.len());
        let length =
            file.read(&mut buffer[..wanted]).map_err(|error| LayerError::entry("read", path, error))?;
        if length == 0 {
            return Err(changed("its size differs"));
        }
        out.write_all(&buffer[..length]).map_err(|source| LayerError::Write { what: "archive", source })?;
        remaining -= length as u64;
    }
    Ok(())
}
