//! The database: tables of JSON documents keyed by text, a schema version, and the steps that raise it.
//!
//! Every change is on disk when it returns: as a record of the journal, and in memory until the journal is full; then all of it goes
//! into the database's file by one commit (`Immediate`), which leaves the file so that opening it after a kill needs no
//! repair (`set_quick_repair`). Changes that wait while another is written go together: fifty removals at once cost a few syncs,
//! not fifty.

use crate::journal::Journal;
pub(crate) use crate::tables::JsonTable;
use crate::tables::{self, Tables, decode};
use crate::{Result, StoreError};
use corten_std::id::random_bytes;
use redb::WriteTransaction;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Rows that were changed since the database was written last, by table and key; no bytes where the row is gone.
type Recent = HashMap<Cow<'static, str>, BTreeMap<String, Option<Vec<u8>>>>;

/// Images by digest.
pub(crate) const IMAGES: JsonTable = JsonTable::new("store.image");
/// Images' names, canonical, to digests.
pub(crate) const TAGS: JsonTable = JsonTable::new("store.tag");
/// Blobs by digest.
pub(crate) const BLOBS: JsonTable = JsonTable::new("store.blob");
/// Committed snapshots by key.
pub(crate) const SNAPSHOTS: JsonTable = JsonTable::new("store.snapshot");
/// Leases by id.
pub(crate) const LEASES: JsonTable = JsonTable::new("store.lease");
/// Blobs that were dropped, by digest, with how they can be had again.
pub(crate) const DROPPED_BLOBS: JsonTable = JsonTable::new("store.dropped-blob");
/// Snapshots of images whose folders were dropped, by key.
pub(crate) const DROPPED_LAYERS: JsonTable = JsonTable::new("store.dropped-layer");
/// The store's own facts: schema version, last boot.
pub(crate) const META: JsonTable = JsonTable::new("store.meta");

const SCHEMA: &str = "schema";
const JOURNAL: &str = "journal";

/// The row of [`META`] about the journal.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Journaled {
    /// Whose journal it is.
    identity: u64,
    /// The number of the last record that the tables hold.
    applied: u64,
}

/// A step from one schema version to the next.
#[derive(Clone, Copy)]
pub(crate) struct Migration {
    /// The version that it makes.
    pub(crate) to: u32,
    /// Rewrites the tables, inside the transaction that also writes the new version.
    pub(crate) run: fn(&mut Migrator<'_>) -> Result<()>,
}

/// All steps, oldest first. Version 1 is the first layout: it makes the tables, so that a read never misses one. With version 2 there is a
/// journal beside the file, which a program that does not know it would pass over; with version 3 there are forms of layers that were
/// dropped, whose images such a program would take for damaged.
/// A change of a row's form adds a step here and a test below; steps are never changed once released.
const MIGRATIONS: &[Migration] = &[
    Migration {
        to: 1,
        run: |migrator| {
            [IMAGES, TAGS, BLOBS, SNAPSHOTS, LEASES].into_iter().try_for_each(|table| migrator.make(table))
        },
    },
    Migration { to: 2, run: |_| Ok(()) },
    Migration {
        to: 3,
        run: |migrator| {
            [DROPPED_BLOBS, DROPPED_LAYERS].into_iter().try_for_each(|table| migrator.make(table))
        },
    },
];

/// One change of one row.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// The table's name.
    pub(crate) table: Cow<'static, str>,
    pub(crate) key: String,
    /// None removes the row.
    pub(crate) value: Option<Vec<u8>>,
}

impl Change {
    /// Writes a row.
    pub(crate) fn put<T: Serialize>(table: JsonTable, key: impl Into<String>, row: &T) -> Result<Self> {
        let key = key.into();
        match serde_json::to_vec(row) {
            Ok(value) => Ok(Self { table: table.name.into(), key, value: Some(value) }),
            Err(source) => Err(StoreError::Row { table: table.name.to_owned(), key, source }),
        }
    }

    /// Removes a row.
    pub(crate) fn delete(table: JsonTable, key: impl Into<String>) -> Self {
        Self { table: table.name.into(), key: key.into(), value: None }
    }
}

