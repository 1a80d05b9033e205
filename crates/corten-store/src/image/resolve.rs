//! Finding images by what people write, and giving them names.

use super::{Image, ImageIndex, TagRow};
use crate::commit::Batch;
use crate::store::Store;
use crate::{Result, StoreError};
use corten_oci::{Digest, Reference};
use corten_std::Timestamp;
use std::sync::Arc;

/// The images of a store.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    pub(crate) store: &'a Store,
}

impl<'a> Images<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// All images, in the order of their IDs.
    pub fn list(self) -> Result<Vec<Arc<Image>>> {
        let mut images = Vec::new();
        for id in self.index().ids() {
            match self.store.show_image(&id) {
                Ok(image) => images.push(image),
                // Removed meanwhile.
                Err(StoreError::NoSuchImage(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(images)
    }

    /// Finds an image by name (without tag: `latest`), by `name@digest`, by ID with or without `sha256:`, or by
    /// a unique beginning of it. A name wins over an ID's beginning.
    pub fn resolve(self, text: &str) -> Result<Arc<Image>> {
        self.store.show_image(&self.resolve_id(text)?)
    }

    /// As [`Self::resolve`], the ID only.
    pub fn resolve_id(self, text: &str) -> Result<Digest> {
        self.find(text).map(|(id, _)| id)
    }

    /// The image with this ID, or with a manifest of this digest.
    pub fn get(self, id: &Digest) -> Result<Arc<Image>> {
        let id = self.index().by_digest(id).ok_or_else(|| StoreError::NoSuchImage(id.to_string()))?;
        self.store.show_image(&id)
    }

    /// The image, and the name it was found by where it was one.
    pub(crate) fn find(self, text: &str) -> Result<(Digest, Option<Reference>)> {
        let index = self.index();
        let missing = || StoreError::NoSuchImage(text.to_owned());
        let hex = Digest::without_algorithm(text);
        if let Some(digest) = Digest::from_hex(hex) {
            return index.by_digest(&digest).map(|id| (id, None)).ok_or_else(missing);
        }
        let reference = Reference::parse(text)?;
        if let Some(digest) = reference.digest() {
            let id = index.by_digest(digest).ok_or_else(|| StoreError::NoSuchImage(reference.familiar()))?;
            let repository = reference.repository();
            return if index.names(&id).iter().any(|name| name.repository() == repository) {
                Ok((id, Some(reference)))
            } else {
                Err(StoreError::NoSuchImage(reference.familiar()))
            };
        }
        if let Some(id) = index.tagged(&reference) {
            return Ok((id, Some(reference)));
        }
        let is_prefix = !hex.is_empty()
            && hex.len() < Digest::LONGEST_HEX
            && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match if is_prefix { index.by_prefix(hex) } else { Vec::new() }[..] {
            [] => Err(StoreError::NoSuchImage(reference.familiar())),
            [id] => Ok((id, None)),
            _ => Err(StoreError::AmbiguousImage(hex.to_owned())),
        }
    }

    /// Gives an image a further name, durably; the name is taken from the image that has it.
    pub fn tag(self, source: &str, target: &Reference) -> Result<Arc<Image>> {
        let id = self.resolve_id(source)?;
        self.tag_id(&id, target)?;
        self.store.show_image(&id)
    }

    /// As [`Self::tag`], by ID. A name with a digest but no tag cannot be given.
    pub fn tag_id(self, id: &Digest, target: &Reference) -> Result<()> {
        if target.digest().is_some() {
            return Err(StoreError::Reference(corten_oci::ReferenceError::Format));
        }
        let row = TagRow { image: *id, tagged: Timestamp::now() };
        self.store
            .commit(Batch { tags: vec![(target.clone().with_default_tag(), row)], ..Batch::default() })?;
        Ok(())
    }

    pub(crate) fn index(self) -> &'a ImageIndex {
        &self.store.inner.images
    }
}
