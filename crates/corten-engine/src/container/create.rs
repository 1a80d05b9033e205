//! Create: check everything, then take the name, the volumes, the writable layer, and save. Whatever fails, what was
//! done before is undone; a daemon that dies in between sweeps the rest when it starts (see `restore`).

use crate::Engine;
use crate::container::handle::Handle;
use crate::container::mounts::{self, Source, Wanted};
use crate::container::owner::Owner;
use crate::container::record::{MountKind, Mounted, Record};
use crate::container::spec::ports;
use crate::container::spec::security;
use crate::container::state::Lifecycle;
use crate::container::{limits, merge, populate, save, selinux, validate};
use crate::engine::EngineInner;
use crate::error::{EngineError, Result};
use crate::name::random_name;
use crate::undo::Undo;
use crate::volume::{VolumeWanted, blocking};
use corten_api::container::{ContainerConfig, CreateRequest, CreateResponse};
use corten_std::{ErrorClass, Timestamp, file, id};
use corten_store::{Image, SnapshotKey};
use std::path::Path;
use std::sync::Arc;

/// What stands beside the body of a create request.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// The name; none: a random one.
    pub name: Option<String>,
    /// `linux/amd64`; none: this machine's.
    pub platform: Option<String>,
}

impl Engine {
    /// Makes a container. Nothing of it is left where this fails. Goes on to its end where the caller gives up waiting.
    pub async fn create(&self, options: CreateOptions, request: CreateRequest) -> Result<CreateResponse> {
        let engine = self.clone();
        blocking(move || engine.create_now(&options, request)).await
    }

    #[tracing::instrument(name = "create", level = "debug", skip_all)]
    fn create_now(&self, options: &CreateOptions, request: CreateRequest) -> Result<CreateResponse> {
        let CreateRequest { mut config, mut host_config, networking_config } = request;
        let name = match options.name.as_deref() {
            None | Some("") => None,
            Some(name) => Some(validate::name(name)?.to_owned()),
        };
        validate::config(&config)?;
        validate::host_config(&host_config)?;
        crate::runtime::check(&self.inner.reloadable(), &host_config.runtime)?;
        validate::together(&config, &host_config)?;
        if self.inner.settings.users.is_some() && host_config.userns_mode != "host" {
            validate::in_user_namespace(&host_config)?;
        }
        let rootfs = host_config.rootfs.clone();
        let image = if let Some(folder) = &rootfs {
            check_rootfs(folder)?;
            None
        } else {
            // Without an image the command is missed first, as in Docker.
            if config.image.is_empty() {
                merge::command(&mut config)?;
            }
            Some(self.image_for(&config.image, options.platform.as_deref())?)
        };
        if let Some(image) = &image {
            merge::merge(&mut config, &image.config.config);
        }
        let mut warnings = limits::settle(&mut host_config, self.inner.abilities(), false)?;
        let cgroups = self.inner.cgroups.mode();
        let (defaults, reloadable) = (&self.inner.settings.defaults, self.inner.reloadable());
        validate::fill_defaults(&mut config, &mut host_config, defaults, &reloadable, cgroups);
        let (path, arguments) = merge::command(&mut config)?;
        selinux::settle(&mut host_config, |name| Ok(self.other(name)?.view().record.process_label.clone()))?;
        self.take_links(&mut host_config)?;
        warnings.extend(security::warnings(&host_config, self.inner.selinux.is_some()));
        if host_config.mounts.iter().any(|mount| mount.kind == "image") {
            warnings.push("Image mount is an experimental feature".to_owned());
        }
        let networks = self.networks_for(&config, &mut host_config, networking_config, &mut warnings)?;
        if networks.keys().any(|name| !matches!(name.as_str(), "host" | "none")) {
            let mappings = ports::mappings(&config.exposed_ports, &host_config)?;
            warnings.extend(self.inner.network.closed_ports(&mappings));
        }
        let taken = self.volumes_from(host_config.volumes_from.as_deref().unwrap_or_default())?;
        let wanted = mounts::wanted(&host_config, config.volumes.as_ref(), taken, &|path| path.exists())?;

        let others =
            || self.inner.containers.all().into_iter().map(|one| one.view().record.process_label.clone());
        // The level is kept from others until the container is known.
        let (labels, _level) = match &self.inner.selinux {
            Some(selinux) => selinux.labels(&selinux::options(&host_config), others())?,
            None => Default::default(),
        };

        // From here on things change, and are undone where a later step fails.
        let engine = &*self.inner;
        let points = &engine.settings.failpoints;
        let id = id::random_id();
        // Kept until the container is known, or everything is undone.
        let _claims = engine.volumes.claims(&id);
        let mut undo = Undo::new();
        let name = self.take_name(name, &id)?;
        undo.push("name", {
            let (name, id) = (name.clone(), id.clone());
            move || {
                engine.containers.release_name(&name, &id);
                Ok(())
            }
        });
        points.check("create.name")?;

        let mounts = self.take_mounts(wanted, &id, &mut undo)?;
        points.check("create.volumes")?;
        let snapshot = match &image {
            None => None,
            Some(image) => {
                let key = SnapshotKey::new(&id).map_err(|error| EngineError::because("", error))?;
                let _stays = self.unpacked(image)?;
                engine
                    .store
                    .snapshots()
                    .prepare(&key, image.top_snapshot.as_ref())
                    .map_err(|error| EngineError::because("making the writable layer", error))?;
                let remove = key.clone();
                undo.push("writable layer", move || {
                    engine.store.snapshots().remove(&remove).map_err(|error| EngineError::because("", error))
                });
                Some(key)
            }
        };
        points.check("create.snapshot")?;
        if let Some(key) = &snapshot {
            populate::fill_volumes(engine, key, &mounts, &host_config)?;
        }
        let folder = engine.settings.paths.container(&id);
        file::create_dir_all(engine.settings.paths.containers())?;
        engine.store.make_folder(&folder, 0o710).map_err(|error| EngineError::because("", error))?;
        undo.push("folder", move || Ok(file::remove_tree(folder)?));
        points.check("create.folder")?;

        let hostname = self.hostname(&mut config, &host_config.network_mode, &host_config.uts_mode, &id);
        let record = Record {
            name,
            created: Timestamp::now(),
            image: image.as_ref().map(|image| image.id.to_string()).unwrap_or_default(),
            platform: "linux".to_owned(),
            config,
            host_config,
            networks,
            mounts,
            path,
            arguments,
            hostname,
            snapshot: snapshot.map(|key| key.as_str().to_owned()),
            process_label: labels.process,
            mount_label: labels.mount,
            id,
        };
        if !record.auto_remove() {
            sync(engine, &record)?;
        }
        save::record(engine, &record)?;
        undo.push("record", {
            let (id, auto_remove) = (record.id.clone(), record.auto_remove());
            move || save::forget(engine, &id, auto_remove)
        });
        points.check("create.record")?;
        undo.keep();

        let response = CreateResponse { id: record.id.clone(), warnings };
        engine.events.publish("container", "create", &record.id, record.event_attributes());
        Owner::spawn(self, record, Lifecycle::default());
        Ok(response)
    }

