//! `commit`: a container's own files and configuration become an image.

use super::{change, image_error, name_attribute};
use crate::archive::WritableLayer;
use crate::container::handle::View;
use crate::container::state::Phase;
use crate::container::{defaults_of, fill};
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::volume::blocking;
use corten_api::container::ContainerConfig;
use corten_oci::Reference;
use corten_oci::image::{ContainerDefaults, History, ImageConfig};
use corten_std::Timestamp;
use corten_store::NewImage;
use std::io::Read;

/// What an image is made with.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// The container.
    pub container: String,
    /// `name[:tag]`; none: the image gets no name.
    pub reference: Option<Reference>,
    /// Who made it; empty: who made the image below.
    pub author: String,
    /// A note.
    pub comment: String,
    /// Changes in Dockerfile form.
    pub changes: Vec<String>,
    /// Whether the container is frozen meanwhile.
    pub pause: bool,
    /// What the changes are made to, and what goes before the container's own; none: the container's own.
    pub config: Option<ContainerConfig>,
}

impl Engine {
    /// `POST /commit`: gives the new image's ID. A client that leaves does not stop it half-way, nor leave the container
    /// frozen.
    pub async fn image_commit(&self, options: CommitOptions) -> Result<String> {
        let engine = self.clone();
        let work = tokio::spawn(async move { engine.commit(options).await });
        work.await.unwrap_or_else(|error| Err(EngineError::from_error("the commit was broken off", error)))
    }

    async fn commit(&self, options: CommitOptions) -> Result<String> {
        let handle = self.find(&options.container)?;
        let view = handle.view();
        check(&view)?;
        // What is wrong in the request is told before anything is done.
        let mut config = options.config.clone().unwrap_or_else(|| view.record.config.clone());
        change::apply(&mut config, &options.changes)?;
        fill(&mut config, &defaults_of(&view.record.config));

        let mut frozen = None;
        if options.pause && view.phase() == Phase::Running {
            match self.pause_for_work(&handle.id).await {
                Ok(mark) => frozen = Some(mark),
                Err(error) if handle.view().phase() == Phase::Running => return Err(error),
                // It has ended meanwhile, or somebody else has frozen it: what was asked for is so already.
                Err(_) => {}
            }
        }
        let engine = self.clone();
        let committed = blocking(move || engine.make_image(&view, &defaults_of(&config), &options)).await;
        if let Some(mark) = frozen {
            // It may have ended meanwhile: a frozen container can be killed.
            if let Err(error) = self.unpause_after_work(&handle.id, mark).await {
                tracing::debug!(%error, container = handle.id, "not thawed after a commit");
            }
        }
        committed
    }

    fn make_image(&self, view: &View, config: &ContainerDefaults, options: &CommitOptions) -> Result<String> {
        let record = &view.record;
        let Some(key) = &record.snapshot else {
            return Err(EngineError::not_implemented(format!(
                "container {} lies over a plain folder, of which no image can be made",
                record.id
            ))
            .with_hint("`export` it and `import` the archive"));
        };
        let images = self.inner.store.images();
        let base = images.resolve(&record.image).map_err(|error| image_error(&record.image, error))?;
        let layer = WritableLayer::open(&self.inner, record, key)?;
        let layers: Vec<Box<dyn Read + Send>> =
            if layer.is_empty() { Vec::new() } else { vec![Box::new(layer.archive()?)] };
        let now = Timestamp::now();
        let below = &base.config;
        let author = if options.author.is_empty() { below.author.clone() } else { options.author.clone() };
        let mut history = below.history.clone();
        history.push(History {
            created: Some(now),
            created_by: record.config.cmd.as_deref().unwrap_or_default().join(" "),
            author: author.clone(),
            comment: options.comment.clone(),
            empty_layer: layers.is_empty(),
        });
        let document = ImageConfig {
            created: Some(now),
            author,
            architecture: below.architecture.clone(),
            variant: below.variant.clone(),
            os: below.os.clone(),
            os_version: below.os_version.clone(),
            config: config.clone(),
            history,
            ..ImageConfig::default()
        };
        let names = options.reference.iter().cloned().collect();
        let new = NewImage { base: Some(base), layers, config: document, names };
        let image = images.add(new).map_err(|error| EngineError::because("making the image", error))?;

        let id = image.id.to_string();
        self.inner.events.publish("image", "create", &id, name_attribute(&id));
        let reference = options.reference.clone().map(Reference::with_default_tag);
        let name = reference.as_ref().map(Reference::familiar).unwrap_or_default();
        if reference.is_some() {
            self.inner.events.publish("image", "tag", &id, name_attribute(&name));
        }
        let attributes = record.event_attributes_with([
            ("comment", options.comment.clone()),
            ("imageID", id.clone()),
            ("imageRef", name),
        ]);
        self.inner.events.publish("container", "commit", &record.id, attributes);
        Ok(id)
    }
}

fn check(view: &View) -> Result<()> {
    let id = &view.record.id;
    match view.phase() {
        Phase::Dead => Err(EngineError::conflict(format!("You cannot commit container {id} which is Dead"))),
        Phase::Removing | Phase::Removed => {
            Err(EngineError::conflict(format!("You cannot commit container {id} which is being removed")))
        }
        _ => Ok(()),
    }
}
