//! The journal: changes of rows since the database was written last, in a file beside it.
//!
//! A commit of the database waits for the disk twice: for its pages, then for the page that makes them current. A record of
//! the journal waits once, for a page or two that are written over. So a change is a record, and the database is written
//! when the journal is full.
//!
//! Records follow each other, each from the beginning of a page of its own, so that no write touches a record that was
//! acknowledged:
//!
//! ```text
//! length of the body   u32, little-endian like all numbers here
//! check                u32, CRC-32 of identity, sequence number and body
//! sequence number      u64
//! body                 changes: u16 length of the table's name, u32 of the key, u32 of the value (all ones: the row goes); the three
//! ```
//!
//! Numbers count up from the first record on. Those count that have higher ones than the last that the database holds: all of
//! them, but where a write of the database failed and yet came to the disk, for then the journal did not begin anew. What is left
//! of an earlier round has lower numbers, what was torn has another check. Neither is an error: it is where the journal ends. The
//! identity is the database's, so that the journal of another is none.

use crate::Result;
use crate::database::Change;
use corten_std::{PathError, file};
use flate2::Crc;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What the file may grow to, in bytes: also what the daemon keeps in memory of it, at most.
const LIMIT: u64 = 1 << 20;
/// The file grows by so many bytes at a time: a write that changes its length waits longer.
const STEP: u64 = 64 << 10;
/// Where records begin: multiples of this.
const PAGE: u64 = 4096;
const HEAD: usize = 16;
/// The length of a value that is none.
const GONE: u32 = u32::MAX;

/// The open file.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    identity: u64,
    /// The number of the last record that was written, or tried.
    sequence: u64,
    /// Where the next record goes.
    end: u64,
    /// The file's length.
    length: u64,
    /// A write failed: nothing is added until [`Journal::restart`].
    broken: bool,
    /// From now on the disk says that it failed.
    #[cfg(test)]
    pub(crate) sync_fails: bool,
}

impl Journal {
    /// Opens or makes the file. Returns also what its records say that come after number `applied`, oldest first.
    pub(crate) fn open(path: &Path, identity: u64, applied: u64) -> Result<(Self, Vec<Change>)> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|source| PathError::new("open", path, source))?;
        // Also where it is there: whoever made it may have died before this.
        if let Some(folder) = path.parent() {
            file::sync_dir(folder)?;
        }
        let read = |source| PathError::new("read", path, source);
        let length = file.metadata().map_err(read)?.len();
        let mut this = Self {
            file,
            path: path.to_owned(),
            identity,
            sequence: applied,
            end: 0,
            length,
            broken: false,
            #[cfg(test)]
            sync_fails: false,
        };
        if let Some(first) = this.first().map_err(read)?.filter(|first| (1..=applied).contains(first)) {
            this.sequence = first - 1;
        }
        let mut changes = Vec::new();
        while let Some(body) = this.record().map_err(read)? {
            let Some(mut found) = decode(&body) else { break };
            if this.sequence >= applied {
                changes.append(&mut found);
            }
            this.sequence += 1;
            this.end += place(body.len());
        }
        if this.sequence < applied {
            // What the database holds more than these records was in later ones, or in none.
            (this.sequence, this.end) = (applied, 0);
        }
        Ok((this, changes))
    }

    /// The number that the record at the front says it has.
    fn first(&self) -> std::io::Result<Option<u64>> {
        let mut head = [0; HEAD];
        if self.length < HEAD as u64 {
            return Ok(None);
        }
        self.file.read_exact_at(&mut head, 0)?;
        Ok(head.last_chunk().map(|number| u64::from_le_bytes(*number)))
    }

    /// The body of the record at the end, where there is one that counts.
    fn record(&self) -> std::io::Result<Option<Vec<u8>>> {
        let mut head = [0; HEAD];
        if self.length.saturating_sub(self.end) < HEAD as u64 {
            return Ok(None);
        }
        self.file.read_exact_at(&mut head, self.end)?;
        let [length, check] = [0, 4].map(|at| u32::from_le_bytes([0, 1, 2, 3].map(|byte| head[at + byte])));
        let room = self.length - self.end - HEAD as u64;
        if head[8..] != (self.sequence + 1).to_le_bytes() || u64::from(length) > room {
            return Ok(None);
        }
        let mut body = vec![0; length as usize];
        self.file.read_exact_at(&mut body, self.end + HEAD as u64)?;
        Ok((check == self.check(self.sequence + 1, &body)).then_some(body))
    }

    fn check(&self, sequence: u64, body: &[u8]) -> u32 {
        let mut crc = Crc::new();
        crc.update(&self.identity.to_le_bytes());
        crc.update(&sequence.to_le_bytes());
        crc.update(body);
        crc.sum()
    }

    /// Whose journal it is.
    pub(crate) fn identity(&self) -> u64 {
        self.identity
    }

    /// The number of the last record.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Writes a record of these changes, which is on the disk when this returns; false where there is no room for it, or an
    /// earlier one failed.
    ///
    /// # Errors
    /// The write failed, and whether the record counts after a power cut is not known until the database has been written with what
    /// [`Journal::sequence`] says, and [`Journal::restart`] was called.
    pub(crate) fn append(&mut self, changes: &[Change]) -> Result<bool> {
        let Some(body) = encode(changes).filter(|_| !self.broken) else { return Ok(false) };
        let size = place(body.len());
        let Some(length) = u32::try_from(body.len()).ok().filter(|_| self.end + size <= LIMIT) else {
            return Ok(false);
        };
        // Where the disk is full nothing of the record has been written.
        self.grow(self.end + size).map_err(|source| PathError::new("write", &self.path, source))?;
        self.sequence += 1;
        let mut record = Vec::with_capacity(HEAD + body.len());
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(&self.check(self.sequence, &body).to_le_bytes());
        record.extend_from_slice(&self.sequence.to_le_bytes());
        record.extend_from_slice(&body);
        let written = self.file.write_all_at(&record, self.end).and_then(|()| self.sync());
        if let Err(source) = written {
            self.broken = true;
            // Its caller is told of the failure: it should not count where this process is killed now.
            if self.file.set_len(self.end).is_ok() {
                self.length = self.end;
            }
            return Err(PathError::new("write", &self.path, source).into());
        }
        self.end += size;
        Ok(true)
    }

    fn sync(&self) -> std::io::Result<()> {
        #[cfg(test)]
        if self.sync_fails {
            return Err(std::io::Error::other("failed on purpose"));
        }
        self.file.sync_data()
    }

    fn grow(&mut self, wanted: u64) -> std::io::Result<()> {
        if wanted > self.length {
            let length = wanted.next_multiple_of(STEP);
            let zeros = vec![0; usize::try_from(length - self.length).unwrap_or_default()];
            self.file.write_all_at(&zeros, self.length)?;
            self.length = length;
        }
        Ok(())
    }

    /// Whether nobody knows if the last record counts.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// What a failed wait for the disk leaves, where the record came there all the same.
    #[cfg(test)]
    pub(crate) fn break_off(&mut self) {
        self.broken = true;
    }

    /// From now on writes fail.
    #[cfg(test)]
    pub(crate) fn forbid_writing(&mut self) {
        self.file = File::open(&self.path).expect("the journal");
    }

    /// Begins from the front: the database holds what all records say.
    pub(crate) fn restart(&mut self) {
        (self.end, self.broken) = (0, false);
    }
}