/// Changes of one caller, and whether they have been committed by another's commit.
struct Waiting {
    changes: Vec<Change>,
    done: Arc<Mutex<bool>>,
}

/// The open database.
pub(crate) struct Database {
    tables: Tables,
    /// What the journal holds.
    recent: RwLock<Recent>,
    /// Changes that wait for the next record.
    waiting: Mutex<Vec<Waiting>>,
    /// Held by whoever writes.
    journal: Mutex<Journal>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Database").finish_non_exhaustive()
    }
}

impl Database {
    /// Opens or makes the file and brings it to the present schema. The caller holds the store's lock.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, MIGRATIONS)
    }

    fn open_with(path: &Path, migrations: &[Migration]) -> Result<Self> {
        let tables = Tables::open(path)?;
        let found: u32 = tables.get(META, SCHEMA)?.unwrap_or(0);
        let known = migrations.last().map_or(0, |migration| migration.to);
        if found > known {
            return Err(StoreError::Newer { found, known });
        }
        let journaled = tables.get(META, JOURNAL)?;
        let Journaled { identity, applied } = journaled
            .unwrap_or_else(|| Journaled { identity: u64::from_ne_bytes(random_bytes()), applied: 0 });
        let (journal, changes) = Journal::open(&path.with_extension("journal"), identity, applied)?;
        let mut recent = Recent::new();
        remember(&mut recent, changes);
        let database = Self {
            tables,
            recent: RwLock::new(recent),
            waiting: Mutex::default(),
            journal: Mutex::new(journal),
        };
        if found < known {
            let mut journal = lock(&database.journal);
            database.write_out(&mut journal, |transaction| {
                let mut migrator = Migrator { transaction };
                for migration in migrations.iter().filter(|migration| migration.to > found) {
                    (migration.run)(&mut migrator)?;
                }
                apply(transaction, &[Change::put(META, SCHEMA, &known)?])
            })?;
        }
        Ok(database)
    }

    /// Writes what the journal holds, and then what `further` does, into the database, by one commit; the journal begins anew.
    fn write_out(
        &self,
        journal: &mut Journal,
        further: impl FnOnce(&WriteTransaction) -> Result<()>,
    ) -> Result<()> {
        self.tables.write(|transaction| {
            for (table, rows) in &*self.recent.read().unwrap_or_else(PoisonError::into_inner) {
                let rows = rows.iter().map(|(key, value)| (key.as_str(), value.as_deref()));
                tables::apply(transaction, table, rows)?;
            }
            further(transaction)?;
            let journaled = Journaled { identity: journal.identity(), applied: journal.sequence() };
            apply(transaction, &[Change::put(META, JOURNAL, &journaled)?])
        })?;
        self.recent.write().unwrap_or_else(PoisonError::into_inner).clear();
        journal.restart();
        Ok(())
    }

    /// The row, if there is one.
    pub(crate) fn get<T: DeserializeOwned>(&self, table: JsonTable, key: &str) -> Result<Option<T>> {
        // Held until the file has been read: what leaves the one is in the other.
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        match recent.get(table.name).and_then(|rows| rows.get(key)) {
            Some(value) => value.as_deref().map(|value| decode(table, key, value)).transpose(),
            None => self.tables.get(table, key),
        }
    }

    /// All rows, in the order of their keys.
    pub(crate) fn list<T: DeserializeOwned>(&self, table: JsonTable) -> Result<Vec<(String, T)>> {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        let changed = recent.get(table.name).filter(|rows| !rows.is_empty());
        let is_wanted = |key: &str| changed.is_none_or(|changed| !changed.contains_key(key));
        let mut list = self.tables.list(table, is_wanted)?;
        if let Some(changed) = changed {
            for (key, value) in changed {
                if let Some(value) = value {
                    list.push((key.clone(), decode(table, key, value)?));
                }
            }
            list.sort_by(|(one, _), (other, _)| one.cmp(other));
        }
        Ok(list)
    }

    /// Writes or replaces a row, durably.
    pub(crate) fn put<T: Serialize>(&self, table: JsonTable, key: &str, row: &T) -> Result<()> {
        self.write(vec![Change::put(table, key, row)?])
    }

    /// Removes a row, durably; a missing one is fine.
    pub(crate) fn delete(&self, table: JsonTable, key: &str) -> Result<()> {
        self.write(vec![Change::delete(table, key)])
    }

    /// Makes all changes or none, durably. Together with those of callers that wait at the same time.
    pub(crate) fn write(&self, changes: Vec<Change>) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let done = Arc::new(Mutex::new(false));
        lock(&self.waiting).push(Waiting { changes: changes.clone(), done: Arc::clone(&done) });
        let mut journal = lock(&self.journal);
        if *lock(&done) {
            return Ok(());
        }
        // We are next: everything that waits by now goes with us, in the order it came.
        let batch = std::mem::take(&mut *lock(&self.waiting));
        let mine = batch.iter().any(|waiting| Arc::ptr_eq(&waiting.done, &done));
        let together: Vec<Change> =
            batch.iter().flat_map(|waiting| waiting.changes.iter().cloned()).collect();
        if mine && self.commit(&mut journal, together).is_ok() {
            for waiting in batch {
                *lock(&waiting.done) = true;
            }
            return Ok(());
        }
        // Together it failed: each caller tries its own, and gets its own error.
        self.commit(&mut journal, changes)
    }

    fn commit(&self, journal: &mut Journal, changes: Vec<Change>) -> Result<()> {
        let appended = journal.append(&changes);
        if matches!(appended, Ok(true)) {
            remember(&mut self.recent.write().unwrap_or_else(PoisonError::into_inner), changes);
            return Ok(());
        }
        // No room, or a record of which nobody knows whether it counts: it does not once the database has gone past it.
        let written = self.write_out(journal, |transaction| apply(transaction, &changes));
        match appended {
            Err(error) if written.is_err() => Err(error),
            _ => written,
        }
    }
}

