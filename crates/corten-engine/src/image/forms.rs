//! Which forms of layers are kept: what the settings, or somebody, want dropped, and what has to be fetched again before it is
//! read. What may go and how it comes back is the store's matter (`corten-store`, `forms.rs`); here is what registries are asked.

use super::Credentials;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::volume::blocking;
use corten_oci::image::Descriptor;
use corten_oci::{Digest, Reference};
use corten_std::ErrorClass;
use corten_store::{Again, Holding, Image, TwoForms};
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// Repositories that are asked for one layer.
const REPOSITORIES: usize = 4;

/// Which forms of layers go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LayerForms {
    /// The compressed form, where it can be had again.
    pub drop_compressed: bool,
    /// The folder, where nothing used it for so long.
    pub unpacked_for: Option<Duration>,
}

/// What was dropped, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Compacted {
    /// Layers whose folder went.
    pub unpacked: Vec<DroppedForm>,
    /// Layers whose compressed form went.
    pub compressed: Vec<DroppedForm>,
    /// Bytes in all.
    pub space_reclaimed: u64,
}

/// One form of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DroppedForm {
    /// The layer as its manifest names it.
    pub digest: String,
    /// Bytes.
    pub size: u64,
    /// How it is had again: `unpacking`, `compressing`, or the name of the repository that has it.
    pub again: String,
}

/// How a blob is had again, for people and programs.
fn told(again: &Again) -> String {
    match again {
        Again::Compressing(_) => "compressing".to_owned(),
        Again::Registry(repository) => repository.clone(),
    }
}

impl Engine {
    /// `POST /images/compact`: drops forms of layers that can be had again; with `dry` tells what would go.
    pub async fn image_compact(&self, forms: LayerForms, dry: bool) -> Result<Compacted> {
        self.compact(forms, dry, None).await
    }

    /// The same; where a name is given, compressed forms of the layers of that image alone.
    async fn compact(&self, forms: LayerForms, dry: bool, only: Option<&Reference>) -> Result<Compacted> {
        let _one_at_a_time = self.inner.compacting.lock().await;
        let mut compacted = Compacted::default();
        if let Some(unused) = forms.unpacked_for {
            let store = self.inner.store.clone();
            let packed = blocking(move || {
                store.images().pack(unused, dry).map_err(|error| EngineError::because("", error))
            });
            for layer in packed.await? {
                compacted.space_reclaimed += layer.size;
                let (digest, again) = (layer.blob.to_string(), "unpacking".to_owned());
                compacted.unpacked.push(DroppedForm { digest, size: layer.size, again });
            }
        }
        if forms.drop_compressed {
            let store = self.inner.store.clone();
            let layers = blocking(move || {
                store.images().in_two_forms().map_err(|error| EngineError::because("", error))
            });
            let unpacked: BTreeSet<String> =
                compacted.unpacked.iter().map(|one| one.digest.clone()).collect();
            for layer in layers.await? {
                let digest = layer.blob.digest.to_string();
                // A dry look has left both.
                let known = compacted.compressed.iter().any(|one| one.digest == digest);
                let is_meant = only.is_none_or(|only| layer.names.contains(only));
                if known || !is_meant || unpacked.contains(&digest) {
                    continue;
                }
                if let Some(form) = self.drop_compressed(layer, dry).await? {
                    compacted.space_reclaimed += form.size;
                    compacted.compressed.push(form);
                }
            }
        }
        Ok(compacted)
    }

    async fn drop_compressed(&self, layer: TwoForms, dry: bool) -> Result<Option<DroppedForm>> {
        let of = |error| EngineError::because("", error);
        let (store, asked) = (self.inner.store.clone(), layer.clone());
        let alike = blocking(move || Ok(store.is_compressed_alike(&asked))).await?;
        let alike = match alike {
            Ok(alike) => alike,
            Err(error) => {
                // Its image was removed meanwhile, or its folder is damaged: then the compressed form is all that there is.
                tracing::warn!(
                    layer = layer.blob.digest.to_string(),
                    error = corten_std::chain(&error),
                    "a layer stays compressed as well: its folder cannot be read"
                );
                return Ok(None);
            }
        };
        let again = if alike {
            Again::Compressing(layer.diff_id)
        } else {
            match self.registry_with(&layer).await {
                Some(repository) => Again::Registry(repository),
                None => return Ok(None),
            }
        };
        let told = told(&again);
        let digest = layer.blob.digest.to_string();
        let store = self.inner.store.clone();
        let size = if dry {
            layer.blob.size
        } else {
            blocking(move || store.drop_compressed(&layer, again).map_err(of)).await?
        };
        Ok((size > 0).then_some(DroppedForm { digest, size, again: told }))
    }

