//! Containers.

use crate::client::{Payload, Query, Reply, segment};
use crate::stream::Raw;
use crate::{Client, ClientError, Filters, Object};
use corten_api::container::{
    CreateRequest, CreateResponse, PruneReport, Summary, TopResponse, UpdateRequest, UpdateResponse,
    WaitResponse,
};
use serde_json::Value;
use std::os::fd::{AsFd, BorrowedFd};

/// Which containers a list has.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Also those that do not run.
    pub all: bool,
    /// At most so many, newest first, whatever their state; none: no limit.
    pub limit: Option<i64>,
    /// Also sizes, which take time.
    pub size: bool,
    /// Which ones.
    pub filters: Filters,
}

/// What a removal takes along.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// Kill a running one.
    pub force: bool,
    /// Anonymous volumes too.
    pub volumes: bool,
    /// Only the named link.
    pub link: bool,
}

/// What is attached.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// Input.
    pub stdin: bool,
    /// Output.
    pub stdout: bool,
    /// Error output.
    pub stderr: bool,
    /// What was written before, too.
    pub logs: bool,
    /// Keys that detach; none: the daemon's default.
    pub detach_keys: Option<String>,
}

/// Which part of a log.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Wait for more.
    pub follow: bool,
    /// Unix time with fraction, as the daemon takes it.
    pub since: Option<String>,
    /// As `since`.
    pub until: Option<String>,
    /// A time before each line.
    pub timestamps: bool,
    /// Lines from the end, or `all`.
    pub tail: String,
    /// Extra attributes before each line.
    pub details: bool,
}

impl Client {
    /// Creates; gives the ID and warnings.
    pub fn container_create(
        &self,
        name: Option<&str>,
        platform: Option<&str>,
        request: &CreateRequest,
    ) -> Result<CreateResponse, ClientError> {
        let query = Query::new().maybe("name", name).maybe("platform", platform);
        self.post_json("/containers/create", &query, request)
    }

    /// Starts. A running one is left as it is.
    pub fn container_start(&self, id: &str, detach_keys: Option<&str>) -> Result<(), ClientError> {
        self.post(&path(id, "start"), &Query::new().maybe("detachKeys", detach_keys)).map(drop)
    }

    /// Stops: signal, time in seconds (negative: for ever), kill.
    pub fn container_stop(
        &self,
        id: &str,
        signal: Option<&str>,
        timeout: Option<i64>,
    ) -> Result<(), ClientError> {
        let query =
            Query::new().maybe("signal", signal).maybe("t", timeout.map(|seconds| seconds.to_string()));
        self.post(&path(id, "stop"), &query).map(drop)
    }

    /// Stops and starts.
    pub fn container_restart(
        &self,
        id: &str,
        signal: Option<&str>,
        timeout: Option<i64>,
    ) -> Result<(), ClientError> {
        let query =
            Query::new().maybe("signal", signal).maybe("t", timeout.map(|seconds| seconds.to_string()));
        self.post(&path(id, "restart"), &query).map(drop)
    }

    /// Sends a signal.
    pub fn container_kill(&self, id: &str, signal: Option<&str>) -> Result<(), ClientError> {
        self.post(&path(id, "kill"), &Query::new().maybe("signal", signal)).map(drop)
    }

    /// Freezes.
    pub fn container_pause(&self, id: &str) -> Result<(), ClientError> {
        self.post(&path(id, "pause"), &Query::new()).map(drop)
    }

    /// Thaws.
    pub fn container_unpause(&self, id: &str) -> Result<(), ClientError> {
        self.post(&path(id, "unpause"), &Query::new()).map(drop)
    }

    /// Renames.
    pub fn container_rename(&self, id: &str, name: &str) -> Result<(), ClientError> {
        self.post(&path(id, "rename"), &Query::new().with("name", name)).map(drop)
    }

    /// Removes.
    pub fn container_remove(&self, id: &str, options: RemoveOptions) -> Result<(), ClientError> {
        let query =
            Query::new().flag("v", options.volumes).flag("link", options.link).flag("force", options.force);
        self.delete(&format!("/containers/{}", segment(id)), &query)?.body().map(drop)
    }

    /// Lists.
    pub fn container_list(&self, options: &ListOptions) -> Result<Vec<Summary>, ClientError> {
        let query = Query::new()
            .flag("all", options.all)
            .maybe("limit", options.limit.map(|limit| limit.to_string()))
            .flag("size", options.size)
            .filters(&options.filters);
        self.get("/containers/json", &query)
    }

    /// Inspects.
    pub fn container_inspect(&self, id: &str, size: bool) -> Result<Object, ClientError> {
        self.get(&path(id, "json"), &Query::new().flag("size", size))
    }