impl Drop for Database {
    /// An orderly end leaves one file that holds everything.
    fn drop(&mut self) {
        let is_written = self.recent.read().unwrap_or_else(PoisonError::into_inner).is_empty();
        let mut journal = lock(&self.journal);
        // A record that a caller was told to have failed must not count for the next one that opens this.
        if !is_written || journal.is_broken() {
            let written = self.write_out(&mut journal, |_| Ok(()));
            if let Err(error) = written {
                tracing::warn!(error = %corten_std::chain(&error), "the journal is read when the store opens again");
            }
        }
    }
}

fn remember(recent: &mut Recent, changes: Vec<Change>) {
    for Change { table, key, value } in changes {
        recent.entry(table).or_default().insert(key, value);
    }
}

/// What a migration may do.
pub(crate) struct Migrator<'a> {
    transaction: &'a WriteTransaction,
}

impl Migrator<'_> {
    /// Makes an empty table.
    pub(crate) fn make(&mut self, table: JsonTable) -> Result<()> {
        tables::apply(self.transaction, table.name, [])
    }

    /// Rewrites every row of a table; a row for which `rewrite` gives nothing is removed.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the second schema version will be the first to rewrite rows")
    )]
    pub(crate) fn rewrite(
        &mut self,
        table: JsonTable,
        mut rewrite: impl FnMut(&str, serde_json::Value) -> Option<serde_json::Value>,
    ) -> Result<()> {
        let rewrite = |(key, value): (String, serde_json::Value)| match rewrite(&key, value) {
            Some(value) => Change::put(table, key, &value),
            None => Ok(Change::delete(table, key)),
        };
        let changes =
            tables::seen(self.transaction, table)?.into_iter().map(rewrite).collect::<Result<Vec<_>>>()?;
        apply(self.transaction, &changes)
    }
}

fn apply(transaction: &WriteTransaction, changes: &[Change]) -> Result<()> {
    changes.iter().try_for_each(|change| {
        tables::apply(transaction, &change.table, [(change.key.as_str(), change.value.as_deref())])
    })
}

