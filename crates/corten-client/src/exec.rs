//! Further programs in running containers.

use crate::client::{Payload, Query, encode, segment};
use crate::stream::Raw;
use crate::{Client, ClientError};
use corten_api::exec::{CreateRequest, CreateResponse, Inspect, StartRequest};

impl Client {
    /// Makes an exec; gives its ID.
    pub fn exec_create(&self, container: &str, request: &CreateRequest) -> Result<String, ClientError> {
        let path = format!("/containers/{}/exec", segment(container));
        let answer: CreateResponse = self.post_json(&path, &Query::new(), request)?;
        Ok(answer.id)
    }

    /// Starts it and leaves it alone.
    pub fn exec_start_detached(&self, id: &str, request: &StartRequest) -> Result<(), ClientError> {
        let body = encode(request)?;
        let path = format!("/exec/{}/start", segment(id));
        self.request("POST", &path, &Query::new(), Payload::Json(&body))?.body().map(drop)
    }

    /// Starts it and takes the connection over for its streams.
    pub fn exec_start(&self, id: &str, request: &StartRequest) -> Result<Raw, ClientError> {
        let body = encode(request)?;
        let path = format!("/exec/{}/start", segment(id));
        self.request("POST", &path, &Query::new(), Payload::Upgrade(Some(&body))).and_then(Raw::of)
    }

    /// What became of it.
    pub fn exec_inspect(&self, id: &str) -> Result<Inspect, ClientError> {
        self.get(&format!("/exec/{}/json", segment(id)), &Query::new())
    }

    /// Tells the size of the terminal.
    pub fn exec_resize(&self, id: &str, height: u16, width: u16) -> Result<(), ClientError> {
        let query = Query::new().with("h", height.to_string()).with("w", width.to_string());
        self.post(&format!("/exec/{}/resize", segment(id)), &query).map(drop)
    }
}
