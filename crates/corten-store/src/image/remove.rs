//! Removing names and images, with Docker's rules and texts.

use super::{ImageIndex, ImageUser, Images, Removed};
use crate::{Result, StoreError};
use corten_oci::{Digest, Reference};

impl Images<'_> {
    /// Removes a name, or an image with all its names. `users` tells which containers use an image.
    ///
    /// - By name: only the name goes, unless it was the last; then the image goes too. The last name of an
    ///   image that a container uses stays, unless by `force`.
    /// - By ID: refused where the image has several names or a stopped container uses it, unless by
    ///   `force`; refused in any case while a running container uses it.
    ///
    /// Layers that containers still lie upon stay until those are gone; the rest of the content goes at once.
    pub fn remove(
        self,
        text: &str,
        force: bool,
        users: &dyn Fn(&Digest) -> Vec<ImageUser>,
    ) -> Result<Vec<Removed>> {
        let (id, reference) = self.find(text)?;
        let names = self.index().names(&id);
        let users = users(&id);
        let Some(reference) = reference else {
            if names.len() > 1 && !force {
                return Err(must_be_forced(&id, "image is referenced in multiple repositories"));
            }
            check_users(&id, force, &users)?;
            return self.delete(id, names);
        };
        let going: Vec<Reference> = match reference.tag() {
            Some(_) => vec![reference.clone()],
            // `name@digest` names every tag of that repository.
            None => {
                names.iter().filter(|name| name.repository() == reference.repository()).cloned().collect()
            }
        };
        if going.len() < names.len() {
            return self.untag(going);
        }
        if !force && let Some(user) = users.first() {
            return Err(StoreError::ImageConflict(format!(
                "unable to remove repository reference \"{text}\" (must force) - container {} is using its referenced image {}",
                corten_std::id::short(&user.container),
                id.short()
            )));
        }
        if users.iter().any(|user| user.running) {
            // The name goes, the image stays without one.
            return self.untag(going);
        }
        self.delete(id, going)
    }

    fn untag(self, names: Vec<Reference>) -> Result<Vec<Removed>> {
        let _change = self.store.changing();
        self.store.inner.database.write(ImageIndex::removals(&[], &names))?;
        self.index().forget(&[], &names);
        Ok(names.into_iter().map(Removed::Untagged).collect())
    }

    fn delete(self, id: Digest, names: Vec<Reference>) -> Result<Vec<Removed>> {
        let _change = self.store.changing();
        self.store.inner.database.write(ImageIndex::removals(&[id], &names))?;
        self.index().forget(&[id], &names);
        self.store.collect_while_changing()?;
        Ok(names.into_iter().map(Removed::Untagged).chain([Removed::Deleted(id)]).collect())
    }
}

pub(super) fn check_users(id: &Digest, force: bool, users: &[ImageUser]) -> Result<()> {
    if let Some(user) = users.iter().find(|user| user.running) {
        return Err(StoreError::ImageConflict(format!(
            "unable to delete {} (cannot be forced) - image is being used by running container {}",
            id.short(),
            corten_std::id::short(&user.container)
        )));
    }
    match users.first() {
        Some(user) if !force => Err(must_be_forced(
            id,
            &format!("image is being used by stopped container {}", corten_std::id::short(&user.container)),
        )),
        _ => Ok(()),
    }
}

fn must_be_forced(id: &Digest, why: &str) -> StoreError {
    StoreError::ImageConflict(format!("unable to delete {} (must be forced) - {why}", id.short()))
}
