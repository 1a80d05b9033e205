//! Removing a container. The owner does it; a running one is ended before, when asked by force.

use crate::Engine;
use crate::container::handle::{Purpose, Request};
use crate::container::state::Phase;
use crate::container::stop::{StopOptions, stop_handle};
use crate::error::{EngineError, Result};
use corten_std::ErrorClass;

/// How a container is removed.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoveOptions {
    /// Also where it runs: it is killed.
    pub force: bool,
    /// With its anonymous volumes.
    pub volumes: bool,
    /// Only the link of that name, `PARENT/ALIAS`.
    pub link: bool,
}

impl Engine {
    /// Removes a container. On failures on the way the removal goes on, and all of them are told.
    pub async fn remove(&self, reference: &str, options: RemoveOptions) -> Result<()> {
        if options.link {
            return self.remove_link(reference).await;
        }
        let handle = self.find(reference)?;
        let view = handle.view();
        let refuse = |why: &str| {
            Err(EngineError::conflict(format!("cannot remove container \"{reference}\": container is {why}")))
        };
        match view.life.phase {
            Phase::Removing => {
                return Err(EngineError::conflict(format!(
                    "removal of container {reference} is already in progress"
                )));
            }
            Phase::Removed => return Err(EngineError::no_such_container(reference)),
            phase if !phase.is_running() => {}
            _ if options.force => {
                let kill = StopOptions { timeout: Some(0), signal: Some("KILL".to_owned()) };
                stop_handle(&handle, &kill, Purpose::Stop).await?;
            }
            Phase::Paused => return refuse("paused and must be unpaused first"),
            Phase::Restarting => {
                return refuse("restarting: stop the container before removing or force remove");
            }
            _ => return refuse("running: stop the container before removing or force remove"),
        }
        match handle.ask(|reply| Request::Remove { options, reply }).await {
            // A `--rm` container that was killed just now goes by itself.
            Err(error) if options.force && error.class() == ErrorClass::NotFound => Ok(()),
            done => done,
        }
    }
}
