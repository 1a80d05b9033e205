//! Volumes.

use crate::client::{Payload, Query, segment};
use crate::{Client, ClientError, Filters, Object};
use corten_api::volume::{CreateRequest, ListResponse, PruneReport, Volume};

impl Client {
    /// Creates; one that exists is given back.
    pub fn volume_create(&self, request: &CreateRequest) -> Result<Volume, ClientError> {
        self.post_json("/volumes/create", &Query::new(), request)
    }

    /// Lists.
    pub fn volume_list(&self, filters: &Filters) -> Result<ListResponse, ClientError> {
        self.get("/volumes", &Query::new().filters(filters))
    }

    /// Inspects.
    pub fn volume_inspect(&self, name: &str) -> Result<Object, ClientError> {
        self.get(&format!("/volumes/{}", segment(name)), &Query::new())
    }

    /// Removes.
    pub fn volume_remove(&self, name: &str, force: bool) -> Result<(), ClientError> {
        self.delete(&format!("/volumes/{}", segment(name)), &Query::new().flag("force", force))?
            .body()
            .map(drop)
    }

    /// Removes those that are not used.
    pub fn volume_prune(&self, filters: &Filters) -> Result<PruneReport, ClientError> {
        self.request("POST", "/volumes/prune", &Query::new().filters(filters), Payload::Empty)?.json()
    }
}