/// The bytes that a record with such a body takes.
fn place(body: usize) -> u64 {
    ((HEAD + body) as u64).next_multiple_of(PAGE)
}

/// None where a length does not fit.
fn encode(changes: &[Change]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    for Change { table, key, value } in changes {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).ok().filter(|length| *length != GONE);
        let value_length = value.as_deref().map_or(Some(GONE), length)?;
        body.extend_from_slice(&u16::try_from(table.len()).ok()?.to_le_bytes());
        body.extend_from_slice(&length(key.as_bytes())?.to_le_bytes());
        body.extend_from_slice(&value_length.to_le_bytes());
        body.extend_from_slice(table.as_bytes());
        body.extend_from_slice(key.as_bytes());
        body.extend_from_slice(value.as_deref().unwrap_or_default());
    }
    Some(body)
}

fn decode(mut body: &[u8]) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    while !body.is_empty() {
        let table = u16::from_le_bytes(*body.split_off(..2)?.first_chunk()?);
        let [key, value] = [(); 2].map(|()| Some(u32::from_le_bytes(*body.split_off(..4)?.first_chunk()?)));
        let (key, value) = (key?, value?);
        let table = String::from_utf8(body.split_off(..usize::from(table))?.to_vec()).ok()?;
        let key = String::from_utf8(body.split_off(..key as usize)?.to_vec()).ok()?;
        let value = if value == GONE { None } else { Some(body.split_off(..value as usize)?.to_vec()) };
        changes.push(Change { table: table.into(), key, value });
    }
    Some(changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_testing::Scratch;
    use proptest::prelude::*;

    fn change(key: &str, value: Option<&[u8]>) -> Change {
        Change { table: "thing".into(), key: key.to_owned(), value: value.map(<[u8]>::to_vec) }
    }

    fn keys(changes: &[Change]) -> Vec<&str> {
        changes.iter().map(|change| change.key.as_str()).collect()
    }

    /// A journal with these records, one change each.
    fn journal(path: &Path, records: &[&str]) -> Journal {
        let (mut journal, found) = Journal::open(path, 7, 0).unwrap();
        assert!(found.is_empty());
        for key in records {
            assert!(journal.append(&[change(key, Some(b"value"))]).unwrap());
        }
        journal
    }

    #[test]
    fn records_are_found_again_up_to_the_first_that_does_not_count() {
        let scratch = Scratch::new("journal");
        let path = scratch.path().join("state.journal");
        let mut first = journal(&path, &["a", "b", "c"]);
        let (again, found) = Journal::open(&path, 7, 0).unwrap();
        assert_eq!((keys(&found), again.sequence()), (vec!["a", "b", "c"], 3));
        // Where a write of the database came to the disk though it was said to have failed, the journal goes on behind it.
        let (again, found) = Journal::open(&path, 7, 2).unwrap();
        assert_eq!((keys(&found), again.sequence(), again.end), (vec!["c"], 3, 3 * PAGE));
        let (again, found) = Journal::open(&path, 7, 5).unwrap();
        assert_eq!((keys(&found), again.sequence(), again.end), (vec![], 5, 0));
        // Another database's.
        assert!(Journal::open(&path, 8, 0).unwrap().1.is_empty());
        // What the database holds already.
        first.restart();
        assert!(Journal::open(&path, 7, 3).unwrap().1.is_empty());
        assert!(first.append(&[change("d", None), change("e", Some(b""))]).unwrap());
        let (_, found) = Journal::open(&path, 7, 3).unwrap();
        assert_eq!(keys(&found), ["d", "e"]);
        assert_eq!((&found[0].value, &found[1].value), (&None, &Some(Vec::new())));
    }

    #[test]
    fn a_full_journal_says_so_until_it_begins_anew() {
        let scratch = Scratch::new("journal");
        let mut journal = journal(&scratch.path().join("state.journal"), &[]);
        let value = vec![1; 100_000];
        let fit = (0..20).take_while(|_| journal.append(&[change("key", Some(&value))]).unwrap()).count();
        assert_eq!(fit as u64, LIMIT / place(value.len()));
        assert_eq!(journal.file.metadata().unwrap().len(), LIMIT);
        assert!(!journal.append(&[change("key", Some(&vec![0; LIMIT as usize]))]).unwrap());
        journal.restart();
        assert!(journal.append(&[change("key", Some(&value))]).unwrap());
    }

    #[test]
    fn after_a_failed_write_nothing_is_added_until_it_begins_anew() {
        let scratch = Scratch::new("journal");
        let path = scratch.path().join("state.journal");
        let mut journal = journal(&path, &["a"]);
        let writable = std::mem::replace(&mut journal.file, File::open(&path).unwrap());
        let error = journal.append(&[change("b", None)]).unwrap_err();
        assert!(error.to_string().contains("state.journal"), "{error}");
        journal.file = writable;
        assert!(!journal.append(&[change("c", None)]).unwrap());
        assert_eq!(journal.sequence(), 2);
        journal.restart();
        assert!(journal.append(&[change("d", None)]).unwrap());
        assert_eq!(keys(&Journal::open(&path, 7, 2).unwrap().1), ["d"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever a power cut makes of the pages of the last record, the others are read, and nothing else is.
        #[test]
        fn a_torn_record_hides_no_other(torn in 0_usize..3, at in 0_usize..64, bytes in proptest::collection::vec(any::<u8>(), 1..64)) {
            let scratch = Scratch::new("journal");
            let path = scratch.path().join("state.journal");
            drop(journal(&path, &["a", "b", "c"]));
            let mut file = file::read(&path).unwrap();
            let whole = file.clone();
            let place = torn * PAGE as usize + at;
            file[place..place + bytes.len()].copy_from_slice(&bytes);
            let used = HEAD + encode(&[change("a", Some(b"value"))]).unwrap().len();
            let record = torn * PAGE as usize..torn * PAGE as usize + used;
            let harmless = file[record.clone()] == whole[record];
            file::write(&path, &file).unwrap();
            let (_, found) = Journal::open(&path, 7, 0).unwrap();
            let expected = &["a", "b", "c"][..if harmless { 3 } else { torn }];
            prop_assert_eq!(keys(&found), expected);
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn what_is_written_is_read(changes in proptest::collection::vec(("[a-z.]{0,9}", ".{0,20}", proptest::option::of(proptest::collection::vec(any::<u8>(), 0..50))), 0..8)) {
            let changes: Vec<Change> = changes.into_iter().map(|(table, key, value)| Change { table: table.into(), key, value }).collect();
            let again = decode(&encode(&changes).unwrap()).unwrap();
            prop_assert_eq!(again.len(), changes.len());
            for (one, other) in again.iter().zip(&changes) {
                prop_assert_eq!((&one.table, &one.key, &one.value), (&other.table, &other.key, &other.value));
            }
        }
    }
}
