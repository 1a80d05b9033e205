//! Images: what is here, under which names, in and out as archives; and the one image that needs no archive.

mod bundle;
mod change;
mod commit;
mod download;
mod forms;
mod import;
mod outgoing;
mod policy;
mod progress;
mod pull;
mod push;
mod referrers;
mod registry;
mod word;

pub use bundle::BundleRequest;
pub use commit::CommitOptions;
pub use corten_distribution::{Credentials, Found};
pub(crate) use download::Downloads;
pub use forms::{Compacted, DroppedForm, LayerForms};
pub use import::{Import, ImportOptions};
pub use policy::{POLICY_FILE, Verified};
pub use progress::{Progress, Tell};
pub use pull::PullOptions;
pub use push::PushOptions;

use crate::embedded;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::glob;
use crate::volume::blocking;
use corten_api::container::Healthcheck;
use corten_api::filter::Filters;
use corten_api::image::{
    Config, DeleteResponse, Descriptor, GraphDriver, HistoryItem, Inspect, Metadata, Platform, PruneReport,
    RootFs, Summary,
};
use corten_api::null::Empty;
use corten_oci::image::{ContainerDefaults, Descriptor as StoredDescriptor};
use corten_oci::{Digest, Platform as OciPlatform, Reference};
use corten_std::{Classified, ErrorClass, Timestamp};
use corten_store::{Image, ImageUser, ManifestKind, ManifestSummary, Removed, StoreError};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

/// What a list of images is about.
#[derive(Debug, Clone, Default)]
pub struct ImageListOptions {
    /// Also those that are only in the way of others; every image here is one of its own, so it changes nothing.
    pub all: bool,
    /// `before`, `dangling`, `label`, `label!`, `reference`, `since`, `until`.
    pub filters: Filters,
    /// With what each image holds for each platform.
    pub manifests: bool,
    /// With how much of each image others have too.
    pub shared_size: bool,
}

/// What is told of an image.
#[derive(Debug, Clone, Default)]
pub struct InspectOptions {
    /// As it is for this platform; none: for the machine's.
    pub platform: Option<OciPlatform>,
    /// With what it holds for each platform.
    pub manifests: bool,
}

impl Engine {
    /// The image that a container is to be made from: by name, digest or id prefix. `hello-world` is made from this
    /// program where no image has that name, so that a first run needs nothing from elsewhere.
    pub(crate) fn image_for_container(&self, reference: &str) -> Result<Arc<Image>> {
        match self.inner.store.images().resolve(reference) {
            Err(error) if error.class() == ErrorClass::NotFound && embedded::is_meant(reference) => {
                embedded::make(&self.inner.store)?;
                self.inner.store.images().resolve(reference).map_err(|error| image_error(reference, error))
            }
            result => result.map_err(|error| image_error(reference, error)),
        }
    }

    /// Every image, in no order that means anything.
    pub(crate) fn stored_images(&self) -> Result<Vec<Arc<Image>>> {
        self.inner.store.images().list().map_err(|error| EngineError::because("listing the images", error))
    }

    fn image(&self, reference: &str) -> Result<Arc<Image>> {
        self.inner.store.images().resolve(reference).map_err(|error| image_error(reference, error))
    }

