//! The database's file and its tables of JSON documents.

use crate::{Result, StoreError};
use redb::{ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError, WriteTransaction};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

/// Bytes of pages that the database keeps in memory; its own default is 1 GiB.
const CACHE_BYTES: usize = 2 << 20;

/// A table of JSON documents by text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JsonTable {
    pub(crate) name: &'static str,
}

impl JsonTable {
    /// The table of this name; made when first written to.
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name }
    }
}

/// The file. After a failed write, on a full disk for one, or a failed read, the library does nothing more until the file is opened
/// anew; so it is, by whoever comes next.
pub(crate) struct Tables {
    path: PathBuf,
    open: RwLock<Option<redb::Database>>,
}

impl Tables {
    /// Opens or makes the file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), open: RwLock::new(Some(open(path)?)) })
    }

    fn with<R>(&self, act: impl FnOnce(&redb::Database) -> Result<R>) -> Result<R> {
        let done = self.with_open(act);
        if matches!(done, Err(StoreError::Database { .. })) {
            self.close();
        }
        done
    }

    /// The next one opens it.
    pub(crate) fn close(&self) {
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn with_open<R>(&self, act: impl FnOnce(&redb::Database) -> Result<R>) -> Result<R> {
        if let Some(database) = &*self.open.read().unwrap_or_else(PoisonError::into_inner) {
            return act(database);
        }
        let mut place = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let database = match place.take() {
            Some(database) => database,
            None => open(&self.path)?,
        };
        act(place.insert(database))
    }

    /// Makes the changes of `act` or none, durably.
    pub(crate) fn write(&self, act: impl FnOnce(&WriteTransaction) -> Result<()>) -> Result<()> {
        self.with(|database| {
            let mut transaction = database.begin_write().map_err(StoreError::database("write to"))?;
            transaction.set_quick_repair(true);
            act(&transaction)?;
            transaction.commit().map_err(StoreError::database("write to"))
        })
    }

    /// The row, if there is one.
    pub(crate) fn get<T: DeserializeOwned>(&self, table: JsonTable, key: &str) -> Result<Option<T>> {
        self.with(|database| {
            let transaction = database.begin_read().map_err(StoreError::database("read"))?;
            let Some(rows) = rows(&transaction, table)? else { return Ok(None) };
            match rows.get(key).map_err(StoreError::database("read"))? {
                Some(value) => decode(table, key, value.value()).map(Some),
                None => Ok(None),
            }
        })
    }

    /// All rows that are wanted, in the order of their keys.
    pub(crate) fn list<T: DeserializeOwned>(
        &self,
        table: JsonTable,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<(String, T)>> {
        self.with(|database| {
            let transaction = database.begin_read().map_err(StoreError::database("read"))?;
            let mut list = Vec::new();
            let Some(rows) = rows(&transaction, table)? else { return Ok(list) };
            for row in rows.iter().map_err(StoreError::database("read"))? {
                let (key, value) = row.map_err(StoreError::database("read"))?;
                let key = key.value();
                if is_wanted(key) {
                    list.push((key.to_owned(), decode(table, key, value.value())?));
                }
            }
            Ok(list)
        })
    }
}

fn open(path: &Path) -> Result<redb::Database> {
    redb::Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(StoreError::database("open"))
}

/// The rows of a table; none where it was never written to.
fn rows(
    transaction: &ReadTransaction,
    table: JsonTable,
) -> Result<Option<redb::ReadOnlyTable<&'static str, &'static [u8]>>> {
    match transaction.open_table(TableDefinition::new(table.name)) {
        Ok(rows) => Ok(Some(rows)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(StoreError::database("read")(error)),
    }
}

/// Writes rows, or removes those that have no value; makes the table where it is not there.
pub(crate) fn apply<'a>(
    transaction: &WriteTransaction,
    table: &str,
    changed: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
) -> Result<()> {
    let definition = TableDefinition::<&str, &[u8]>::new(table);
    let mut rows = transaction.open_table(definition).map_err(StoreError::database("write to"))?;
    for (key, value) in changed {
        match value {
            Some(value) => rows.insert(key, value).map(drop),
            None => rows.remove(key).map(drop),
        }
        .map_err(StoreError::database("write to"))?;
    }
    Ok(())
}

/// All rows of a table as a transaction sees them.
pub(crate) fn seen<T: DeserializeOwned>(
    transaction: &WriteTransaction,
    table: JsonTable,
) -> Result<Vec<(String, T)>> {
    let definition = TableDefinition::<&str, &[u8]>::new(table.name);
    let rows = transaction.open_table(definition).map_err(StoreError::database("read"))?;
    let mut list = Vec::new();
    for row in rows.iter().map_err(StoreError::database("read"))? {
        let (key, value) = row.map_err(StoreError::database("read"))?;
        list.push((key.value().to_owned(), decode(table, key.value(), value.value())?));
    }
    Ok(list)
}

/// The document of a row.
pub(crate) fn decode<T: DeserializeOwned>(table: JsonTable, key: &str, value: &[u8]) -> Result<T> {
    serde_json::from_slice(value).map_err(|source| StoreError::Row {
        table: table.name.to_owned(),
        key: key.to_owned(),
        source,
    })
}