    /// The repository that an image with the layer was pulled from, where its registry has the layer, for anybody. No mirror is asked,
    /// which may forget it; and nobody is asked of what came another way, since a name alone says nothing.
    async fn registry_with(&self, layer: &TwoForms) -> Option<String> {
        let repositories = layer.repositories.iter().filter_map(|name| Reference::parse(name).ok());
        for name in repositories.take(REPOSITORIES) {
            let Ok(repository) = self.repository(&name, &Credentials::default()).await else { continue };
            match repository.answers_for(&layer.blob).await {
                Ok(true) => return Some(name.canonical_name()),
                Ok(false) => {}
                Err(error) => tracing::debug!(
                    layer = layer.blob.digest.to_string(),
                    error = corten_std::chain(&error),
                    "a registry was not asked whether it has a layer"
                ),
            }
        }
        None
    }

    /// What the settings say of forms of layers is done, beside everything else: for all images, or for one that has come.
    pub(crate) fn follow_layer_forms(&self, only: Option<Reference>) {
        let forms = self.inner.reloadable().layer_forms;
        if forms == LayerForms::default() {
            return;
        }
        let engine = self.clone();
        tokio::spawn(async move {
            match engine.compact(forms, false, only.as_ref()).await {
                Ok(compacted) if compacted.space_reclaimed > 0 => tracing::info!(
                    bytes = compacted.space_reclaimed,
                    "forms of layers that can be had again were dropped"
                ),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(error = corten_std::chain(&error), "no form of a layer was dropped");
                }
            }
        });
    }

    /// What of an image's layers is not on the disk, as its document tells it; none where all is.
    pub(super) fn dropped_forms(&self, image: &Image) -> Option<Vec<corten_api::image::DroppedForm>> {
        let images = self.inner.store.images();
        if images.are_all_forms_here() {
            return None;
        }
        let (blobs, folders) = (images.dropped_blobs(&image.id), images.dropped_folders(image));
        let form = |form: &str, digest: Digest, size, again: String| corten_api::image::DroppedForm {
            form: form.to_owned(),
            digest: digest.to_string(),
            size,
            again,
        };
        let blobs =
            blobs.into_iter().map(|(digest, size, again)| form("compressed", digest, size, told(&again)));
        let folders =
            folders.into_iter().map(|(chain, size)| form("unpacked", chain, size, "unpacking".to_owned()));
        let all: Vec<_> = blobs.chain(folders).collect();
        (!all.is_empty()).then_some(all)
    }

    /// Has an image's layers unpacked where they are to lie below something, and stay so until something does. Blocking.
    pub(crate) fn unpacked(&self, image: &Image) -> Result<Holding> {
        let unpacked = self.inner.store.images().unpacked(image);
        unpacked.map_err(|error| EngineError::because("unpacking the layers of the image again", error))
    }

    /// Fetches what was dropped of images because a registry has it; it stays while what this gives lives.
    pub async fn image_bring_back(&self, names: &[String]) -> Result<Holding> {
        let (engine, names) = (self.clone(), names.to_vec());
        let missing = blocking(move || {
            let store = &engine.inner.store;
            let mut content = BTreeSet::new();
            for name in &names {
                let of_image = store.content_of_image(&engine.image(name)?.id);
                content.extend(of_image.map_err(|error| EngineError::because("", error))?);
            }
            // Held before it is looked for: nobody drops it any more.
            let mut holding = store.hold();
            for digest in &content {
                holding.has(digest);
            }
            Ok((store.elsewhere(&content), holding))
        });
        let (missing, holding) = missing.await?;
        for (digest, size, repository) in missing {
            self.fetch_dropped(digest, size, &repository).await?;
        }
        Ok(holding)
    }

    /// Fetches one layer that was dropped; nothing where it is here.
    pub(super) async fn fetch_dropped(&self, digest: Digest, size: u64, repository: &str) -> Result<()> {
        let failed = |error: EngineError| {
            let text =
                format!("layer {digest} was dropped here because {repository} had it, and cannot be fetched");
            EngineError::because(&text, error)
                .with_class(ErrorClass::System)
                .with_hint(format!("do it again once {repository} answers, or load an archive of the image"))
        };
        let name = Reference::parse(repository).map_err(|error| EngineError::because("", error))?;
        let place = self.repository(&name, &Credentials::default()).await.map_err(failed)?;
        let blob = Descriptor::new("application/octet-stream", digest, size);
        let path = self.inner.store.ingest_path(&digest);
        let (download, _) = self.inner.downloads.join(&place, &blob, &path);
        let mut watch = download.watch();
        while !watch.borrow_and_update().ended {
            if watch.changed().await.is_err() {
                break;
            }
        }
        if let Err(failure) = download.outcome().unwrap_or(Ok(())) {
            return Err(failed(failure.into_parts().0));
        }
        let store = self.inner.store.clone();
        let back = blocking(move || {
            store.bring_back(&digest, &path).map_err(|error| EngineError::because("", error))
        });
        let back = back.await;
        if back.is_err() {
            download.spoil();
        }
        back.map_err(failed)
    }
}
