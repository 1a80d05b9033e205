//! All containers by id, and their names. Locked for look-ups only, never across anything slow.

use crate::container::handle::Handle;
use crate::error::{EngineError, Result};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The containers that there are.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    maps: RwLock<Maps>,
}

#[derive(Debug, Default)]
struct Maps {
    /// Ordered, so that a prefix is a range.
    by_id: BTreeMap<String, Arc<Handle>>,
    /// Name → id. A name is taken from the first step of a create to the last step of a removal.
    names: HashMap<String, String>,
}

impl Registry {
    fn read(&self) -> RwLockReadGuard<'_, Maps> {
        self.maps.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Maps> {
        self.maps.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a name for an id; the error is Docker's, a conflict.
    pub(crate) fn reserve_name(&self, name: &str, id: &str) -> Result<()> {
        let mut maps = self.write();
        if let Some(owner) = maps.names.get(name) {
            return Err(EngineError::conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". You have to \
                 remove (or rename) that container to be able to reuse that name."
            )));
        }
        maps.names.insert(name.to_owned(), id.to_owned());
        Ok(())
    }

    /// Gives a name back, if it is this id's.
    pub(crate) fn release_name(&self, name: &str, id: &str) {
        let mut maps = self.write();
        if maps.names.get(name).is_some_and(|owner| owner == id) {
            maps.names.remove(name);
        }
    }

    /// Makes a container known.
    pub(crate) fn insert(&self, handle: Arc<Handle>) {
        self.write().by_id.insert(handle.id.clone(), handle);
    }

    /// Forgets a container and its name in one step.
    pub(crate) fn remove(&self, id: &str, name: &str) {
        let mut maps = self.write();
        maps.by_id.remove(id);
        if maps.names.get(name).is_some_and(|owner| owner == id) {
            maps.names.remove(name);
        }
    }

    /// Every container, in no order that means anything.
    pub(crate) fn all(&self) -> Vec<Arc<Handle>> {
        self.read().by_id.values().cloned().collect()
    }

    /// The container of exactly this id.
    pub(crate) fn by_id(&self, id: &str) -> Option<Arc<Handle>> {
        self.read().by_id.get(id).cloned()
    }

    /// Docker's look-up: full id, then exact name (with or without `/`), then a prefix of one id only.
    pub(crate) fn find(&self, reference: &str) -> Result<Arc<Handle>> {
        if reference.is_empty() {
            return Err(EngineError::invalid("invalid name or ID supplied: \"\""));
        }
        let maps = self.read();
        if let Some(handle) = maps.by_id.get(reference) {
            return Ok(handle.clone());
        }
        let name = reference.strip_prefix('/').unwrap_or(reference);
        if let Some(handle) = maps.names.get(name).and_then(|id| maps.by_id.get(id)) {
            return Ok(handle.clone());
        }
        let mut matching = maps
            .by_id
            .range(reference.to_owned()..)
            .take_while(|(id, _)| id.starts_with(reference))
            .map(|(_, handle)| handle);
        match (matching.next(), matching.next()) {
            (Some(only), None) => Ok(only.clone()),
            (Some(_), Some(_)) => {
                Err(EngineError::invalid(format!("multiple IDs found with provided prefix: {reference}")))
            }
            (None, _) => Err(EngineError::no_such_container(reference)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_std::ErrorClass;

    fn handle(id: &str) -> Arc<Handle> {
        let (requests, _) = tokio::sync::mpsc::unbounded_channel();
        let view = super::super::handle::View {
            record: Arc::new(crate::container::record::tests_support::record(id, id)),
            life: crate::container::state::Lifecycle::default(),
            network: None,

            health: None,
        };
        let (_, view) = tokio::sync::watch::channel(Arc::new(view));
        Arc::new(Handle::new(id.to_owned(), requests, view))
    }

    #[test]
    fn found_by_id_name_and_prefix() {
        let registry = Registry::default();
        for (id, name) in [("abc1", "one"), ("abd2", "abc"), ("ff00", "two")] {
            registry.reserve_name(name, id).unwrap();
            registry.insert(handle(id));
        }
        for (reference, id) in
            [("abc1", "abc1"), ("abc", "abd2"), ("/two", "ff00"), ("f", "ff00"), ("abd", "abd2")]
        {
            assert_eq!(registry.find(reference).unwrap().id, id, "{reference}");
        }
        assert_eq!(registry.find("ab").unwrap_err().class(), ErrorClass::InvalidParameter);
        assert_eq!(registry.find("zz").unwrap_err().to_string(), "No such container: zz");
    }

    #[test]
    fn a_name_is_taken_once() {
        let registry = Registry::default();
        registry.reserve_name("x1", "aa").unwrap();
        let error = registry.reserve_name("x1", "bb").unwrap_err();
        assert_eq!(error.class(), ErrorClass::Conflict);
        assert!(
            error
                .to_string()
                .starts_with("Conflict. The container name \"/x1\" is already in use by container \"aa\".")
        );
        registry.release_name("x1", "bb");
        assert!(registry.reserve_name("x1", "bb").is_err());
        registry.release_name("x1", "aa");
        registry.reserve_name("x1", "bb").unwrap();
    }
}