/// Locks; a thread that panicked while it held the lock has left plain data behind, which stays usable.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_testing::Scratch;

    const THINGS: JsonTable = JsonTable::new("thing");

    #[test]
    fn many_threads_share_commits_and_all_is_there_after_reopening() {
        let scratch = Scratch::new("database");
        let path = scratch.path().join("state.redb");
        let database = Database::open(&path).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let database = &database;
                scope.spawn(move || {
                    for number in 0..10 {
                        database.put(THINGS, &format!("{thread}-{number}"), &(thread, number)).unwrap();
                    }
                    database.delete(THINGS, &format!("{thread}-0")).unwrap();
                });
            }
        });
        drop(database);
        let database = Database::open(&path).unwrap();
        let rows: Vec<(String, (u32, u32))> = database.list(THINGS).unwrap();
        assert_eq!(rows.len(), 8 * 9);
        assert_eq!(database.get::<(u32, u32)>(THINGS, "3-7").unwrap(), Some((3, 7)));
        assert_eq!(database.get::<(u32, u32)>(THINGS, "3-0").unwrap(), None);
    }

    /// The two files as they are at this moment, as after a kill.
    fn copy(path: &Path, to: &Path) -> std::path::PathBuf {
        for extension in ["redb", "journal"] {
            let from = path.with_extension(extension);
            std::fs::copy(&from, to.join(from.file_name().unwrap())).unwrap();
        }
        to.join("state.redb")
    }

    #[test]
    fn what_was_acknowledged_is_there_whenever_the_daemon_dies() {
        let (scratch, killed) = (Scratch::new("database"), Scratch::new("database-killed"));
        let path = scratch.path().join("state.redb");
        let database = Database::open(&path).unwrap();
        let mut expected = BTreeMap::new();
        // Often enough for several rounds of the journal: each value has tens of pages.
        for number in 0..60_u32 {
            let key = format!("{}", number * 7 % 20);
            if number % 5 == 4 {
                database.delete(THINGS, &key).unwrap();
                expected.remove(&key);
            } else {
                let value = format!("{number}{}", "x".repeat(100_000));
                database.put(THINGS, &key, &value).unwrap();
                expected.insert(key, value);
            }
            let rows: Vec<(String, String)> = database.list(THINGS).unwrap();
            assert!(rows.iter().map(|(key, value)| (key, value)).eq(&expected), "{number}");
            if number % 3 == 0 {
                let again = Database::open(&copy(&path, killed.path())).unwrap();
                let rows: Vec<(String, String)> = again.list(THINGS).unwrap();
                assert!(rows.iter().map(|(key, value)| (key, value)).eq(&expected), "{number}");
                for key in (0..20).map(|key| key.to_string()) {
                    assert_eq!(again.get::<String>(THINGS, &key).unwrap().as_ref(), expected.get(&key));
                }
            }
        }
        drop(database);
        // After an orderly end the file alone has everything.
        std::fs::remove_file(path.with_extension("journal")).unwrap();
        let rows: Vec<(String, String)> = Database::open(&path).unwrap().list(THINGS).unwrap();
        assert!(rows.iter().map(|(key, value)| (key, value)).eq(&expected));
    }

    #[test]
    fn a_change_that_the_journal_cannot_take_goes_into_the_database() {
        let (scratch, killed) = (Scratch::new("database"), Scratch::new("database-killed"));
        let path = scratch.path().join("state.redb");
        let database = Database::open(&path).unwrap();
        database.put(THINGS, "before", &1).unwrap();
        lock(&database.journal).forbid_writing();
        database.put(THINGS, "failed", &2).unwrap();
        let again = Database::open(&copy(&path, killed.path())).unwrap();
        let rows: Vec<(String, u32)> = again.list(THINGS).unwrap();
        assert_eq!(rows, [("before".to_owned(), 1), ("failed".to_owned(), 2)]);
    }

    #[test]
    fn a_write_that_came_to_the_disk_though_it_failed_hides_no_record() {
        let (scratch, killed) = (Scratch::new("database"), Scratch::new("database-killed"));
        let path = scratch.path().join("state.redb");
        let database = Database::open(&path).unwrap();
        database.put(THINGS, "one", &1).unwrap();
        // All that such a write leaves: its caller was told of an error, and the journal did not begin anew.
        let (identity, applied) = {
            let journal = lock(&database.journal);
            (journal.identity(), journal.sequence())
        };
        let journaled = Journaled { identity, applied };
        let changes =
            [Change::put(THINGS, "one", &1).unwrap(), Change::put(META, JOURNAL, &journaled).unwrap()];
        database.tables.write(|transaction| apply(transaction, &changes)).unwrap();
        database.put(THINGS, "two", &2).unwrap();
        let again = Database::open(&copy(&path, killed.path())).unwrap();
        let rows: Vec<(String, u32)> = again.list(THINGS).unwrap();
        assert_eq!(rows, [("one".to_owned(), 1), ("two".to_owned(), 2)]);
    }

    #[test]
    fn a_record_that_was_told_to_have_failed_does_not_count_after_an_orderly_end() {
        let scratch = Scratch::new("database");
        let path = scratch.path().join("state.redb");
        let database = Database::open(&path).unwrap();
        let mut journal = lock(&database.journal);
        assert!(journal.append(&[Change::put(THINGS, "failed", &1).unwrap()]).unwrap());
        journal.break_off();
        drop(journal);
        drop(database);
        assert_eq!(Database::open(&path).unwrap().get::<u32>(THINGS, "failed").unwrap(), None);
    }

    #[test]
    fn a_record_that_was_told_to_have_failed_does_not_count_after_a_kill() {
        let (scratch, killed) = (Scratch::new("database"), Scratch::new("database-killed"));
        let path = scratch.path().join("state.redb");
        let database = Database::open(&path).unwrap();
        database.put(THINGS, "before", &1).unwrap();
        // Neither file can be written.
        let aside = scratch.path().join("aside");
        std::fs::rename(&path, &aside).unwrap();
        std::fs::create_dir(&path).unwrap();
        database.tables.close();
        lock(&database.journal).sync_fails = true;
        assert!(database.put(THINGS, "failed", &2).is_err());
        std::fs::remove_dir(&path).unwrap();
        std::fs::rename(&aside, &path).unwrap();
        let rows = |path: &Path| Database::open(path).unwrap().list::<u32>(THINGS).unwrap();
        assert_eq!(rows(&copy(&path, killed.path())), [("before".to_owned(), 1)]);
        // And it goes on.
        lock(&database.journal).sync_fails = false;
        database.put(THINGS, "after", &3).unwrap();
        let expected = [("after".to_owned(), 3), ("before".to_owned(), 1)];
        assert_eq!(rows(&copy(&path, killed.path())), expected);
        drop(database);
        assert_eq!(rows(&path), expected);
    }

    #[test]
    fn a_file_that_could_not_be_read_or_opened_is_used_again_when_it_can() {
        let scratch = Scratch::new("database");
        let path = scratch.path().join("state.redb");
        let database = Database::open(&path).unwrap();
        let value = "x".repeat(500_000);
        for number in 0..10 {
            database.put(THINGS, &number.to_string(), &value).unwrap();
        }
        database.write_out(&mut lock(&database.journal), |_| Ok(())).unwrap();
        database.tables.close();
        let _opened: u32 = database.get(META, SCHEMA).unwrap().unwrap();
        // Reads fail for a while.
        let whole = std::fs::read(&path).unwrap();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(8192).unwrap();
        assert!(database.list::<String>(THINGS).is_err());
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(database.list::<String>(THINGS).unwrap().len(), 10);
        // It cannot be opened for a while: what the journal takes is kept and seen, what it does not is refused.
        let aside = scratch.path().join("aside");
        std::fs::rename(&path, &aside).unwrap();
        std::fs::create_dir(&path).unwrap();
        database.tables.close();
        database.put(THINGS, "journal", &"small").unwrap();
        assert!(database.put(THINGS, "large", &"x".repeat(2 << 20)).is_err());
        assert_eq!(database.get::<String>(THINGS, "journal").unwrap().as_deref(), Some("small"));
        assert!(database.get::<String>(THINGS, "0").is_err());
        std::fs::remove_dir(&path).unwrap();
        std::fs::rename(&aside, &path).unwrap();
        assert_eq!(database.list::<String>(THINGS).unwrap().len(), 11);
        drop(database);
        assert_eq!(Database::open(&path).unwrap().list::<String>(THINGS).unwrap().len(), 11);
    }

    #[test]
    fn rows_of_a_journal_are_raised_with_the_others() {
        let one = Migration { to: 1, run: |migrator| migrator.make(THINGS) };
        let two = Migration {
            to: 2,
            run: |migrator| migrator.rewrite(THINGS, |_, value| Some(serde_json::json!({ "name": value }))),
        };
        let (scratch, killed) = (Scratch::new("migration"), Scratch::new("migration-killed"));
        let path = scratch.path().join("state.redb");
        let database = Database::open_with(&path, &[one]).unwrap();
        database.put(THINGS, "recent", &"value").unwrap();
        let path = copy(&path, killed.path());
        let database = Database::open_with(&path, &[one, two]).unwrap();
        let rows: Vec<(String, serde_json::Value)> = database.list(THINGS).unwrap();
        assert_eq!(rows, [("recent".to_owned(), serde_json::json!({ "name": "value" }))]);
    }

    #[test]
    fn each_version_is_raised_step_by_step_and_a_newer_one_is_refused() {
        let one = Migration { to: 1, run: |migrator| migrator.make(THINGS) };
        let two = Migration {
            to: 2,
            run: |migrator| {
                migrator.rewrite(THINGS, |key, value| {
                    (key != "gone").then(|| serde_json::json!({ "name": value }))
                })
            },
        };
        let scratch = Scratch::new("migration");
        let path = scratch.path().join("state.redb");
        let database = Database::open_with(&path, &[one]).unwrap();
        database.put(THINGS, "kept", &"value").unwrap();
        database.put(THINGS, "gone", &"value").unwrap();
        drop(database);

        let database = Database::open_with(&path, &[one, two]).unwrap();
        let rows: Vec<(String, serde_json::Value)> = database.list(THINGS).unwrap();
        assert_eq!(rows, [("kept".to_owned(), serde_json::json!({ "name": "value" }))]);
        drop(database);

        // Once raised, the step does not run again; and the older program does not touch the newer file.
        assert_eq!(
            Database::open_with(&path, &[one, two]).unwrap().list::<serde_json::Value>(THINGS).unwrap(),
            rows
        );
        let error = Database::open_with(&path, &[one]).unwrap_err();
        assert_eq!(error.to_string(), "the store has schema version 2, this program knows versions up to 1");
    }

    #[test]
    fn a_store_of_the_second_version_is_raised_and_then_refused_by_its_program() {
        let scratch = Scratch::new("migration");
        let path = scratch.path().join("state.redb");
        let database = Database::open_with(&path, &MIGRATIONS[..2]).unwrap();
        database.put(IMAGES, "image", &"as it was").unwrap();
        drop(database);
        let database = Database::open(&path).unwrap();
        let rows: Vec<(String, String)> = database.list(IMAGES).unwrap();
        assert_eq!(rows, [("image".to_owned(), "as it was".to_owned())]);
        for table in [DROPPED_BLOBS, DROPPED_LAYERS] {
            assert!(database.list::<serde_json::Value>(table).unwrap().is_empty());
        }
        database.put(DROPPED_BLOBS, "blob", &1).unwrap();
        drop(database);
        assert!(matches!(
            Database::open_with(&path, &MIGRATIONS[..2]).unwrap_err(),
            StoreError::Newer { found: 3, known: 2 }
        ));
    }

    #[test]
    fn a_failed_migration_leaves_the_old_version() {
        let one = Migration { to: 1, run: |migrator| migrator.make(THINGS) };
        let failing = Migration {
            to: 2,
            run: |migrator| {
                migrator.rewrite(THINGS, |_, _| None)?;
                Err(StoreError::Archive("failed on purpose".to_owned()))
            },
        };
        let scratch = Scratch::new("migration");
        let path = scratch.path().join("state.redb");
        let database = Database::open_with(&path, &[one]).unwrap();
        database.put(THINGS, "kept", &1).unwrap();
        drop(database);
        assert!(Database::open_with(&path, &[one, failing]).is_err());
        assert_eq!(Database::open_with(&path, &[one]).unwrap().get::<u32>(THINGS, "kept").unwrap(), Some(1));
    }
}