    /// `GET /images/json`, newest first.
    pub async fn image_list(&self, options: &ImageListOptions) -> Result<Vec<Summary>> {
        let of = |error| EngineError::because("", error);
        let filters = &options.filters;
        filters
            .validate(&["before", "dangling", "label", "label!", "reference", "since", "until"])
            .map_err(of)?;
        let dangling = filters.flag("dangling").map_err(of)?;
        let created = |key: &str| {
            filters.get(key).next().map(|name| self.image(name).map(|image| image.created)).transpose()
        };
        let (before, since) = (created("before")?, created("since")?);
        let until = self.until(filters)?;
        let mut images = self.stored_images()?;
        images.sort_by(|one, other| other.created.cmp(&one.created).then_with(|| one.id.cmp(&other.id)));
        let sharing = options.shared_size.then(|| self.inner.store.images().sharing());
        let rows = images.iter().filter_map(|image| {
            let labels = image.config.config.labels.clone().unwrap_or_default();
            let passes = dangling.is_none_or(|dangling| dangling == image.names.is_empty())
                && before.is_none_or(|before| image.created < before)
                && since.is_none_or(|since| image.created > since)
                && until.is_none_or(|until| image.created < until)
                && filters.matches_label_keys(&labels);
            if !passes {
                return None;
            }
            let mut row = summary(image);
            if let Some(sharing) = &sharing {
                row.shared_size = sharing.shared.get(&image.id).copied().unwrap_or(0) as i64;
            }
            if options.manifests {
                row.manifests = self.manifests(image).ok();
            }
            if filters.contains("reference") {
                let wanted = |name: &&Reference| {
                    filters.get("reference").any(|pattern| matches_pattern(pattern, name))
                };
                let named: Vec<&Reference> = image.names.iter().filter(wanted).collect();
                if named.is_empty() {
                    return None;
                }
                let tagged = named.iter().filter(|name| name.tag().is_some());
                row.repo_tags = tagged.map(|name| name.familiar()).collect();
                row.repo_digests = named.iter().map(|name| name.with_digest(image.id).familiar()).collect();
                row.repo_digests.sort();
                row.repo_digests.dedup();
            }
            Some(row)
        });
        Ok(rows.collect())
    }

    /// `GET /images/{name}/json`.
    pub async fn image_inspect(&self, reference: &str, options: &InspectOptions) -> Result<Inspect> {
        if options.platform.is_none() && !options.manifests {
            // All of it is in memory.
            let image = self.image(reference)?;
            return Ok(Inspect { dropped_forms: self.dropped_forms(&image), ..inspect(&image) });
        }
        let (engine, reference, options) = (self.clone(), reference.to_owned(), options.clone());
        blocking(move || {
            let image = engine.image_of(&reference, options.platform.as_ref())?;
            let mut document = inspect(&image);
            document.dropped_forms = engine.dropped_forms(&image);
            if options.manifests {
                document.manifests = Some(engine.manifests(&image)?);
            }
            Ok(document)
        })
        .await
    }

    /// An image, as it is for one platform where one is asked for.
    pub(crate) fn image_of(&self, reference: &str, platform: Option<&OciPlatform>) -> Result<Arc<Image>> {
        let image = self.image(reference)?;
        let Some(platform) = platform else { return Ok(image) };
        self.for_platform(reference, &image, platform)
    }

    /// The image for a platform; Docker's text where it has nothing for it.
    pub(crate) fn for_platform(
        &self,
        reference: &str,
        image: &Image,
        platform: &OciPlatform,
    ) -> Result<Arc<Image>> {
        let found = self
            .inner
            .store
            .images()
            .for_platform(&image.id, platform)
            .map_err(|error| EngineError::because("", error))?;
        found.ok_or_else(|| {
            EngineError::not_found(format!(
                "image with reference {reference} was found but does not provide the specified platform ({platform})"
            ))
        })
    }

    /// What an image holds, manifest by manifest, as the API shows it.
    fn manifests(&self, image: &Image) -> Result<Vec<serde_json::Value>> {
        let all = self.inner.store.images().manifests(&image.id);
        let all = all.map_err(|error| EngineError::because("", error))?;
        let users = self.image_users().remove(&image.id.to_string()).unwrap_or_default();
        let containers = |manifest: &Digest| -> Vec<String> {
            // Those of another platform than the image's own are not told apart.
            let own = *manifest == image.manifest.digest;
            if own { users.iter().map(|user| user.container.clone()).collect() } else { Vec::new() }
        };
        Ok(all.iter().map(|one| manifest_summary(one, &containers)).collect())
    }

