//! The database: tables of JSON documents keyed by text, a schema version, and the steps that raise it.
//!
//! Every commit is on disk when it returns (`Immediate`) and leaves the file so that opening it after a kill
//! needs no repair (`set_quick_repair`). Changes that wait while another commit runs go into one commit
//! together: fifty removals at once cost a few syncs, not fifty.

use crate::{Result, StoreError};
use redb::{ReadableDatabase, ReadableTable, TableDefinition, TableError, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of pages that the database keeps in memory; its own default is 1 GiB.
const CACHE_BYTES: usize = 2 << 20;

/// A table of JSON documents by text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JsonTable {
    name: &'static str,
}

impl JsonTable {
    /// The table of this name; made when first written to.
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name }
    }

    fn definition(self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        TableDefinition::new(self.name)
    }
}

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
/// The store's own facts: schema version, last boot.
pub(crate) const META: JsonTable = JsonTable::new("store.meta");

const SCHEMA: &str = "schema";

/// A step from one schema version to the next.
#[derive(Clone, Copy)]
pub(crate) struct Migration {
    /// The version that it makes.
    pub(crate) to: u32,
    /// Rewrites the tables, inside the transaction that also writes the new version.
    pub(crate) run: fn(&mut Migrator<'_>) -> Result<()>,
}

/// All steps, oldest first. Version 1 is the first layout: it makes the tables, so that a read never misses one.
/// A change of a row's form adds a step here and a test below; steps are never changed once released.
const MIGRATIONS: &[Migration] = &[Migration {
    to: 1,
    run: |migrator| {
        [IMAGES, TAGS, BLOBS, SNAPSHOTS, LEASES].into_iter().try_for_each(|table| migrator.make(table))
    },
}];

/// One change of one row.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    table: JsonTable,
    key: String,
    /// None removes the row.
    value: Option<Vec<u8>>,
}

impl Change {
    /// Writes a row.
    pub(crate) fn put<T: Serialize>(table: JsonTable, key: impl Into<String>, row: &T) -> Result<Self> {
        let key = key.into();
        match serde_json::to_vec(row) {
            Ok(value) => Ok(Self { table, key, value: Some(value) }),
            Err(source) => Err(StoreError::Row { table: table.name.to_owned(), key, source }),
        }
    }

    /// Removes a row.
    pub(crate) fn delete(table: JsonTable, key: impl Into<String>) -> Self {
        Self { table, key: key.into(), value: None }
    }
}

/// Changes of one caller, and whether they have been committed by another's commit.
struct Waiting {
    changes: Vec<Change>,
    done: Arc<Mutex<bool>>,
}

/// The open database.
pub(crate) struct Database {
    redb: redb::Database,
    /// Changes that wait for the next commit.
    waiting: Mutex<Vec<Waiting>>,
    /// Held by whoever commits.
    turn: Mutex<()>,
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
        let redb = redb::Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(path)
            .map_err(StoreError::database("open"))?;
        let database = Self { redb, waiting: Mutex::default(), turn: Mutex::default() };
        let found: u32 = database.get(META, SCHEMA)?.unwrap_or(0);
        let known = migrations.last().map_or(0, |migration| migration.to);
        if found > known {
            return Err(StoreError::Newer { found, known });
        }
        if found < known {
            let transaction = database.begin()?;
            let mut migrator = Migrator { transaction: &transaction };
            for migration in migrations.iter().filter(|migration| migration.to > found) {
                (migration.run)(&mut migrator)?;
            }
            apply(&transaction, &[Change::put(META, SCHEMA, &known)?])?;
            transaction.commit().map_err(StoreError::database("write to"))?;
        }
        Ok(database)
    }

    fn begin(&self) -> Result<WriteTransaction> {
        let mut transaction = self.redb.begin_write().map_err(StoreError::database("write to"))?;
        transaction.set_quick_repair(true);
        Ok(transaction)
    }

    /// The row, if there is one.
    pub(crate) fn get<T: DeserializeOwned>(&self, table: JsonTable, key: &str) -> Result<Option<T>> {
        let transaction = self.redb.begin_read().map_err(StoreError::database("read"))?;
        let rows = match transaction.open_table(table.definition()) {
            Ok(rows) => rows,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(StoreError::database("read")(error)),
        };
        match rows.get(key).map_err(StoreError::database("read"))? {
            Some(value) => decode(table, key, value.value()).map(Some),
            None => Ok(None),
        }
    }

    /// All rows, in the order of their keys.
    pub(crate) fn list<T: DeserializeOwned>(&self, table: JsonTable) -> Result<Vec<(String, T)>> {
        let transaction = self.redb.begin_read().map_err(StoreError::database("read"))?;
        let rows = match transaction.open_table(table.definition()) {
            Ok(rows) => rows,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::database("read")(error)),
        };
        let mut list = Vec::new();
        for row in rows.iter().map_err(StoreError::database("read"))? {
            let (key, value) = row.map_err(StoreError::database("read"))?;
            let key = key.value();
            list.push((key.to_owned(), decode(table, key, value.value())?));
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
        let turn = lock(&self.turn);
        if *lock(&done) {
            return Ok(());
        }
        // We are next: everything that waits by now goes with us, in the order it came.
        let batch = std::mem::take(&mut *lock(&self.waiting));
        let mine = batch.iter().any(|waiting| Arc::ptr_eq(&waiting.done, &done));
        let together: Vec<Change> =
            batch.iter().flat_map(|waiting| waiting.changes.iter().cloned()).collect();
        if mine && self.commit(&together).is_ok() {
            for waiting in batch {
                *lock(&waiting.done) = true;
            }
            return Ok(());
        }
        // The common commit failed: each caller tries its own, and gets its own error.
        let outcome = self.commit(&changes);
        drop(turn);
        outcome
    }

    fn commit(&self, changes: &[Change]) -> Result<()> {
        let transaction = self.begin()?;
        apply(&transaction, changes)?;
        transaction.commit().map_err(StoreError::database("write to"))
    }
}

/// What a migration may do.
pub(crate) struct Migrator<'a> {
    transaction: &'a WriteTransaction,
}

impl Migrator<'_> {
    /// Makes an empty table.
    pub(crate) fn make(&mut self, table: JsonTable) -> Result<()> {
        self.transaction.open_table(table.definition()).map(drop).map_err(StoreError::database("write to"))
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
        let mut changes = Vec::new();
        {
            let rows =
                self.transaction.open_table(table.definition()).map_err(StoreError::database("read"))?;
            for row in rows.iter().map_err(StoreError::database("read"))? {
                let (key, value) = row.map_err(StoreError::database("read"))?;
                let key = key.value();
                changes.push(match rewrite(key, decode(table, key, value.value())?) {
                    Some(value) => Change::put(table, key, &value)?,
                    None => Change::delete(table, key),
                });
            }
        }
        apply(self.transaction, &changes)
    }
}

fn apply(transaction: &WriteTransaction, changes: &[Change]) -> Result<()> {
    for change in changes {
        let mut rows =
            transaction.open_table(change.table.definition()).map_err(StoreError::database("write to"))?;
        match &change.value {
            Some(value) => rows.insert(change.key.as_str(), value.as_slice()).map(drop),
            None => rows.remove(change.key.as_str()).map(drop),
        }
        .map_err(StoreError::database("write to"))?;
    }
    Ok(())
}

fn decode<T: DeserializeOwned>(table: JsonTable, key: &str, value: &[u8]) -> Result<T> {
    serde_json::from_slice(value).map_err(|source| StoreError::Row {
        table: table.name.to_owned(),
        key: key.to_owned(),
        source,
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
