//! Another name for a container.

use crate::Engine;
use crate::container::handle::Request;
use crate::container::validate;
use crate::error::{EngineError, Result};

impl Engine {
    /// Renames a container. The new name is taken before anything changes; the old one is free afterwards.
    pub async fn rename(&self, reference: &str, name: &str) -> Result<()> {
        if name.is_empty() {
            return Err(EngineError::invalid("Neither old nor new names may be empty"));
        }
        let handle = self.find(reference)?;
        let name = validate::name(name)?.to_owned();
        let old = handle.view().record.name.clone();
        if old == name {
            return Err(EngineError::invalid("Renaming a container with the same name as its current name"));
        }
        self.inner.containers.reserve_name(&name, &handle.id)?;
        let renamed = handle.ask(|reply| Request::Rename { name: name.clone(), reply }).await;
        let unused = if renamed.is_ok() { &old } else { &name };
        self.inner.containers.release_name(unused, &handle.id);
        renamed
    }
}