    /// `GET /images/{name}/history`, newest first.
    pub async fn image_history(
        &self,
        reference: &str,
        platform: Option<&OciPlatform>,
    ) -> Result<Vec<HistoryItem>> {
        let image = match platform.cloned() {
            None => self.image(reference)?,
            Some(platform) => {
                let (engine, reference) = (self.clone(), reference.to_owned());
                blocking(move || engine.image_of(&reference, Some(&platform))).await?
            }
        };
        let mut layers = image.chain.iter();
        let mut items: Vec<HistoryItem> = image
            .config
            .history
            .iter()
            .map(|step| HistoryItem {
                comment: step.comment.clone(),
                created: step.created.map_or(0, Timestamp::unix_seconds),
                created_by: step.created_by.clone(),
                id: "<missing>".to_owned(),
                size: if step.empty_layer {
                    0
                } else {
                    layers.next().map_or(0, |layer| self.layer_size(layer))
                },
                tags: None,
            })
            .collect();
        items.reverse();
        if let Some(newest) = items.first_mut() {
            newest.id = image.id.to_string();
            newest.tags = (!image.names.is_empty()).then(|| image.repo_tags());
        }
        Ok(items)
    }

    /// Bytes of a layer's files, by the name of the stack that it lies on top of.
    fn layer_size(&self, chain: &Digest) -> i64 {
        let size = self.inner.store.images().layer_size(chain);
        i64::try_from(size).unwrap_or(i64::MAX)
    }

    /// `POST /images/{name}/tag`: one more name; it is taken from the image that has it.
    pub async fn image_tag(&self, reference: &str, repository: &str, tag: &str) -> Result<()> {
        let text = if tag.is_empty() { repository.to_owned() } else { format!("{repository}:{tag}") };
        let name = Reference::parse(&text).map_err(|error| EngineError::because("", error))?;
        if name.digest().is_some() {
            return Err(EngineError::invalid("refusing to create a tag with a digest reference"));
        }
        let (engine, reference) = (self.clone(), reference.to_owned());
        blocking(move || {
            let image = engine.image(&reference)?;
            engine
                .inner
                .store
                .images()
                .tag(&reference, &name)
                .map_err(|error| image_error(&reference, error))?;
            engine.image_event("tag", &image.id, &name.familiar());
            Ok(())
        })
        .await
    }

    /// `DELETE /images/{name}`: takes the name away, and the image with its last name; with platforms only what it
    /// holds for them.
    pub async fn image_remove(
        &self,
        reference: &str,
        force: bool,
        platforms: Vec<OciPlatform>,
    ) -> Result<Vec<DeleteResponse>> {
        let (engine, reference) = (self.clone(), reference.to_owned());
        blocking(move || engine.remove_image(&reference, force, &platforms)).await
    }

    fn remove_image(
        &self,
        reference: &str,
        force: bool,
        platforms: &[OciPlatform],
    ) -> Result<Vec<DeleteResponse>> {
        let users = self.image_users();
        let users_of = |digest: &Digest| users.get(&digest.to_string()).cloned().unwrap_or_default();
        let images = self.inner.store.images();
        let removed = if platforms.is_empty() {
            images.remove(reference, force, &users_of)
        } else {
            images.remove_platforms(reference, platforms, force, &users_of)
        };
        let removed = removed.map_err(|error| match error {
            StoreError::NoPlatform { platform, .. } => EngineError::not_found(format!(
                "image with reference {reference} was found but does not provide the specified platform ({platform})"
            )),
            error => image_error(reference, error),
        })?;
        let image = removed.iter().find_map(|step| match step {
            Removed::Deleted(digest) => Some(*digest),
            Removed::Untagged(_) => None,
        });
        let mut answer = Vec::new();
        for step in removed {
            match step {
                Removed::Untagged(name) => {
                    let actor = image.map_or_else(|| name.familiar(), |digest| digest.to_string());
                    self.inner.events.publish("image", "untag", &actor, name_attribute(&actor));
                    answer.push(DeleteResponse { untagged: name.familiar(), ..DeleteResponse::default() });
                }
                Removed::Deleted(digest) => {
                    let id = digest.to_string();
                    self.inner.events.publish("image", "delete", &id, name_attribute(&id));
                    answer.push(DeleteResponse { deleted: id, ..DeleteResponse::default() });
                }
            }
        }
        Ok(answer)
    }