    /// The image of a container; Docker's 404 where it is not here, which makes clients pull it.
    fn image_for(&self, reference: &str, platform: Option<&str>) -> Result<Arc<Image>> {
        let image = self.image_for_container(reference)?;
        if let Some(wanted) = platform.filter(|platform| !platform.is_empty()) {
            let wanted =
                corten_oci::Platform::parse(wanted).map_err(|error| EngineError::because("", error))?;
            return self.for_platform(reference, &image, &wanted);
        }
        if !image.runnable {
            return Err(EngineError::invalid(format!(
                "image {reference} holds nothing that can be run here"
            )));
        }
        Ok(image)
    }

    /// Takes the name asked for, or random ones until one is free.
    fn take_name(&self, name: Option<String>, id: &str) -> Result<String> {
        if let Some(name) = name {
            self.inner.containers.reserve_name(&name, id)?;
            return Ok(name);
        }
        for attempt in 0..100 {
            let name = random_name(attempt);
            if self.inner.containers.reserve_name(&name, id).is_ok() {
                return Ok(name);
            }
        }
        let name = id::short(id).to_owned();
        self.inner.containers.reserve_name(&name, id)?;
        Ok(name)
    }

    /// The name inside: what was asked for, the host's or the other container's where their network is shared, else the
    /// short id.
    fn hostname(&self, config: &mut ContainerConfig, network: &str, uts: &str, id: &str) -> String {
        if let Some(other) = network.strip_prefix("container:") {
            return self.find(other).map(|other| other.view().record.hostname.clone()).unwrap_or_default();
        }
        if config.hostname.is_empty() {
            config.hostname = if network == "host" || uts == "host" {
                rustix::system::uname().nodename().to_string_lossy().into_owned()
            } else {
                id::short(id).to_owned()
            };
        }
        config.hostname.clone()
    }

