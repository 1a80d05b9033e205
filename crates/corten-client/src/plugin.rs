//! Managed plugins.

use crate::client::{Payload, Query, segment};
use crate::{Client, ClientError, Filters, Object};

impl Client {
    /// Lists.
    pub fn plugin_list(&self, filters: &Filters) -> Result<Vec<Object>, ClientError> {
        self.get("/plugins", &Query::new().filters(filters))
    }

    /// Inspects.
    pub fn plugin_inspect(&self, name: &str) -> Result<Object, ClientError> {
        self.get(&format!("/plugins/{}/json", segment(name)), &Query::new())
    }

    /// What a plugin of a registry wants to be allowed.
    pub fn plugin_privileges(&self, remote: &str) -> Result<Object, ClientError> {
        self.get("/plugins/privileges", &Query::new().with("remote", remote))
    }

    /// Turns one on; `timeout` in seconds.
    pub fn plugin_enable(&self, name: &str, timeout: i64) -> Result<(), ClientError> {
        let query = Query::new().with("timeout", timeout.to_string());
        self.post(&format!("/plugins/{}/enable", segment(name)), &query).map(drop)
    }

    /// Turns one off.
    pub fn plugin_disable(&self, name: &str, force: bool) -> Result<(), ClientError> {
        let query = Query::new().flag("force", force);
        self.post(&format!("/plugins/{}/disable", segment(name)), &query).map(drop)
    }

    /// Removes.
    pub fn plugin_remove(&self, name: &str, force: bool) -> Result<(), ClientError> {
        self.delete(&format!("/plugins/{}", segment(name)), &Query::new().flag("force", force))?
            .body()
            .map(drop)
    }

    /// Changes settings, each `KEY=VALUE`.
    pub fn plugin_set(&self, name: &str, settings: &[String]) -> Result<(), ClientError> {
        let body = serde_json::to_vec(settings).unwrap_or_default();
        let path = format!("/plugins/{}/set", segment(name));
        self.request("POST", &path, &Query::new(), Payload::Json(&body))?.body().map(drop)
    }
}
