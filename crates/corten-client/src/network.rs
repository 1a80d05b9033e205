//! Networks.

use crate::client::{Payload, Query, encode, segment};
use crate::{Client, ClientError, Filters, Object};
use corten_api::network::{
    ConnectRequest, CreateRequest, CreateResponse, DisconnectRequest, Inspect, PruneReport,
};

impl Client {
    /// Creates.
    pub fn network_create(&self, request: &CreateRequest) -> Result<CreateResponse, ClientError> {
        self.post_json("/networks/create", &Query::new(), request)
    }

    /// Lists.
    pub fn network_list(&self, filters: &Filters) -> Result<Vec<Inspect>, ClientError> {
        self.get("/networks", &Query::new().filters(filters))
    }

    /// Inspects.
    pub fn network_inspect(&self, name: &str, verbose: bool) -> Result<Object, ClientError> {
        self.get(&format!("/networks/{}", segment(name)), &Query::new().flag("verbose", verbose))
    }

    /// Removes.
    pub fn network_remove(&self, name: &str) -> Result<(), ClientError> {
        self.delete(&format!("/networks/{}", segment(name)), &Query::new())?.body().map(drop)
    }

    /// Joins a container.
    pub fn network_connect(&self, name: &str, request: &ConnectRequest) -> Result<(), ClientError> {
        let body = encode(request)?;
        let path = format!("/networks/{}/connect", segment(name));
        self.request("POST", &path, &Query::new(), Payload::Json(&body))?.body().map(drop)
    }

    /// Takes a container out.
    pub fn network_disconnect(&self, name: &str, request: &DisconnectRequest) -> Result<(), ClientError> {
        let body = encode(request)?;
        let path = format!("/networks/{}/disconnect", segment(name));
        self.request("POST", &path, &Query::new(), Payload::Json(&body))?.body().map(drop)
    }

    /// Removes those that are not used.
    pub fn network_prune(&self, filters: &Filters) -> Result<PruneReport, ClientError> {
        self.request("POST", "/networks/prune", &Query::new().filters(filters), Payload::Empty)?.json()
    }
}
