//! The daemon and its host.

use crate::client::{Payload, Query, Reply};
use crate::{Client, ClientError, Filters, Object};
use corten_api::system::{BuildPruneReport, DiskUsage};

impl Client {
    /// What the daemon is.
    pub fn info(&self) -> Result<Object, ClientError> {
        self.get("/info", &Query::new())
    }

    /// Which version the daemon has.
    pub fn server_version(&self) -> Result<Object, ClientError> {
        self.get("/version", &Query::new())
    }

    /// What takes space.
    pub fn disk_usage(&self) -> Result<DiskUsage, ClientError> {
        self.get("/system/df", &Query::new())
    }

    /// Events as a stream of documents.
    pub fn events(
        &self,
        since: Option<&str>,
        until: Option<&str>,
        filters: &Filters,
    ) -> Result<Reply, ClientError> {
        let query = Query::new().filters(filters).maybe("since", since).maybe("until", until);
        self.request("GET", "/events", &query, Payload::Empty)
    }

    /// Removes build cache.
    pub fn build_prune(&self, all: bool, filters: &Filters) -> Result<BuildPruneReport, ClientError> {
        let query = Query::new().flag("all", all).filters(filters);
        self.request("POST", "/build/prune", &query, Payload::Empty)?.json()
    }
}