    /// `POST /images/prune`: dangling images that no container uses; with `dangling=false` all unused ones.
    pub async fn image_prune(&self, filters: &Filters) -> Result<PruneReport> {
        let of = |error| EngineError::because("", error);
        filters.validate(&["dangling", "label", "label!", "until"]).map_err(of)?;
        let only_dangling = filters.flag("dangling").map_err(of)?.unwrap_or(true);
        let until = self.until(filters)?;
        let (engine, filters) = (self.clone(), filters.clone());
        blocking(move || {
            let users = engine.image_users();
            let mut report = PruneReport::default();
            for image in engine.stored_images()? {
                let labels = image.config.config.labels.clone().unwrap_or_default();
                let wanted = (!only_dangling || image.names.is_empty())
                    && !users.contains_key(&image.id.to_string())
                    && until.is_none_or(|until| image.created < until)
                    && filters.matches_label_keys(&labels);
                if wanted {
                    let removed = engine.remove_image(&image.id.to_string(), true, &[])?;
                    report.images_deleted.get_or_insert_default().extend(removed);
                    report.space_reclaimed += image.size;
                }
            }
            engine.tell_pruned("image", report.space_reclaimed);
            Ok(report)
        })
        .await
    }

    /// `GET /images/get`: an archive of the named images that is an OCI layout and a docker-archive at once. Blocking.
    /// Every name is looked up before the first byte is written.
    pub fn image_save(
        &self,
        references: &[String],
        platform: Option<&OciPlatform>,
        archive: &mut dyn Write,
    ) -> Result<()> {
        for reference in references {
            let image = self.image(reference)?;
            self.image_event("save", &image.id, reference);
        }
        let names: Vec<&str> = references.iter().map(String::as_str).collect();
        self.inner
            .store
            .images()
            .save_platform(&names, platform, archive)
            .map_err(|error| EngineError::because("", error))
    }

    /// Fails where one of the images is not here: what a caller asks before it begins an answer.
    pub fn image_check(&self, references: &[String], platform: Option<&OciPlatform>) -> Result<()> {
        references.iter().try_for_each(|reference| {
            let image = self.image(reference)?;
            let Some(platform) = platform else { return Ok(()) };
            let manifests = self.inner.store.images().manifests(&image.id);
            let manifests = manifests.map_err(|error| EngineError::because("", error))?;
            let offered = manifests.iter().any(|one| {
                one.available && one.kind == ManifestKind::Image && platform.suits(&one.platform).is_some()
            });
            if offered {
                return Ok(());
            }
            Err(EngineError::not_found(format!(
                "image with reference {reference} was found but does not provide the specified platform ({platform})"
            )))
        })
    }

    /// Containers by the image they use.
    fn image_users(&self) -> BTreeMap<String, Vec<ImageUser>> {
        let mut users: BTreeMap<String, Vec<ImageUser>> = BTreeMap::new();
        for container in self.inner.containers.all() {
            let view = container.view();
            let user = ImageUser { container: view.record.id.clone(), running: view.life.phase.is_running() };
            users.entry(view.record.image.clone()).or_default().push(user);
        }
        users
    }

    fn image_event(&self, action: &str, digest: &Digest, name: &str) {
        self.inner.events.publish("image", action, &digest.to_string(), name_attribute(name));
    }
}

fn name_attribute(name: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("name".to_owned(), name.to_owned())])
}

/// A store's error in Docker's words: a missing image is `No such image: NAME:TAG`.
fn image_error(reference: &str, error: StoreError) -> EngineError {
    if error.class() == ErrorClass::NotFound {
        let name = Reference::parse(reference).map_or_else(|_| reference.to_owned(), |name| name.familiar());
        return EngineError::not_found(format!("No such image: {name}"));
    }
    EngineError::because("", error)
}

/// A pattern of the `reference` filter fits a whole name or the name without its tag (Docker's `FamiliarMatch`).
fn matches_pattern(pattern: &str, name: &Reference) -> bool {
    glob::matches(pattern, &name.familiar()) || glob::matches(pattern, &name.familiar_name())
}

fn summary(image: &Image) -> Summary {
    Summary {
        containers: -1,
        created: image.created.unix_seconds().max(0),
        id: image.id.to_string(),
        labels: image.config.config.labels.clone(),
        descriptor: Some(descriptor(&image.target)),
        repo_digests: image.repo_digests(),
        repo_tags: image.repo_tags(),
        shared_size: -1,
        size: image.size as i64,
        ..Summary::default()
    }
}

