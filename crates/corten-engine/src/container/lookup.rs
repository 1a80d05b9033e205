//! How an operation gets at its container.

use crate::Engine;
use crate::container::handle::{Handle, View};
use crate::error::Result;
use std::sync::Arc;

impl Engine {
    /// The container that a reference names: full id, name, or unique prefix of an id.
    pub(crate) fn find(&self, reference: &str) -> Result<Arc<Handle>> {
        self.inner.containers.find(reference)
    }

    /// What every container looks like now. Gone ones are left out.
    pub(crate) fn views(&self) -> Vec<Arc<View>> {
        self.inner
            .containers
            .all()
            .iter()
            .filter(|handle| !handle.is_gone())
            .map(|handle| handle.view())
            .collect()
    }

    /// The full id of the container that a reference names.
    pub fn container_id(&self, reference: &str) -> Result<String> {
        Ok(self.find(reference)?.id.clone())
    }
}