    /// Another container that a create names. That it is not there is a wrong request: clients take "not found" for the
    /// image, and pull it.
    fn other(&self, name: &str) -> Result<Arc<Handle>> {
        self.find(name).map_err(|error| error.with_class(ErrorClass::InvalidParameter))
    }

    /// The mounts of `VolumesFrom`.
    fn volumes_from(&self, list: &[String]) -> Result<Vec<Mounted>> {
        let mut all = Vec::new();
        for entry in list {
            let (container, read_only) = mounts::parse_volumes_from(entry)?;
            let view = self.other(container)?.view();
            for mounted in &view.record.mounts {
                if matches!(mounted.kind, MountKind::Tmpfs { .. } | MountKind::Image { .. }) {
                    continue;
                }
                let mut mounted = mounted.clone();
                mounted.read_only |= read_only == Some(true);
                all.push(mounted);
            }
        }
        Ok(all)
    }

    /// Looks volumes up or makes them.
    fn take_mounts<'a>(&'a self, wanted: Vec<Wanted>, id: &str, undo: &mut Undo<'a>) -> Result<Vec<Mounted>> {
        let engine = &*self.inner;
        let mut all = Vec::with_capacity(wanted.len());
        for (number, wanted) in wanted.into_iter().enumerate() {
            let Wanted { destination, read_only, propagation, mode, recursive, read_only_depth, source } =
                wanted;
            let kind = match source {
                Source::Bind { path, create } => MountKind::Bind { source: path, create },
                Source::Tmpfs { options } => MountKind::Tmpfs { options },
                Source::Taken(kind) => kind,
                Source::Image { name, subpath } => {
                    let image = self.image_for_container(&name)?;
                    let key = SnapshotKey::new(&format!("{id}.image-{number}"))
                        .map_err(|error| EngineError::because("", error))?;
                    let _stays = self.unpacked(&image)?;
                    engine
                        .store
                        .snapshots()
                        .view(&key, image.top_snapshot.as_ref())
                        .map_err(|error| EngineError::because("making a view of an image", error))?;
                    let snapshot = key.as_str().to_owned();
                    undo.push("view of an image", move || {
                        engine.store.snapshots().remove(&key).map_err(|error| EngineError::because("", error))
                    });
                    MountKind::Image { name, snapshot, subpath }
                }
                Source::Volume { name, driver, options, labels, subpath, copy } => {
                    let anonymous = name.is_none();
                    let wanted = VolumeWanted { name, driver, options, labels };
                    let found = engine.volumes.obtain(&engine.events, &wanted, Some(id))?;
                    if found.created {
                        let (name, holder) = (found.name.clone(), id.to_owned());
                        undo.push("volume", move || {
                            let users = || self.used_volumes().remove(&name).unwrap_or_default();
                            engine.volumes.discard(&engine.events, &name, Some(&holder), &users)
                        });
                    }
                    MountKind::Volume {
                        name: found.name,
                        driver: found.driver,
                        source: found.path,
                        subpath,
                        anonymous,
                        copy,
                    }
                }
            };
            all.push(Mounted { kind, destination, read_only, propagation, mode, recursive, read_only_depth });
        }
        Ok(all)
    }
}

/// Makes everything durable that the container's record will name: a record without its writable layer is what a removal
/// that was broken off leaves, and without a view of an image it would not start any more.
fn sync(engine: &EngineInner, record: &Record) -> Result<()> {
    for key in record.snapshot.as_deref().into_iter().chain(record.image_views()) {
        SnapshotKey::new(key)
            .and_then(|key| engine.store.snapshots().sync(&key))
            .map_err(|error| EngineError::because("making the writable layer durable", error))?;
    }
    Ok(file::sync_dir(engine.settings.paths.containers())?)
}

fn check_rootfs(folder: &str) -> Result<()> {
    let path = Path::new(folder);
    if !path.is_absolute() {
        return Err(EngineError::invalid(format!("the root folder `{folder}` is not an absolute path")));
    }
    if !path.is_dir() {
        return Err(EngineError::invalid(format!(
            "the root folder `{folder}` does not exist or is not a folder"
        )));
    }
    Ok(())
}
