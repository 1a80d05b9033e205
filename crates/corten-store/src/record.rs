//! The engine's own documents: containers, volumes, networks, by key.

use crate::Result;
use crate::database::{Database, JsonTable};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

/// A table of documents of one type, keyed by text. Every change is on disk when the call returns; changes
/// that several threads make at once share one commit.
#[derive(Debug)]
pub struct Records<'a, T> {
    database: &'a Database,
    table: JsonTable,
    document: PhantomData<fn() -> T>,
}

impl<'a, T: Serialize + DeserializeOwned> Records<'a, T> {
    pub(crate) fn new(database: &'a Database, name: &'static str) -> Self {
        Self { database, table: JsonTable::new(name), document: PhantomData }
    }

    /// The document, if there is one.
    pub fn get(&self, key: &str) -> Result<Option<T>> {
        self.database.get(self.table, key)
    }

    /// Writes or replaces a document.
    pub fn put(&self, key: &str, document: &T) -> Result<()> {
        self.database.put(self.table, key, document)
    }

    /// Removes a document; a missing one is fine.
    pub fn delete(&self, key: &str) -> Result<()> {
        self.database.delete(self.table, key)
    }

    /// All documents, in the order of their keys.
    pub fn list(&self) -> Result<Vec<(String, T)>> {
        self.database.list(self.table)
    }
}
