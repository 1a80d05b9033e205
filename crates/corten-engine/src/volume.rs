//! Volumes: folders that outlive containers, by name; anonymous ones have a random id for a name.
//!
//! A volume is a row in the database and `DATA_ROOT/volumes/NAME/_data`. The folder is made before the row; after the
//! row was removed the folder gets a name that says so, and goes. So a row never lacks its folder, and a folder without
//! a row is either empty, or one that somebody put there, or what a lost database leaves behind. People's data are
//! never swept: such a folder becomes a volume when the engine opens.
//!
//! A volume with options is a mount (`options`), which stands at its folder while somebody uses it (`uses`).

mod operations;
mod options;
mod resolve;
mod uses;

use crate::error::{EngineError, Result};
use crate::event::Events;
use crate::plugin::{NoPlugins, PluginCaller, VolumeDriver};
use corten_api::volume::Volume;
use corten_std::{Paths, Timestamp, file, id};
use corten_store::Store;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The label that marks a volume nobody named (Docker's `AnonymousLabel`).
const ANONYMOUS_LABEL: &str = "com.docker.volume.anonymous";

/// The database's table.
const TABLE: &str = "volumes";

/// How the names of folders begin that are being removed; no volume's name begins so.
const REMOVED: &str = ".removed-";

/// Which volume a container wants at create.
#[derive(Debug, Clone, Default)]
pub(crate) struct VolumeWanted {
    /// Its name; none: a new anonymous volume with a random id as its name.
    pub(crate) name: Option<String>,
    /// `local`, a plugin's name, or empty: whatever driver a volume of that name has.
    pub(crate) driver: String,
    /// Options of the driver.
    pub(crate) options: BTreeMap<String, String>,
    /// Labels for a new volume.
    pub(crate) labels: BTreeMap<String, String>,
}

/// A volume that is there.
#[derive(Debug, Clone)]
pub(crate) struct VolumeFound {
    /// Its name.
    pub(crate) name: String,
    /// `local`, or a plugin's name.
    pub(crate) driver: String,
    /// The folder with its content.
    pub(crate) path: PathBuf,
    /// Whether this call made it (so that a failing create removes it again).
    pub(crate) created: bool,
}

/// What is saved of a volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct VolumeRecord {
    name: String,
    /// `local`, or a plugin's name.
    #[serde(default = "local")]
    driver: String,
    /// `local` or `global`, as the driver said when it was made.
    #[serde(default = "local")]
    scope: String,
    created: Timestamp,
    labels: Option<BTreeMap<String, String>>,
    options: Option<BTreeMap<String, String>>,
}

fn local() -> String {
    "local".to_owned()
}

/// The volumes. The map is the truth while the engine is open; its lock is held over the making and removing of a
/// folder and row, which keeps two clients from making the same one.
pub(crate) struct Volumes {
    paths: Paths,
    store: Store,
    map: Mutex<BTreeMap<String, VolumeRecord>>,
    uses: uses::Uses,
    plugins: Arc<dyn PluginCaller>,
}

impl Volumes {
    /// With plugins.
    pub(crate) fn with_plugins(mut self, plugins: Arc<dyn PluginCaller>) -> Self {
        self.plugins = plugins;
        self
    }

    /// The plugin of that driver; none of `local`.
    fn plugin<'a>(&'a self, driver: &'a str) -> Option<VolumeDriver<'a>> {
        (driver != "local").then(|| VolumeDriver { caller: &*self.plugins, name: driver })
    }