fn inspect(image: &Image) -> Inspect {
    let config = &image.config;
    Inspect {
        id: image.id.to_string(),
        repo_tags: image.repo_tags(),
        repo_digests: image.repo_digests(),
        comment: config.history.last().map(|step| step.comment.clone()).unwrap_or_default(),
        created: config.created.map(|created| created.to_string()).unwrap_or_default(),
        docker_version: config.docker_version.clone(),
        author: config.author.clone(),
        config: Some(defaults(&config.config)),
        architecture: config.architecture.clone(),
        variant: config.variant.clone(),
        os: config.os.clone(),
        os_version: config.os_version.clone(),
        size: image.size as i64,
        graph_driver: GraphDriver { data: None, name: "overlayfs".to_owned() },
        root_fs: RootFs {
            kind: "layers".to_owned(),
            layers: config.rootfs.diff_ids.iter().map(Digest::to_string).collect(),
        },
        metadata: Metadata { last_tag_time: image.last_tagged.to_string() },
        descriptor: Some(descriptor(&image.target)),
        ..Inspect::default()
    }
}

/// One manifest as the API shows it.
fn manifest_summary(one: &ManifestSummary, containers: &dyn Fn(&Digest) -> Vec<String>) -> serde_json::Value {
    let total = one.content_size + one.unpacked_size;
    let mut summary = serde_json::json!({
        "ID": one.descriptor.digest.to_string(),
        "Descriptor": descriptor(&one.descriptor),
        "Available": one.available,
        "Size": {"Content": one.content_size, "Total": total},
        "Kind": match one.kind {
            ManifestKind::Image => "image",
            ManifestKind::Attestation { .. } => "attestation",
            ManifestKind::Unknown => "unknown",
        },
    });
    match one.kind {
        ManifestKind::Image => {
            summary["ImageData"] = serde_json::json!({
                "Platform": api_platform(&one.platform),
                "Containers": containers(&one.descriptor.digest),
                "Size": {"Unpacked": one.unpacked_size},
            });
        }
        ManifestKind::Attestation { of } => {
            summary["AttestationData"] = serde_json::json!({"For": of.to_string()});
        }
        ManifestKind::Unknown => {}
    }
    summary
}

fn api_platform(platform: &OciPlatform) -> Platform {
    Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        os_version: platform.os_version.clone(),
        os_features: Vec::new(),
        variant: platform.variant.clone(),
    }
}

/// A stored descriptor as the API shows it.
pub(crate) fn descriptor(stored: &StoredDescriptor) -> Descriptor {
    Descriptor {
        media_type: stored.media_type.clone(),
        digest: stored.digest.to_string(),
        size: stored.size as i64,
        urls: stored.urls.clone(),
        annotations: stored.annotations.clone(),
        platform: stored.platform.as_ref().map(api_platform),
        artifact_type: stored.artifact_type.clone().unwrap_or_default(),
    }
}

fn defaults(config: &ContainerDefaults) -> Config {
    let set = |keys: Option<&BTreeMap<String, corten_oci::image::Empty>>| {
        keys.into_iter().flat_map(BTreeMap::keys).map(|key| (key.clone(), Empty)).collect()
    };
    Config {
        user: config.user.clone(),
        exposed_ports: set(config.exposed_ports.as_ref()),
        env: config.env.clone().unwrap_or_default(),
        entrypoint: config.entrypoint.clone().unwrap_or_default(),
        cmd: config.cmd.clone().unwrap_or_default(),
        volumes: set(config.volumes.as_ref()),
        working_dir: config.working_dir.clone(),
        labels: config.labels.clone().unwrap_or_default(),
        stop_signal: config.stop_signal.clone(),
        args_escaped: false,
        healthcheck: config.healthcheck.as_ref().map(|check| Healthcheck {
            test: (!check.test.is_empty()).then(|| check.test.clone()),
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
        }),
        on_build: config.on_build.clone().unwrap_or_default(),
        shell: config.shell.clone().unwrap_or_default(),
    }
}
