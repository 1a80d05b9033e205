//! `import`: a tar of files becomes an image of one layer.

use super::{change, name_attribute};
use crate::container::defaults_of;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use corten_api::container::ContainerConfig;
use corten_oci::image::{History, ImageConfig};
use corten_oci::{Platform, Reference};
use corten_std::Timestamp;
use corten_store::NewImage;
use std::io::Read;

/// What an image is made with.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// `name[:tag]`; none: the image gets no name.
    pub reference: Option<Reference>,
    /// A note.
    pub message: String,
    /// Changes in Dockerfile form.
    pub changes: Vec<String>,
    /// `os/architecture[/variant]` that the files are for; empty: this machine.
    pub platform: String,
}

/// An import that was asked for rightly.
#[derive(Debug)]
pub struct Import {
    config: ImageConfig,
    reference: Option<Reference>,
}

impl ImportOptions {
    /// Checks what was asked for, before the archive is read.
    pub fn check(self) -> Result<Import> {
        let platform = match self.platform.as_str() {
            "" => Platform::host(),
            text => Platform::parse(text).map_err(|error| EngineError::because("", error))?,
        };
        let mut config = ContainerConfig::default();
        change::apply(&mut config, &self.changes)?;
        let now = Timestamp::now();
        let config = ImageConfig {
            created: Some(now),
            architecture: platform.architecture,
            variant: platform.variant,
            os: platform.os,
            config: defaults_of(&config),
            history: vec![History { created: Some(now), comment: self.message, ..History::default() }],
            ..ImageConfig::default()
        };
        Ok(Import { config, reference: self.reference })
    }
}

impl Engine {
    /// `POST /images/create?fromSrc=-`: reads a tar, plain or compressed, and gives the new image's ID. Blocking.
    pub fn image_import(&self, import: Import, archive: impl Read + Send) -> Result<String> {
        let Import { config, reference } = import;
        let names = reference.into_iter().collect();
        let new = NewImage { base: None, layers: vec![Box::new(archive)], config, names };
        let image = self
            .inner
            .store
            .images()
            .add(new)
            .map_err(|error| EngineError::because("importing the archive", error))?;
        let id = image.id.to_string();
        self.inner.events.publish("image", "import", &id, name_attribute(&id));
        Ok(id)
    }
}
