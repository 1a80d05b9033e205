//! Writes an archive as a stream.

use std::io::Write;

use super::header::{self, Block};
use super::{BLOCK, Entry, EntryKind, Time, padding};
use crate::LayerError;

/// An archive being written. Without [`Writer::finish`] it has no end mark.
pub struct Writer<W> {
    output: W,
    headers: Vec<u8>,
    offset: u64,
}

impl<W: Write> Writer<W> {
    /// Begins an archive.
    pub fn new(output: W) -> Self {
        Self { output, headers: Vec::new(), offset: 0 }
    }

    /// Writes an entry whose whole content is at hand. `entry.size` is the length of `content`.
    pub fn append(&mut self, entry: &Entry, content: &[u8]) -> Result<(), LayerError> {
        self.append_stream(entry, &mut &*content)
    }

    /// Writes an entry with `entry.size` bytes from `content`; an error when there are fewer.
    pub fn append_stream(
        &mut self,
        entry: &Entry,
        content: &mut dyn std::io::Read,
    ) -> Result<(), LayerError> {
        self.headers.clear();
        encode(entry, &mut self.headers);
        self.output.write_all(&self.headers).map_err(failed)?;
        self.offset += self.headers.len() as u64;
        let mut buffer = vec![0; usize::try_from(entry.size).unwrap_or(usize::MAX).clamp(BLOCK, 128 * 1024)];
        let mut remaining = entry.size;
        while remaining > 0 {
            let wanted = usize::try_from(remaining).unwrap_or(usize::MAX).min(buffer.len());
            let length = content.read(&mut buffer[..wanted]).map_err(LayerError::Read)?;
            if length == 0 {
                return Err(LayerError::Truncated { path: crate::path::to_path_buf(&entry.path) });
            }
            self.output.write_all(&buffer[..length]).map_err(failed)?;
            remaining -= length as u64;
        }
        self.output.write_all(&[0; BLOCK][..padding(entry.size)]).map_err(failed)?;
        self.offset += entry.size + padding(entry.size) as u64;
        Ok(())
    }

    /// Bytes written so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Writes the end mark, flushes, and gives the output back.
    pub fn finish(mut self) -> Result<W, LayerError> {
        self.output.write_all(&[0; 2 * BLOCK]).map_err(failed)?;
        self.output.flush().map_err(failed)?;
        Ok(self.output)
    }
}

fn failed(source: std::io::Error) -> LayerError {
    LayerError::Write { what: "archive", source }
}

/// Appends the header of `entry` to `out`: a ustar block, before it a PAX header where a value does not fit.
pub fn encode(entry: &Entry, out: &mut Vec<u8>) {
    let mut path = entry.path.clone();
    if entry.kind == EntryKind::Directory && !path.ends_with(b"/") {
        path.push(b'/');
    }
    let mut records = Vec::new();
    let mut block = [0; BLOCK];
    if let Some((prefix, name)) = ustar_name(&path) {
        block[345..345 + prefix.len()].copy_from_slice(prefix);
        block[..name.len()].copy_from_slice(name);
    } else {
        records.push((b"path".to_vec(), path.clone()));
        put_ascii(&mut block[..100], &path);
    }
    if entry.link.len() <= 100 && entry.link.is_ascii() {
        block[157..157 + entry.link.len()].copy_from_slice(&entry.link);
    } else {
        records.push((b"linkpath".to_vec(), entry.link.clone()));
        put_ascii(&mut block[157..257], &entry.link);
    }
    octal(&mut block[100..108], u64::from(entry.mode));
    for (range, key, value) in
        [(108..116, &b"uid"[..], entry.uid), (116..124, b"gid", entry.gid), (124..136, b"size", entry.size)]
    {
        if !octal(&mut block[range], value) {
            records.push((key.to_vec(), value.to_string().into_bytes()));
        }
    }
    let whole = entry.mtime.nanoseconds == 0;
    let seconds = u64::try_from(entry.mtime.seconds).unwrap_or(0);
    if !octal(&mut block[136..148], seconds) || entry.mtime.seconds < 0 || !whole {
        records.push((b"mtime".to_vec(), pax_time(entry.mtime).into_bytes()));
    }
    if let Some(atime) = entry.atime {
        records.push((b"atime".to_vec(), pax_time(atime).into_bytes()));
    }
    for (name, value) in &entry.xattrs {
        if !name.contains(&b'=') {
            records.push(([b"SCHILY.xattr.", name.as_slice()].concat(), value.clone()));
        }
    }
    octal(&mut block[329..337], u64::from(entry.device.0));
    octal(&mut block[337..345], u64::from(entry.device.1));
    block[156] = match entry.kind {
        EntryKind::File => b'0',
        EntryKind::HardLink => b'1',
        EntryKind::Symlink => b'2',
        EntryKind::CharacterDevice => b'3',
        EntryKind::BlockDevice => b'4',
        EntryKind::Directory => b'5',
        EntryKind::Fifo => b'6',
        EntryKind::GlobalHeader => b'g',
        EntryKind::Other(other) => other,
    };
    if !records.is_empty() {
        encode_pax(&path, records, out);
    }
    seal(&mut block);
    out.extend_from_slice(&block);
}