    /// Reads the rows, and decides about folders without one; see the module.
    pub(crate) fn open(paths: &Paths, store: &Store) -> Result<Self> {
        let rows = store
            .records::<VolumeRecord>(TABLE)
            .list()
            .map_err(|error| EngineError::because("reading the volumes", error))?;
        let mut map: BTreeMap<String, VolumeRecord> = rows.into_iter().collect();
        for name in map.keys() {
            // A row is durable at once, its folder with the first file in it that is synced.
            file::create_dir_all(paths.volume_data(name))?;
        }
        for folder in file::list(paths.volumes())? {
            let path = paths.volumes().join(&folder);
            let Some(name) = folder.to_str().filter(|name| !map.contains_key(*name)) else { continue };
            if name.starts_with(REMOVED) {
                // What is mounted somewhere else is not ours to remove.
                if !uses::is_mounted(&path.join("_data"))? {
                    file::remove_tree(path)?;
                }
                continue;
            }
            let data = paths.volume_data(name);
            if check_name(name).is_err() || !data.is_dir() || std::fs::remove_dir(&data).is_ok() {
                // Neither a volume nor anything in it: gone where it is empty, else not ours to touch.
                let _ = std::fs::remove_dir(&path);
                continue;
            }
            tracing::warn!(volume = name, "a folder with files and without a row is made a volume again");
            let record = VolumeRecord {
                name: name.to_owned(),
                driver: local(),
                scope: local(),
                created: Timestamp::now(),
                labels: None,
                options: None,
            };
            store
                .records(TABLE)
                .put(name, &record)
                .map_err(|error| EngineError::because("saving the volume", error))?;
            map.insert(name.to_owned(), record);
        }
        Ok(Self {
            paths: paths.clone(),
            store: store.clone(),
            map: Mutex::new(map),
            uses: uses::Uses::default(),
            plugins: Arc::new(NoPlugins),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, VolumeRecord>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds or makes a volume; publishes `volume create` where it is new. With a `holder` it is claimed: nobody removes it
    /// before the holder's [`uses::Claims`] are dropped. Blocking.
    pub(crate) fn obtain(
        &self,
        events: &Events,
        wanted: &VolumeWanted,
        holder: Option<&str>,
    ) -> Result<VolumeFound> {
        let name = wanted.name.clone().unwrap_or_default();
        let anonymous = name.is_empty();
        let name = if anonymous { id::random_id() } else { name };
        check_name(&name)?;
        let driver = if wanted.driver.is_empty() { local() } else { wanted.driver.clone() };
        let plugin = self.plugin(&driver);
        let mut scope = local();
        let known = self.lock().contains_key(&name);
        match &plugin {
            None => options::check(&name, &wanted.options)?,
            // Outside the lock, as slow as the plugin is: making what is there already is no error to it.
            Some(plugin) if !known => {
                let created = plugin.create(&name, &wanted.options);
                created.map_err(|error| EngineError::because(&format!("create {name}"), error))?;
                scope = plugin.scope();
            }
            Some(_) => {}
        }
        let path = self.paths.volume_data(&name);
        let found = |driver: &str, created| VolumeFound {
            name: name.clone(),
            driver: driver.to_owned(),
            path: path.clone(),
            created,
        };
        let mut map = self.lock();
        if let Some(there) = map.get(&name) {
            if !wanted.driver.is_empty() && there.driver != driver {
                return Err(EngineError::conflict(format!(
                    "create {name}: conflict: volume name must be unique"
                )));
            }
            if let Some(holder) = holder {
                self.claim(&name, holder);
            }
            return Ok(found(&there.driver, false));
        }
        if let Some(holder) = holder {
            self.claim(&name, holder);
        }
        let mut labels = wanted.labels.clone();
        if anonymous {
            labels.insert(ANONYMOUS_LABEL.to_owned(), String::new());
        }
        let record = VolumeRecord {
            name: name.clone(),
            driver: driver.clone(),
            scope,
            created: Timestamp::now(),
            labels: (!labels.is_empty()).then_some(labels),
            options: (!wanted.options.is_empty()).then(|| wanted.options.clone()),
        };
        let saved = file::create_dir_all(&path).map_err(EngineError::from).and_then(|()| {
            let put = self.store.records(TABLE).put(&name, &record);
            put.map_err(|error| EngineError::because("saving the volume", error))
        });
        if let Err(error) = saved {
            // The first error is the one to tell; an empty folder is swept at the next start.
            let _ = file::remove_tree(self.paths.volumes().join(&name));
            return Err(error);
        }
        map.insert(name.clone(), record);
        drop(map);
        events.publish("volume", "create", &name, driver_attribute(&driver));
        Ok(found(&driver, true))
    }

    /// Removes a volume, unless it is used: `users` tells which containers have it, and is asked when nobody can obtain it
    /// any more; nor is one removed that somebody else than `holder` has claimed. A missing one is fine. Blocking.
    pub(crate) fn discard(
        &self,
        events: &Events,
        name: &str,
        holder: Option<&str>,
        users: &dyn Fn() -> Vec<String>,
    ) -> Result<()> {
        let mut map = self.lock();
        let Some(record) = map.get(name) else { return Ok(()) };
        let mounts = uses::Content::of(record).is_some();
        let driver = record.driver.clone();
        let users = users();
        if !users.is_empty() || self.is_claimed(name, holder) {
            return Err(EngineError::conflict(format!(
                "remove {name}: volume is in use - [{}]",
                users.join(", ")
            ))
            .with_hint("remove the containers first"));
        }
        if mounts {
            self.end_use_of_nobody(name, uses::Content::of(record))?;
            self.forget_uses(name);
        }
        if let Some(plugin) = self.plugin(&driver) {
            plugin.remove(name).map_err(|error| EngineError::because(&format!("remove {name}"), error))?;
        }
        self.store
            .records::<VolumeRecord>(TABLE)
            .delete(name)
            .map_err(|error| EngineError::because("removing the volume", error))?;
        map.remove(name);
        // From here on nobody takes it for a volume; what cannot be removed now is swept at the next start.
        let going = self.paths.volumes().join(format!("{REMOVED}{}", id::random_id()));
        let renamed = file::rename(self.paths.volumes().join(name), &going);
        drop(map);
        let removed = match renamed {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            // Durably: a folder with files and without a row is made a volume again.
            renamed => renamed
                .and_then(|()| file::sync_dir(self.paths.volumes()))
                .and_then(|()| file::remove_tree(&going)),
        };
        events.publish("volume", "destroy", name, driver_attribute(&driver));
        removed.map_err(EngineError::from)
    }

    fn get(&self, name: &str) -> Result<VolumeRecord> {
        self.lock()
            .get(name)
            .cloned()
            .ok_or_else(|| EngineError::not_found(format!("get {name}: no such volume")))
    }

    fn all(&self) -> Vec<VolumeRecord> {
        self.lock().values().cloned().collect()
    }

    /// All volumes as the API shows them, by name.
    pub(crate) fn documents(&self) -> Vec<Volume> {
        self.all().iter().map(|record| self.document(record)).collect()
    }

    /// Asks the plugin, where there is one. Blocking.
    fn document(&self, record: &VolumeRecord) -> Volume {
        let mut volume = Volume {
            created_at: without_fraction(record.created),
            driver: record.driver.clone(),
            labels: record.labels.clone(),
            mountpoint: self.paths.volume_data(&record.name).display().to_string(),
            name: record.name.clone(),
            options: record.options.clone(),
            scope: record.scope.clone(),
            ..Volume::default()
        };
        if let Some(plugin) = self.plugin(&record.driver) {
            match plugin.get(&record.name) {
                Ok(told) => {
                    told["Mountpoint"].as_str().unwrap_or_default().clone_into(&mut volume.mountpoint);
                    volume.status = serde_json::from_value(told["Status"].clone()).ok();
                }
                Err(error) => {
                    tracing::warn!(volume = record.name, %error, "a plugin tells nothing of its volume");
                }
            }
        }
        volume
    }

    /// Drivers that volumes have.
    pub(crate) fn drivers(&self) -> Vec<String> {
        let mut drivers: std::collections::BTreeSet<String> =
            self.lock().values().map(|record| record.driver.clone()).collect();
        drivers.insert(local());
        drivers.into_iter().collect()
    }
}

/// Runs something that waits for the disk where waiting is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(EngineError::from_error("the operation ended early", error)),
    }
}

/// Bytes of the files below a folder, each inode once; what cannot be read counts nothing.
pub(crate) fn tree_size(folder: &std::path::Path) -> u64 {
    let mut size = 0;
    corten_std::file::each_inode(folder, |inode| size += if inode.is_folder { 0 } else { inode.length });
    size
}

/// RFC 3339 in whole seconds, as volumes tell their age.
fn without_fraction(time: Timestamp) -> String {
    Timestamp::from_unix(time.unix_seconds(), 0).to_string()
}

fn driver_attribute(driver: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("driver".to_owned(), driver.to_owned())])
}

