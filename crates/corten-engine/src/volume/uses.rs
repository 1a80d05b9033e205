//! Who uses which volume beyond what is recorded: creates in progress, and users of mounts.
//!
//! A *claim* keeps a volume from being removed between the moment it was obtained and the moment its container is known.
//! A *use* keeps a volume's mount in place: the first one mounts, after the last one it is unmounted. Users are
//! containers by their id, and operations by a name of their own; both kinds go with the daemon, and what runs is
//! told again when the next one finds it.

use super::options::MountOptions;
use super::resolve;
use super::{VolumeRecord, Volumes};
use crate::error::{EngineError, Result};
use corten_sys::classic_mount;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// By volume, who.
type Holders = HashMap<String, HashSet<String>>;

#[derive(Debug, Default)]
pub(super) struct Uses {
    /// Changed under the lock of the volumes' map.
    pub(super) claims: Mutex<Holders>,
    /// One lock per volume with a mount: a server that does not answer holds up nobody else.
    mounts: Mutex<HashMap<String, Arc<Mutex<HashSet<String>>>>>,
    /// Held while a volume is filled from an image.
    fills: Mutex<HashMap<String, Weak<Mutex<()>>>>,
}

/// Holds a claim, and gives it back.
pub(crate) struct Claims<'a> {
    volumes: &'a Volumes,
    holder: String,
}

impl Drop for Claims<'_> {
    fn drop(&mut self) {
        let mut claims = self.volumes.uses.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.retain(|_, holders| {
            holders.remove(&self.holder);
            !holders.is_empty()
        });
    }
}

/// A use that ends when it is dropped.
pub(crate) struct Use<'a> {
    volumes: &'a Volumes,
    name: String,
    user: String,
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.volumes.end_use(&self.name, &self.user) {
            tracing::warn!(%error, volume = self.name, "cannot unmount a volume");
        }
    }
}

/// Where a volume's content comes from, where it is not the folder itself.
pub(super) enum Content {
    /// A mount that its options describe.
    Options(MountOptions),
    /// The plugin of that name has it.
    Plugin(String),
}

impl Content {
    pub(super) fn of(record: &VolumeRecord) -> Option<Self> {
        if record.driver == "local" {
            return MountOptions::of(record.options.as_ref()).map(Self::Options);
        }
        Some(Self::Plugin(record.driver.clone()))
    }
}