fn encode_pax(path: &[u8], mut records: Vec<(Vec<u8>, Vec<u8>)>, out: &mut Vec<u8>) {
    records.sort();
    let mut body = Vec::new();
    for (key, value) in records {
        // The length counts its own digits.
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        body.extend_from_slice(length.to_string().as_bytes());
        body.push(b' ');
        body.extend_from_slice(&key);
        body.push(b'=');
        body.extend_from_slice(&value);
        body.push(b'\n');
    }
    let mut block = [0; BLOCK];
    let trimmed = path.strip_suffix(b"/").unwrap_or(path);
    let base = trimmed.rsplit(|&byte| byte == b'/').next().unwrap_or(trimmed);
    put_ascii(&mut block[..100], &[b"PaxHeaders.0/", base].concat());
    octal(&mut block[100..108], 0o644);
    octal(&mut block[108..116], 0);
    octal(&mut block[116..124], 0);
    octal(&mut block[124..136], body.len() as u64);
    octal(&mut block[136..148], 0);
    octal(&mut block[329..337], 0);
    octal(&mut block[337..345], 0);
    block[156] = b'x';
    seal(&mut block);
    out.extend_from_slice(&block);
    out.extend_from_slice(&body);
    out.resize(out.len() + padding(body.len() as u64), 0);
}

/// Prefix and name, where the path fits into a ustar header.
fn ustar_name(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if !path.is_ascii() {
        return None;
    }
    if path.len() <= 100 {
        return Some((&[], path));
    }
    // The rest after the slash must be 1 to 100 bytes and the prefix at most 155.
    let earliest = path.len() - 101;
    let slash = earliest + path[earliest..].iter().position(|&byte| byte == b'/')?;
    (slash > 0 && slash <= 155 && slash + 1 < path.len()).then(|| (&path[..slash], &path[slash + 1..]))
}

fn put_ascii(field: &mut [u8], value: &[u8]) {
    let ascii = value.iter().copied().filter(|byte| byte.is_ascii() && *byte != 0);
    for (place, byte) in field.iter_mut().zip(ascii) {
        *place = byte;
    }
}

/// Writes `value` as octal text with a closing zero; `false`, and zeros, where it does not fit.
fn octal(field: &mut [u8], value: u64) -> bool {
    let digits = field.len() - 1;
    let fits = value < 1 << (3 * digits);
    let mut rest = if fits { value } else { 0 };
    for place in field[..digits].iter_mut().rev() {
        *place = b'0' + (rest & 7) as u8;
        rest >>= 3;
    }
    fits
}

fn pax_time(time: Time) -> String {
    let (seconds, nanoseconds) = (time.seconds, time.nanoseconds);
    if nanoseconds == 0 {
        return seconds.to_string();
    }
    let text = if seconds < 0 {
        // Rounded down: -2 s + 0.5 s is written -1.5.
        let sign = "-";
        format!("{sign}{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds)
    } else {
        format!("{seconds}.{nanoseconds:09}")
    };
    text.trim_end_matches('0').to_owned()
}

fn seal(block: &mut Block) {
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum = header::sum(block);
    octal(&mut block[148..155], u64::from(sum));
    block[155] = b' ';
}
