//! Freezing a container, and letting it go on.

use crate::Engine;
use crate::container::handle::Request;
use crate::container::owner::Owner;
use crate::container::state::Phase;
use crate::engine::EngineInner;
use crate::error::{EngineError, Result};
use crate::volume::blocking;
use corten_std::file::{self, Durability};
use std::path::PathBuf;
use std::sync::Arc;

impl Engine {
    /// Freezes every process of the container.
    pub async fn pause(&self, reference: &str) -> Result<()> {
        let handle = self.find(reference)?;
        handle.ask(|reply| Request::Freeze { freeze: true, reply }).await
    }

    /// Lets them go on.
    pub async fn unpause(&self, reference: &str) -> Result<()> {
        let handle = self.find(reference)?;
        handle.ask(|reply| Request::Freeze { freeze: false, reply }).await
    }

    /// As [`Self::pause`], for as long as this daemon works on the container: the next one lets it go on. What is returned
    /// is for [`Self::unpause_after_work`].
    pub(crate) async fn pause_for_work(&self, id: &str) -> Result<Mark> {
        let folder = self.inner.settings.paths.running_container(id);
        // Its own name: who comes second, and is refused, does not remove the mark of the first.
        let mark =
            Mark(folder.join(format!("{MARK}{}", corten_std::id::short(&corten_std::id::random_id()))));
        file::write_atomic(&mark.0, b"", Durability::Kernel)?;
        self.pause(id).await.map(|()| mark)
    }

    /// The end of [`Self::pause_for_work`].
    pub(crate) async fn unpause_after_work(&self, id: &str, mark: Mark) -> Result<()> {
        let unpaused = self.unpause(id).await;
        drop(mark);
        unpaused
    }
}

/// How the names of [`Mark`]s begin.
const MARK: &str = "frozen-for-work-";

/// A file beside the container's socket while a daemon has frozen it for its own work. Dropping it removes it.
pub(crate) struct Mark(PathBuf);

impl Drop for Mark {
    fn drop(&mut self) {
        if let Err(error) = file::remove_file(&self.0) {
            tracing::warn!(%error, "a mark could not be removed");
        }
    }
}

fn marks(engine: &EngineInner, id: &str) -> Result<Vec<Mark>> {
    let folder = engine.settings.paths.running_container(id);
    let names = file::list(&folder)?.into_iter();
    let names = names.filter(|name| name.to_str().is_some_and(|name| name.starts_with(MARK)));
    Ok(names.map(|name| Mark(folder.join(name))).collect())
}

impl Owner {
    /// Brings a running container and what is known of it together, where the daemon before died while it froze or thawed it:
    /// what it froze for its own work goes on, and so does what nobody was told is paused.
    pub(super) async fn mend_freeze(&mut self) {
        let (engine, id) = (Arc::clone(&self.engine.inner), self.record.id.clone());
        let paused = self.life.phase == Phase::Paused;
        let mended = blocking(move || {
            let failed = |error| EngineError::because("letting the container go on", error);
            let marks = marks(&engine, &id)?;
            let for_work = !marks.is_empty();
            let cgroup = engine.cgroups.open(&id).map_err(failed)?;
            let frozen = cgroup.is_frozen();
            if frozen && (for_work || !paused) {
                cgroup.thaw().map_err(failed)?;
            }
            drop(marks);
            Ok(frozen && !for_work)
        })
        .await;
        match mended {
            Ok(still) if paused && !still => {
                self.life.phase = Phase::Running;
                self.tell("unpause", []);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(container = self.record.id, %error, "a container may stand still"),
        }
    }
}
