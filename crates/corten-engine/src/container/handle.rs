//! What everybody but the owner holds of a container: a way to send requests, and the published value.

use crate::container::attach::ClientSocket;
use crate::container::record::Record;
use crate::container::state::{Lifecycle, Phase};
use crate::container::{Outcome, RemoveOptions};
use crate::error::{EngineError, Result};
use crate::network::NetworkFound;
use corten_api::container::{Health, HostConfig, PortMap};
use corten_api::network::EndpointSettings;
use corten_shim::client::Shim;
use corten_shim::protocol::AttachRequest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// What the owner published last.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) record: Arc<Record>,
    pub(crate) life: Lifecycle,
    /// Only while it runs.
    pub(crate) network: Option<Arc<NetworkView>>,
    /// How its health check stands, where it has one.
    pub(crate) health: Option<Arc<Health>>,
}

/// How a running container is connected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct NetworkView {
    /// The sandbox's id; 64 hexadecimal digits.
    pub(crate) sandbox_id: String,
    /// The file that pins its namespace.
    pub(crate) sandbox_key: String,
    /// Endpoints by network name, with their addresses.
    pub(crate) endpoints: BTreeMap<String, EndpointSettings>,
    /// Published ports, as inspect shows them.
    pub(crate) ports: PortMap,
}

/// What an owner can be asked. Each is short: who stops a container sends two signals and watches in between.
pub(crate) enum Request {
    /// Start its program.
    Start { reply: Reply<Outcome> },
    /// Send a signal to its first process.
    Signal { signal: i32, purpose: Purpose, reply: Reply<()> },
    /// Freeze or thaw it.
    Freeze { freeze: bool, reply: Reply<()> },
    /// Remove it; it must not run.
    Remove { options: RemoveOptions, reply: Reply<()> },
    /// Take another name, which the sender has reserved.
    Rename { name: String, reply: Reply<()> },
    /// Forget a link.
    Unlink { alias: String, reply: Reply<()> },
    /// Change limits and the restart policy.
    Update { changes: Box<HostConfig>, reply: Reply<Vec<String>> },
    /// Join a further network.
    Connect { network: NetworkFound, settings: Box<EndpointSettings>, reply: Reply<()> },
    /// Leave a network, by its name.
    Disconnect { network: String, reply: Reply<()> },
    /// Join a client to its streams, now or at the next start.
    Attach { request: AttachRequest, socket: ClientSocket, reply: Reply<()> },
    /// Give the connection to its shim, for what needs no order: exec, resize.
    Shim { reply: Reply<Shim> },
    /// Take over what a health check found.
    Health { health: Arc<Health> },
}

/// What a signal is meant to do; decides whether the restart policy and `--rm` act on the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Tell the program something.
    Tell,
    /// End it for good.
    Stop,
    /// End it to start it again: `--rm` does not act.
    Restart,
}

/// Where the answer goes; a sender that went away does not matter.
pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// One container, as everybody but its owner sees it.
#[derive(Debug)]
pub(crate) struct Handle {
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    requests: mpsc::UnboundedSender<Request>,
    view: watch::Receiver<Arc<View>>,
}

impl Handle {
    pub(super) fn new(
        id: String,
        requests: mpsc::UnboundedSender<Request>,
        view: watch::Receiver<Arc<View>>,
    ) -> Self {
        Self { id, requests, view }
    }

    /// The published value of this moment.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// A subscription; what is published from now on wakes it.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<View>> {
        let mut receiver = self.view.clone();
        receiver.borrow_and_update();
        receiver
    }

    /// Whether it is gone or going.
    pub(crate) fn is_gone(&self) -> bool {
        self.view.borrow().life.phase == Phase::Removed
    }

    /// Sends a request that has no answer; nothing happens where the container is gone.
    pub(crate) fn send(&self, request: Request) {
        let _ = self.requests.send(request);
    }

    /// Sends a request and waits for the answer. The work goes on where the caller gives up waiting.
    pub(crate) async fn ask<T>(&self, make: impl FnOnce(Reply<T>) -> Request) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(make(reply)).is_err() {
            return Err(EngineError::no_such_container(&self.id));
        }
        answer.await.unwrap_or_else(|_| Err(EngineError::no_such_container(&self.id)))
    }
}

impl View {
    /// `State.Running` and its like in one word.
    pub(crate) fn phase(&self) -> Phase {
        self.life.phase
    }

    /// `none` without a health check.
    pub(crate) fn health_status(&self) -> &str {
        self.health.as_ref().map_or("none", |health| &health.status)
    }
}
