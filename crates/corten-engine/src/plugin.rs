//! Plugins in Docker's way: programs of somebody else that answer JSON calls on a socket.
//!
//! The engine says what is called; who carries the call is the daemon's business.

use serde_json::{Value, json};

use crate::error::{EngineError, Result};

/// Carries calls to plugins.
pub trait PluginCaller: std::fmt::Debug + Send + Sync + 'static {
    /// Calls `method`, as `VolumeDriver.Mount`, of the plugin of that name, which must implement what stands before the
    /// point. Blocking. The error is a text for people.
    fn call(&self, plugin: &str, method: &str, request: &Value) -> std::result::Result<Value, PluginError>;
}

/// Where there are no plugins.
#[derive(Debug)]
pub struct NoPlugins;

impl PluginCaller for NoPlugins {
    fn call(&self, plugin: &str, _: &str, _: &Value) -> std::result::Result<Value, PluginError> {
        Err(PluginError::NotFound(plugin.to_owned()))
    }
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// There is no plugin of that name that does it.
    #[error("plugin \"{0}\" not found")]
    NotFound(String),
    /// It does not answer, or not as it should.
    #[error("plugin \"{plugin}\": {reason}")]
    Broken {
        /// Its name.
        plugin: String,
        /// What happened.
        reason: String,
    },
    /// It does not know the method.
    #[error("plugin \"{plugin}\" does not know {method}")]
    Unknown {
        /// Its name.
        plugin: String,
        /// As `VolumeDriver.Mount`.
        method: String,
    },
}

/// A plugin that was named and is not there, told in these words.
pub(crate) fn not_found(text: String) -> EngineError {
    EngineError::not_found(text)
        .with_hint("a plugin has a socket in /run/docker/plugins, or a file in /etc/docker/plugins")
}

/// The volumes of one driver.
pub(crate) struct VolumeDriver<'a> {
    pub(crate) caller: &'a dyn PluginCaller,
    pub(crate) name: &'a str,
}

impl VolumeDriver<'_> {
    /// Calls and takes the plugin's own error for one.
    fn call(&self, method: &str, request: &Value) -> Result<Value> {
        let answer = self.caller.call(self.name, &format!("VolumeDriver.{method}"), request);
        let answer = answer.map_err(|error| match error {
            PluginError::NotFound(_) => {
                not_found(format!("error looking up volume plugin {}: {error}", self.name))
            }
            PluginError::Broken { .. } | PluginError::Unknown { .. } => {
                EngineError::system(error.to_string())
            }
        })?;
        match answer["Err"].as_str() {
            None | Some("") => Ok(answer),
            Some(text) => Err(EngineError::system(format!("VolumeDriver.{method}: {text}"))),
        }
    }

    pub(crate) fn create(
        &self,
        volume: &str,
        options: &std::collections::BTreeMap<String, String>,
    ) -> Result<()> {
        self.call("Create", &json!({"Name": volume, "Opts": options})).map(drop)
    }

    pub(crate) fn remove(&self, volume: &str) -> Result<()> {
        self.call("Remove", &json!({"Name": volume})).map(drop)
    }

    /// Has its content somewhere on this host, and says where.
    pub(crate) fn mount(&self, volume: &str) -> Result<String> {
        let answer = self.call("Mount", &json!({"Name": volume, "ID": volume}))?;
        match answer["Mountpoint"].as_str() {
            Some(path) if path.starts_with('/') => Ok(path.to_owned()),
            _ => Err(EngineError::system(format!("plugin \"{}\" named no mountpoint", self.name))),
        }
    }

    pub(crate) fn unmount(&self, volume: &str) -> Result<()> {
        self.call("Unmount", &json!({"Name": volume, "ID": volume})).map(drop)
    }

    /// Where its content would be, and what the plugin says of it.
    pub(crate) fn get(&self, volume: &str) -> Result<Value> {
        Ok(self.call("Get", &json!({"Name": volume}))?["Volume"].clone())
    }

    /// `local` or `global`.
    pub(crate) fn scope(&self) -> String {
        let answer = self.call("Capabilities", &json!({}));
        let scope =
            answer.ok().and_then(|answer| answer["Capabilities"]["Scope"].as_str().map(str::to_owned));
        scope.filter(|scope| scope == "global").unwrap_or_else(|| "local".to_owned())
    }
}
