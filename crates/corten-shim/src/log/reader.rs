//! Reads a log from any point on, also while it grows and is rotated.

use super::entry::LogEntry;
use super::rotated;
use super::view::{EntryView, append_unescaped};
use crate::mux::Stream;
use corten_std::{PathError, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// How much is read at a time, in bytes.
const BLOCK: usize = 256 * 1024;

/// So many bytes of the buffer are kept at the end of the log.
const KEPT: usize = 4096;

/// Longest line that is taken for an entry, in bytes; a longer one is damage and skipped.
const LONGEST_LINE: usize = 1024 * 1024;

/// Which entries are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Only so many entries from the end; none: all.
    pub tail: Option<u64>,
    /// None older than this.
    pub since: Option<Timestamp>,
    /// None newer than this.
    pub until: Option<Timestamp>,
}

/// What is known of an entry beside its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryHead {
    /// Which stream it came from.
    pub stream: Stream,
    /// When it was written; the zero time where nobody asked for it.
    pub time: Timestamp,
    /// Label and environment pairs.
    pub attributes: BTreeMap<String, String>,
}

/// A place in the log that moves on with each [`LogReader::next`].
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    options: ReadOptions,
    /// Files still to read, oldest first; the first is being read.
    files: VecDeque<Place>,
    /// Bytes read from the first file and not yet given out.
    buffer: Vec<u8>,
    /// How many of them are used up.
    used: usize,
    /// An entry newer than `until` was met.
    ended: bool,
}

/// A file and how far it was read.
#[derive(Debug)]
struct Place {
    file: File,
    inode: u64,
    position: u64,
}