/// Docker's rule for the names of local volumes.
fn check_name(name: &str) -> Result<()> {
    if name.len() == 1 {
        return Err(EngineError::invalid(format!(
            "create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )));
    }
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if first
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
        && name.len() <= 255
    {
        return Ok(());
    }
    Err(EngineError::invalid(format!(
        "create {name}: \"{name}\" includes invalid characters for a local volume name, only \
         \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_std::ErrorClass;
    use corten_store::StoreOptions;

    #[test]
    fn what_is_in_a_folder_without_a_row_is_never_lost() {
        let scratch = corten_testing::Scratch::new("lost-volumes");
        let paths = Paths::new(scratch.path().join("data"), scratch.path().join("run"));
        let store = Store::open(&paths, StoreOptions::default()).unwrap();
        let removed = paths.volumes().join(format!("{REMOVED}1"));
        for folder in [&paths.volume_data("kept"), &paths.volume_data("empty"), &removed] {
            std::fs::create_dir_all(folder).unwrap();
        }
        std::fs::write(paths.volume_data("kept").join("file"), "precious").unwrap();
        std::fs::write(removed.join("file"), "").unwrap();
        let volumes = Volumes::open(&paths, &store).unwrap();
        let names =
            |volumes: &Volumes| volumes.all().into_iter().map(|volume| volume.name).collect::<Vec<_>>();
        assert_eq!(names(&volumes), ["kept"]);
        assert_eq!(file::list(paths.volumes()).unwrap(), ["kept"]);
        assert_eq!(std::fs::read(paths.volume_data("kept").join("file")).unwrap(), b"precious");
        assert_eq!(names(&Volumes::open(&paths, &store).unwrap()), ["kept"]);
        volumes.discard(&Events::default(), "kept", None, &Vec::new).unwrap();
        assert!(file::list(paths.volumes()).unwrap().is_empty());
        assert!(names(&Volumes::open(&paths, &store).unwrap()).is_empty());
    }

    #[test]
    fn what_is_claimed_or_used_is_not_removed() {
        let scratch = corten_testing::Scratch::new("claimed-volumes");
        let paths = Paths::new(scratch.path().join("data"), scratch.path().join("run"));
        let store = Store::open(&paths, StoreOptions::default()).unwrap();
        let volumes = Volumes::open(&paths, &store).unwrap();
        let events = Events::default();
        let wanted = VolumeWanted { name: Some("v1".to_owned()), ..VolumeWanted::default() };
        let claims = volumes.claims("a");
        assert!(volumes.obtain(&events, &wanted, Some("a")).unwrap().created);
        let discard = |holder, users: &dyn Fn() -> Vec<String>| volumes.discard(&events, "v1", holder, users);
        assert_eq!(discard(None, &Vec::new).unwrap_err().class(), ErrorClass::Conflict);
        assert_eq!(discard(Some("b"), &Vec::new).unwrap_err().class(), ErrorClass::Conflict);
        drop(claims);
        let text = discard(None, &|| vec!["c".to_owned()]).unwrap_err().to_string();
        assert_eq!(text, "remove v1: volume is in use - [c]");
        discard(None, &Vec::new).unwrap();
        assert!(volumes.all().is_empty());
    }

    #[test]
    fn one_at_a_time_fills_a_volume() {
        let scratch = corten_testing::Scratch::new("filled-volumes");
        let paths = Paths::new(scratch.path().join("data"), scratch.path().join("run"));
        let store = Store::open(&paths, StoreOptions::default()).unwrap();
        let volumes = Volumes::open(&paths, &store).unwrap();
        let (lock, same, other) = (volumes.fill_lock("a"), volumes.fill_lock("a"), volumes.fill_lock("b"));
        let held = lock.lock().unwrap();
        assert!(same.try_lock().is_err());
        assert!(other.try_lock().is_ok());
        drop(held);
        assert!(same.try_lock().is_ok());
    }

    #[test]
    fn a_volume_with_options_is_mounted_while_it_is_used() {
        if !corten_testing::need_root() {
            return;
        }
        let scratch = corten_testing::Scratch::new("mounted-volumes");
        let paths = Paths::new(scratch.path().join("data"), scratch.path().join("run"));
        let store = Store::open(&paths, StoreOptions::default()).unwrap();
        let volumes = Volumes::open(&paths, &store).unwrap();
        let events = Events::default();
        let obtain = |name: &str, kind: &str, device: &str, options: &str| {
            let options = [("type", kind), ("device", device), ("o", options)];
            let wanted = VolumeWanted {
                name: Some(name.to_owned()),
                options: options.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
                ..VolumeWanted::default()
            };
            volumes.obtain(&events, &wanted, None).unwrap().path
        };
        let mounts = |path: &std::path::Path| {
            let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            text.lines().filter(|line| line.contains(&path.display().to_string())).count()
        };
        let path = obtain("fast", "tmpfs", "tmpfs", "size=1m,uid=9");
        assert_eq!(mounts(&path), 0);
        volumes.begin_use("fast", "a").unwrap();
        let second = volumes.use_for("fast", "b").unwrap();
        assert_eq!(mounts(&path), 1);
        std::fs::write(path.join("file"), "x").unwrap();
        let refused = volumes.discard(&events, "fast", None, &Vec::new).unwrap_err();
        assert_eq!(refused.to_string(), "remove fast: volume has active mounts");
        volumes.end_use("fast", "a").unwrap();
        assert_eq!(mounts(&path), 1);
        // Another daemon finds the mount; with nobody in it, it goes.
        let next = Volumes { uses: uses::Uses::default(), ..Volumes::open(&paths, &store).unwrap() };
        next.found_in_use("fast", "b");
        next.unmount_unused();
        assert_eq!(mounts(&path), 1);
        drop(second);
        assert_eq!(mounts(&path), 0);
        volumes.discard(&events, "fast", None, &Vec::new).unwrap();

        // What is bound is never removed with the volume.
        let bound = scratch.path().join("precious");
        std::fs::create_dir(&bound).unwrap();
        std::fs::write(bound.join("file"), "x").unwrap();
        let path = obtain("bound", "none", bound.to_str().unwrap(), "bind,ro");
        volumes.begin_use("bound", "a").unwrap();
        assert!(std::fs::write(path.join("other"), "").is_err());
        volumes.end_use("bound", "a").unwrap();
        classic_mount_by_hand(&bound, &path);
        volumes.discard(&events, "bound", None, &Vec::new).unwrap();
        assert!(bound.join("file").exists());

        let path = obtain("bad", "nonsense", "/nothing", "x=1");
        let text = volumes.begin_use("bad", "a").unwrap_err().to_string();
        let place = path.display();
        assert_eq!(
            text,
            format!(
                "error while mounting volume '{place}': failed to mount local volume: mount \
                 /nothing:{place}, data: x=1: no such device"
            )
        );
    }

    fn classic_mount_by_hand(device: &std::path::Path, target: &std::path::Path) {
        let options = corten_sys::classic_mount::ClassicOptions::parse("bind");
        corten_sys::classic_mount::mount(device.to_str().unwrap(), target, "", &options).unwrap();
    }

    #[test]
    fn names_follow_dockers_rule() {
        for good in ["ab", "data-1", "a.b_c", &"a".repeat(255)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["a", "", ".ab", "a/b", "a b", "../x", &"a".repeat(256)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn foreign_drivers_are_refused() {}
}