    /// Begins to wait. The daemon has subscribed when this returns, so that an exit after it is not missed.
    pub fn container_wait(&self, id: &str, condition: &str) -> Result<Waiting, ClientError> {
        let query = Query::new().with("condition", condition);
        self.request("POST", &path(id, "wait"), &query, Payload::Empty).map(Waiting)
    }

    /// Takes a connection over for the container's streams.
    pub fn container_attach(&self, id: &str, options: &AttachOptions) -> Result<Raw, ClientError> {
        let query = Query::new()
            .maybe("detachKeys", options.detach_keys.as_deref())
            .flag("logs", options.logs)
            .flag("stderr", options.stderr)
            .flag("stdin", options.stdin)
            .flag("stdout", options.stdout)
            .with("stream", "1");
        self.request("POST", &path(id, "attach"), &query, Payload::Upgrade(None)).and_then(Raw::of)
    }

    /// Tells the size of the terminal.
    pub fn container_resize(&self, id: &str, height: u16, width: u16) -> Result<(), ClientError> {
        let query = Query::new().with("h", height.to_string()).with("w", width.to_string());
        self.post(&path(id, "resize"), &query).map(drop)
    }

    /// The log; frames unless the container has a terminal.
    pub fn container_logs(&self, id: &str, options: &LogOptions) -> Result<Reply, ClientError> {
        let query = Query::new()
            .flag("details", options.details)
            .flag("follow", options.follow)
            .maybe("since", options.since.as_deref())
            .flag("stderr", true)
            .flag("stdout", true)
            .with("tail", &options.tail)
            .flag("timestamps", options.timestamps)
            .maybe("until", options.until.as_deref());
        self.request("GET", &path(id, "logs"), &query, Payload::Empty)
    }

    /// Processes.
    pub fn container_top(&self, id: &str, arguments: &str) -> Result<TopResponse, ClientError> {
        let arguments = (!arguments.is_empty()).then_some(arguments);
        self.get(&path(id, "top"), &Query::new().maybe("ps_args", arguments))
    }

    /// Changed paths, each with its kind (0 changed, 1 added, 2 deleted).
    pub fn container_changes(&self, id: &str) -> Result<Vec<(u8, String)>, ClientError> {
        let changes: Option<Vec<Value>> = self.get(&path(id, "changes"), &Query::new())?;
        let changes = changes.unwrap_or_default();
        let change = |value: &Value| -> Option<(u8, String)> {
            let kind = u8::try_from(value.get("Kind")?.as_u64()?).ok()?;
            Some((kind, value.get("Path")?.as_str()?.to_owned()))
        };
        Ok(changes.iter().filter_map(change).collect())
    }

    /// All files as a tar.
    pub fn container_export(&self, id: &str) -> Result<Reply, ClientError> {
        self.request("GET", &path(id, "export"), &Query::new(), Payload::Empty)
    }

    /// Changes limits and the restart policy.
    pub fn container_update(&self, id: &str, request: &UpdateRequest) -> Result<UpdateResponse, ClientError> {
        self.post_json(&path(id, "update"), &Query::new(), request)
    }

    /// Resource use: documents without end where `stream`, else one.
    pub fn container_stats(&self, id: &str, stream: bool) -> Result<Reply, ClientError> {
        let query = Query::new().with("stream", if stream { "1" } else { "0" });
        self.request("GET", &path(id, "stats"), &query, Payload::Empty)
    }

    /// Makes an image of a container; gives its ID.
    pub fn container_commit(&self, query: &Query) -> Result<String, ClientError> {
        let answer: Value = self.request("POST", "/commit", query, Payload::Empty)?.json()?;
        Ok(answer.get("Id").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// Removes those that do not run.
    pub fn container_prune(&self, filters: &Filters) -> Result<PruneReport, ClientError> {
        self.request("POST", "/containers/prune", &Query::new().filters(filters), Payload::Empty)?.json()
    }
}

/// A wait under way.
#[derive(Debug)]
pub struct Waiting(Reply);

impl Waiting {
    /// Whether the result, or the end of the connection, can be had without waiting.
    pub fn is_decided(&self) -> bool {
        if self.0.has_buffered() {
            return true;
        }
        let mut poll = [rustix::event::PollFd::new(&self.0, rustix::event::PollFlags::IN)];
        !matches!(rustix::event::poll(&mut poll, Some(&rustix::event::Timespec::default())), Ok(0))
    }

    /// Waits for the end.
    pub fn result(self) -> Result<WaitResponse, ClientError> {
        self.0.json()
    }
}

impl AsFd for Waiting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn path(id: &str, what: &str) -> String {
    format!("/containers/{}/{what}", segment(id))
}