impl Volumes {
    /// From here on what `holder` obtains is claimed, until the value is dropped.
    pub(crate) fn claims(&self, holder: &str) -> Claims<'_> {
        Claims { volumes: self, holder: holder.to_owned() }
    }

    pub(super) fn claim(&self, name: &str, holder: &str) {
        let mut claims = self.uses.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.entry(name.to_owned()).or_default().insert(holder.to_owned());
    }

    /// Whether anybody but `except` has a claim.
    pub(super) fn is_claimed(&self, name: &str, except: Option<&str>) -> bool {
        let claims = self.uses.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.get(name).is_some_and(|holders| holders.iter().any(|holder| Some(holder.as_str()) != except))
    }

    /// The lock of whoever fills a volume: two containers that are made at once must not both find it empty.
    pub(crate) fn fill_lock(&self, name: &str) -> Arc<Mutex<()>> {
        let mut fills = self.uses.fills.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = fills.get(name).and_then(Weak::upgrade) {
            return lock;
        }
        fills.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(Mutex::new(()));
        fills.insert(name.to_owned(), Arc::downgrade(&lock));
        lock
    }

    /// Whether a volume is a plain folder of ours, and not a mount that comes from somewhere.
    pub(crate) fn is_folder(&self, name: &str) -> bool {
        self.content(name).is_none()
    }

    /// Has the volume's content in place for `user`, until [`Self::end_use`]. A volume that is a plain folder, or that is
    /// not known, always is. Blocking, and as slow as a server that it comes from.
    pub(crate) fn begin_use(&self, name: &str, user: &str) -> Result<()> {
        let Some(content) = self.content(name) else { return Ok(()) };
        let entry = {
            let mut mounts = self.uses.mounts.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(mounts.entry(name.to_owned()).or_default())
        };
        let mut users = entry.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.paths.volume_data(name);
        // An earlier daemon's mount may be there still.
        if !is_mounted(&path)? {
            self.put_in_place(name, &content, &path).map_err(|error| {
                let class = error.class();
                EngineError::because(&format!("error while mounting volume '{}'", path.display()), error)
                    .with_class(class)
            })?;
        }
        users.insert(user.to_owned());
        Ok(())
    }

    fn put_in_place(&self, name: &str, content: &Content, path: &Path) -> Result<()> {
        let driver = match content {
            Content::Options(options) => return options.mount(path, &resolve::address_of),
            Content::Plugin(driver) => driver,
        };
        let Some(plugin) = self.plugin(driver) else { return Ok(()) };
        let source = plugin.mount(name)?;
        MountOptions::bind(&source).mount(path, &resolve::address_of).inspect_err(|_| {
            if let Err(error) = plugin.unmount(name) {
                tracing::warn!(%error, volume = name, "a plugin cannot take its volume back");
            }
        })
    }

    /// As [`Self::begin_use`], for as long as the value lives.
    pub(crate) fn use_for<'a>(&'a self, name: &str, user: &str) -> Result<Use<'a>> {
        self.begin_use(name, user)?;
        Ok(Use { volumes: self, name: name.to_owned(), user: user.to_owned() })
    }

    /// A container that was found running has its volume in use, mounted as it is.
    pub(crate) fn found_in_use(&self, name: &str, user: &str) {
        if self.content(name).is_none() {
            return;
        }
        let mut mounts = self.uses.mounts.lock().unwrap_or_else(PoisonError::into_inner);
        let users = mounts.entry(name.to_owned()).or_default();
        users.lock().unwrap_or_else(PoisonError::into_inner).insert(user.to_owned());
    }

    /// Ends a use; after the last one the volume is unmounted. One that never began is fine.
    pub(crate) fn end_use(&self, name: &str, user: &str) -> Result<()> {
        let entry = {
            let mounts = self.uses.mounts.lock().unwrap_or_else(PoisonError::into_inner);
            mounts.get(name).cloned()
        };
        let Some(entry) = entry else { return Ok(()) };
        // Asked before the users' lock is taken: a removal takes the two the other way round.
        let content = self.content(name);
        let mut users = entry.lock().unwrap_or_else(PoisonError::into_inner);
        users.remove(user);
        if users.is_empty() { self.unmount(name, content) } else { Ok(()) }
    }

    /// Unmounts what nobody uses although it is mounted: left by a daemon that died. To be called once all containers are
    /// found.
    pub(crate) fn unmount_unused(&self) {
        for record in self.all() {
            let Some(content) = Content::of(&record) else { continue };
            if let Err(error) = self.end_use_of_nobody(&record.name, Some(content)) {
                tracing::warn!(%error, volume = record.name, "cannot unmount a volume");
            }
        }
    }

    pub(super) fn end_use_of_nobody(&self, name: &str, content: Option<Content>) -> Result<()> {
        let entry = {
            let mut mounts = self.uses.mounts.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(mounts.entry(name.to_owned()).or_default())
        };
        let users = entry.lock().unwrap_or_else(PoisonError::into_inner);
        if !users.is_empty() {
            return Err(EngineError::conflict(format!("remove {name}: volume has active mounts")));
        }
        self.unmount(name, content)
    }

    pub(super) fn forget_uses(&self, name: &str) {
        self.uses.mounts.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn content(&self, name: &str) -> Option<Content> {
        Content::of(self.lock().get(name)?)
    }

    fn unmount(&self, name: &str, content: Option<Content>) -> Result<()> {
        let path = self.paths.volume_data(name);
        if !is_mounted(&path)? {
            return Ok(());
        }
        classic_mount::unmount(&path).map_err(|error| {
            EngineError::from_error(&format!("unmounting volume '{}'", path.display()), error)
        })?;
        match content {
            Some(Content::Plugin(driver)) => {
                self.plugin(&driver).map_or(Ok(()), |plugin| plugin.unmount(name))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn is_mounted(path: &Path) -> Result<bool> {
    classic_mount::is_mount_point(path)
        .map_err(|error| EngineError::from_error(&format!("looking at volume '{}'", path.display()), error))
}