impl Place {
    fn open(path: &Path) -> Result<Option<Self>, PathError> {
        let failed = |source| PathError::new("open", path, source);
        match File::open(path) {
            Ok(file) => {
                let inode = file.metadata().map_err(failed)?.ino();
                Ok(Some(Self { file, inode, position: 0 }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Tells the end of the numbered files from the gap that a rotation moves through them, the highest number first: each
/// file is renamed into the gap above it.
#[derive(Debug, Default)]
struct Gaps {
    last: Option<u32>,
}

impl Gaps {
    /// Takes a number without a file, and says whether there are none beyond. The file being written may be missing too.
    fn is_end(&mut self, number: u32) -> bool {
        let before = self.last.replace(number);
        number > 1 && before == Some(number - 1)
    }
}

impl LogReader {
    /// Opens a log with its rotated files. One that does not exist (yet) is empty.
    ///
    /// # Errors
    /// Where a file cannot be opened or read.
    pub fn open(path: impl Into<PathBuf>, options: ReadOptions) -> Result<Self, PathError> {
        let path = path.into();
        let mut files: VecDeque<Place> = VecDeque::new();
        // The newest first: a rotation meanwhile shows a file twice (skipped), never none.
        let mut gaps = Gaps::default();
        for number in 0.. {
            match Place::open(&rotated(&path, number))? {
                Some(place) if files.iter().any(|other| other.inode == place.inode) => {}
                Some(place) => files.push_front(place),
                None if gaps.is_end(number) => break,
                None => {}
            }
        }
        let mut reader = Self { path, options, files, buffer: Vec::new(), used: 0, ended: false };
        if let Some(count) = options.tail {
            reader.go_to_tail(count)?;
        }
        Ok(reader)
    }

    /// The next entry; none: the present end. Call again after the log has changed (see [`super::LogWatches`]), or
    /// stop where [`LogReader::is_ended`].
    ///
    /// # Errors
    /// Where a file cannot be read.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would be over for good at its first `None`"
    )]
    pub fn next(&mut self) -> Result<Option<LogEntry>, PathError> {
        while !self.ended {
            let Some(line) = self.next_line()? else { return Ok(None) };
            let Some(entry) = LogEntry::parse(&self.buffer[line]) else { continue };
            if self.is_wanted(entry.time) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Appends the text of the next entry to `out`, behind what `begin` appends for it; where that says false, nothing of
    /// the entry. `with_time`: `begin` wants to know it. False at the present end, as with [`LogReader::next`], of which
    /// this is the form for many entries.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn append_next(
        &mut self,
        out: &mut Vec<u8>,
        with_time: bool,
        begin: &mut dyn FnMut(&EntryHead, &mut Vec<u8>) -> bool,
    ) -> Result<bool, PathError> {
        let with_time = with_time || self.options.since.is_some() || self.options.until.is_some();
        while !self.ended {
            let Some(line) = self.next_line()? else { return Ok(false) };
            let start = out.len();
            let line = &self.buffer[line];
            let quick = EntryView::scan(line).and_then(|view| {
                let time = if with_time {
                    Timestamp::parse(std::str::from_utf8(view.time).ok()?)?
                } else {
                    Timestamp::ZERO
                };
                Some((view, time))
            });
            if let Some((view, time)) = quick {
                let escaped = view.escaped;
                let head = EntryHead { stream: view.stream, time, attributes: BTreeMap::new() };
                if with_time && !Self::passes(&self.options, &mut self.ended, time) {
                    continue;
                }
                if !begin(&head, out) || append_unescaped(escaped, out) {
                    return Ok(true);
                }
                out.truncate(start);
            }
            let Some(entry) = LogEntry::parse(line) else { continue };
            if !Self::passes(&self.options, &mut self.ended, entry.time) {
                continue;
            }
            let LogEntry { stream, line, time, attributes } = entry;
            if begin(&EntryHead { stream, time, attributes }, out) {
                out.extend_from_slice(line.as_bytes());
            }
            return Ok(true);
        }
        Ok(false)
    }

    fn is_wanted(&mut self, time: Timestamp) -> bool {
        Self::passes(&self.options, &mut self.ended, time)
    }

    /// Whether an entry of this time is wanted; one beyond `until` ends the reading.
    fn passes(options: &ReadOptions, ended: &mut bool, time: Timestamp) -> bool {
        if options.since.is_some_and(|since| time < since) {
            return false;
        }
        *ended |= options.until.is_some_and(|until| time > until);
        !*ended
    }

    /// Whether an entry beyond `until` was met: nothing more will come.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Where in the buffer the next complete line of the file is, without its line feed; until the next call.
    fn next_line(&mut self) -> Result<Option<Range<usize>>, PathError> {
        let mut searched = self.used;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[searched..]) {
                let line = self.used..searched + at;
                self.used = line.end + 1;
                return Ok(Some(line));
            }
            self.buffer.drain(..self.used);
            self.used = 0;
            if self.buffer.len() > LONGEST_LINE {
                // Damage: the rest up to the next line feed parses as nothing and is skipped with it.
                self.buffer.clear();
            }
            searched = self.buffer.len();
            if !self.fill()? && !self.next_file()? {
                // A follower waits here, and there may be hundreds of them.
                self.buffer.shrink_to(KEPT);
                return Ok(None);
            }
            searched = searched.min(self.buffer.len());
        }
    }

    /// Reads on in the present file; false at its end.
    fn fill(&mut self) -> Result<bool, PathError> {
        let Some(place) = self.files.front_mut() else { return Ok(false) };
        let failed = |source| PathError::new("read", &self.path, source);
        let before = self.buffer.len();
        // Most logs are short: no more room than there is to read.
        let left = place.file.metadata().map_err(failed)?.len().saturating_sub(place.position);
        let room = usize::try_from(left).unwrap_or(BLOCK).clamp(KEPT, BLOCK);
        self.buffer.resize(before + room, 0);
        let count = loop {
            match place.file.read_at(&mut self.buffer[before..], place.position) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.buffer.truncate(before);
                    return Err(failed(error));
                }
                Ok(count) => break count,
            }
        };
        self.buffer.truncate(before + count);
        place.position += count as u64;
        if count == 0 && place.file.metadata().map_err(failed)?.len() < place.position {
            // Truncated: with a single file that is what a rotation looks like.
            place.position = 0;
            self.buffer.clear();
            return self.fill();
        }
        Ok(count > 0)
    }

    /// At the end of a file: goes to the next newer one. False where this is the newest.
    fn next_file(&mut self) -> Result<bool, PathError> {
        if self.files.len() <= 1 {
            let Some(newer) = self.newer_file()? else { return Ok(false) };
            // Something may have been written between our reading its end and its being rotated.
            if self.fill()? {
                return Ok(true);
            }
            self.files.push_back(newer);
            if self.files.len() == 1 {
                return Ok(true);
            }
        }
        self.files.pop_front();
        // A line that a crash cut short ends with its file.
        self.buffer.clear();
        self.used = 0;
        Ok(true)
    }

    /// The file that follows the present one after a rotation; none where there was none.
    fn newer_file(&self) -> Result<Option<Place>, PathError> {
        let Some(present) = self.files.front() else { return self.oldest_file() };
        loop {
            let number = self.number_of(present.inode)?;
            let newer = match number {
                Some(0) => return Ok(None),
                Some(number) => Place::open(&rotated(&self.path, number - 1))?,
                // Dropped already: several rotations since.
                None => self.oldest_file()?,
            };
            // A rotation in between has moved everything on by one: look again.
            if self.number_of(present.inode)? == number {
                return Ok(newer);
            }
        }
    }

    /// The oldest file that is there.
    fn oldest_file(&self) -> Result<Option<Place>, PathError> {
        let mut oldest = None;
        let mut gaps = Gaps::default();
        for number in 0.. {
            match Place::open(&rotated(&self.path, number))? {
                Some(place) => oldest = Some(place),
                None if gaps.is_end(number) => break,
                None => {}
            }
        }
        Ok(oldest)
    }

    /// Under which number a file is found; 0 is the one being written.
    fn number_of(&self, inode: u64) -> Result<Option<u32>, PathError> {
        let mut gaps = Gaps::default();
        for number in 0.. {
            let path = rotated(&self.path, number);
            match std::fs::metadata(&path) {
                Ok(metadata) if metadata.ino() == inode => return Ok(Some(number)),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound && !gaps.is_end(number) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                Err(error) => return Err(PathError::new("look at", path, error)),
            }
        }
        Ok(None)
    }

    /// Moves to where `count` entries are left.
    fn go_to_tail(&mut self, count: u64) -> Result<(), PathError> {
        let mut wanted = count;
        for index in (0..self.files.len()).rev() {
            let place = &mut self.files[index];
            let found = tail_position(&place.file, &mut wanted)
                .map_err(|source| PathError::new("read", &self.path, source))?;
            if let Some(position) = found {
                place.position = position;
                self.files.drain(..index);
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The position behind the line feed before the last `wanted` lines; none where the file has no more than those:
/// `wanted` is less by its lines then.
fn tail_position(file: &File, wanted: &mut u64) -> io::Result<Option<u64>> {
    let mut end = file.metadata()?.len();
    let mut block = vec![0_u8; usize::try_from(end).unwrap_or(BLOCK).min(BLOCK)];
    // The line feed of a line is counted when the one before it is met.
    let mut feeds = 0;
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let part = &mut block[..(end - start) as usize];
        file.read_exact_at(part, start)?;
        for at in (0..part.len()).rev() {
            if part[at] == b'\n' {
                if feeds == *wanted {
                    return Ok(Some(start + at as u64 + 1));
                }
                feeds += 1;
            }
        }
        end = start;
    }
    *wanted -= feeds;
    Ok(if *wanted == 0 { Some(0) } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogWriter;
    use crate::protocol::LogSettings;
    use proptest::prelude::*;

    fn settings(path: PathBuf, max_size: Option<u64>, max_file: u32) -> LogSettings {
        LogSettings { max_size, max_file, ..LogSettings::json_file(path) }
    }

    fn read_all(reader: &mut LogReader) -> Vec<String> {
        std::iter::from_fn(|| reader.next().unwrap()).map(|entry| entry.line).collect()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix(second, 0)
    }

    #[test]
    fn tail_since_and_until_choose_over_rotated_files() {
        let scratch = corten_testing::Scratch::new("log");
        let path = scratch.path().join("x.log");
        let mut writer = LogWriter::open(settings(path.clone(), Some(150), 10));
        for second in 0..10 {
            writer.write(Stream::Stdout, format!("line {second}\n").as_bytes(), at(second));
            writer.flush();
        }
        assert!(rotated(&path, 3).exists());
        let cases = [
            (ReadOptions::default(), 0..10),
            (ReadOptions { tail: Some(0), ..ReadOptions::default() }, 10..10),
            (ReadOptions { tail: Some(1), ..ReadOptions::default() }, 9..10),
            (ReadOptions { tail: Some(7), ..ReadOptions::default() }, 3..10),
            (ReadOptions { tail: Some(99), ..ReadOptions::default() }, 0..10),
            (ReadOptions { since: Some(at(4)), until: Some(at(6)), tail: None }, 4..7),
            (ReadOptions { since: Some(at(4)), tail: Some(3), until: None }, 7..10),
        ];
        for (options, lines) in cases {
            let expected: Vec<String> = lines.map(|second| format!("line {second}\n")).collect();
            let mut reader = LogReader::open(&path, options).unwrap();
            assert_eq!(read_all(&mut reader), expected, "{options:?}");
        }
        crate::log::remove(&path).unwrap();
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_rotation_half_way_hides_no_file() {
        let scratch = corten_testing::Scratch::new("log");
        let path = scratch.path().join("x.log");
        let line = |number: u32| {
            format!("{{\"log\":\"{number}\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:00Z\"}}\n")
        };
        // Numbers 3 and 2 have moved on already, 1 and 0 are to follow.
        for (number, place) in [(0, 0), (1, 1), (2, 3), (3, 4)] {
            std::fs::write(rotated(&path, place), line(number)).unwrap();
        }
        let mut reader = LogReader::open(&path, ReadOptions::default()).unwrap();
        assert_eq!(read_all(&mut reader), ["3\n", "2\n", "1\n", "0\n"]);
        let oldest = rotated(&path, 4);
        assert_eq!(reader.number_of(std::fs::metadata(&oldest).unwrap().ino()).unwrap(), Some(4));
        assert_eq!(reader.oldest_file().unwrap().unwrap().inode, std::fs::metadata(&oldest).unwrap().ino());
    }

    #[test]
    fn a_single_file_that_is_truncated_is_followed() {
        let scratch = corten_testing::Scratch::new("log");
        let path = scratch.path().join("x.log");
        let mut writer = LogWriter::open(settings(path.clone(), Some(200), 1));
        let mut reader = LogReader::open(&path, ReadOptions::default()).unwrap();
        let mut seen = Vec::new();
        for second in 0..20 {
            writer.write(Stream::Stderr, format!("{second}\n").as_bytes(), at(second));
            writer.flush();
            seen.extend(read_all(&mut reader));
        }
        assert_eq!(seen, (0..20).map(|second| format!("{second}\n")).collect::<Vec<_>>());
    }

    #[test]
    fn a_line_cut_by_a_crash_is_skipped_and_the_rest_is_whole() {
        let scratch = corten_testing::Scratch::new("log");
        let path = scratch.path().join("x.log");
        std::fs::write(&path, "{\"log\":\"half").unwrap();
        let mut writer = LogWriter::open(settings(path.clone(), None, 1));
        writer.write(Stream::Stdout, b"whole\nno end", at(1));
        writer.finish(Stream::Stdout, at(2));
        let mut reader = LogReader::open(&path, ReadOptions::default()).unwrap();
        assert_eq!(read_all(&mut reader), ["whole\n", "no end"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn a_follower_sees_each_line_once_whatever_is_rotated(
            sizes in proptest::collection::vec((1_usize..400, any::<bool>()), 1..60),
            max_size in 100_u64..2_000,
        ) {
            let scratch = corten_testing::Scratch::new("follow");
            let path = scratch.path().join("x.log");
            // Enough files that nothing is dropped before the follower has read it.
            let mut writer = LogWriter::open(settings(path.clone(), Some(max_size), 100));
            let mut reader = LogReader::open(&path, ReadOptions::default()).unwrap();
            let mut expected = Vec::new();
            let mut seen = Vec::new();
            for (number, (size, look)) in sizes.into_iter().enumerate() {
                let line = format!("{number} {}\n", "x".repeat(size));
                writer.write(Stream::Stdout, line.as_bytes(), at(1));
                writer.flush();
                expected.push(line);
                if look {
                    seen.extend(read_all(&mut reader));
                }
            }
            seen.extend(read_all(&mut reader));
            prop_assert_eq!(seen, expected.clone());
            let mut again = LogReader::open(&path, ReadOptions { tail: Some(5), ..ReadOptions::default() }).unwrap();
            let tail = expected.len().saturating_sub(5);
            prop_assert_eq!(read_all(&mut again), expected[tail..].to_vec());
        }
    }
}
