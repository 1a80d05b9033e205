//! Making an image in this process, from layer archives and a configuration.

use super::{Image, Images, NewImage, TagRow};
use crate::archive::{Assembler, Item, give_up};
use crate::{Result, StoreError};
use corten_oci::image::{Descriptor, media_type};
use corten_oci::{Hasher, Manifest, Platform};
use corten_std::Timestamp;
use std::sync::Arc;

impl Images<'_> {
    /// Makes an image, durably. The same layers and configuration give the same ID, whatever is in the store
    /// already; names are given in any case.
    pub fn add(&self, new: NewImage<'_>) -> Result<Arc<Image>> {
        let store = self.store;
        let NewImage { base, layers, mut config, names } = new;
        let mut assembler = Assembler::new(store);
        let mut descriptors = Vec::new();
        config.rootfs = base.as_ref().map(|base| base.config.rootfs.clone()).unwrap_or_default();
        if let Some(base) = &base {
            assembler.pins.content(base.manifest.digest);
            let bytes = store.read_document(&base.manifest.digest)?;
            let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|source| {
                StoreError::Document { what: format!("image manifest {}", base.manifest.digest), source }
            })?;
            descriptors = manifest.layers;
        }
        let outcome = (|| {
            for mut layer in layers {
                let (blob, unpacked) =
                    store.ingest(&mut layer, "new layer", Vec::new(), Hasher::new())?.finish(store);
                crate::ingest::discard(store, None, blob.as_ref())?;
                let mut unpacked = unpacked?;
                // The plain tar is the layer, however it came.
                crate::ingest::discard(store, None, unpacked.blob.take().as_ref())?;
                let row = &unpacked.row;
                config.rootfs.diff_ids.push(row.diff_id);
                descriptors.push(Descriptor::new(media_type::OCI_LAYER, row.diff_id, row.tar_size));
                let digest = row.diff_id;
                if let Some(Item::Layer(second)) =
                    assembler.items.insert(digest, Item::Layer(Box::new(unpacked)))
                {
                    crate::ingest::discard(store, second.folder.as_deref(), None)?;
                }
            }
            if config.os.is_empty() {
                let host = Platform::host();
                (config.os, config.architecture, config.variant) = (host.os, host.architecture, host.variant);
            }
            let document = |what: &str, bytes: std::result::Result<Vec<u8>, serde_json::Error>| {
                bytes.map_err(|source| StoreError::Document { what: what.to_owned(), source })
            };
            let bytes = document("image configuration", serde_json::to_vec(&config))?;
            let config_descriptor = assembler.add_document(media_type::OCI_CONFIG, bytes);
            let manifest = Manifest::new(config_descriptor, descriptors);
            let bytes = document("image manifest", serde_json::to_vec(&manifest))?;
            let mut target = assembler.add_document(media_type::OCI_MANIFEST, bytes);
            target.platform = Some(config.platform());
            assembler.add_image(&target)?;
            Ok(target.digest)
        })();
        let (mut batch, pins) = assembler.finish()?;
        let id = match outcome {
            Ok(id) => id,
            Err(error) => {
                give_up(store, &batch)?;
                return Err(error);
            }
        };
        let tagged = Timestamp::now();
        batch.tags =
            names.into_iter().map(|name| (name.with_default_tag(), TagRow { image: id, tagged })).collect();
        store.commit(batch)?;
        drop(pins);
        store.show_image(&id)
    }
}
