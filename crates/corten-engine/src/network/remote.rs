//! What plugins of networks are asked, and how: Docker's protocol.

use super::plugged::cidr;
use super::{NetworkRecord, TABLE};
use crate::error::{EngineError, Result};
use crate::plugin::{PluginCaller, PluginError};
use corten_std::ErrorClass;
use corten_store::Store;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a plugin is asked as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum PluginCall {
    Network,
    Ipam,
}

impl PluginCall {
    fn word(self) -> &'static str {
        match self {
            Self::Network => "NetworkDriver",
            Self::Ipam => "IpamDriver",
        }
    }
}
/// The plugins of networks.
#[derive(Debug)]
pub(crate) struct PluggedNetworks {
    caller: Arc<dyn PluginCaller>,
    pub(super) store: Store,
    /// What plugins said that they can do.
    capabilities: Mutex<HashMap<(PluginCall, String), Value>>,
    /// While a daemon starts, the plugins that did not answer: each is waited for once, not for each of its containers.
    silent: Mutex<Option<HashSet<String>>>,
    /// Plugins that were away when they should have heard of something.
    owed: Mutex<HashSet<String>>,
}

impl PluggedNetworks {
    pub(crate) fn new(caller: Arc<dyn PluginCaller>, store: Store) -> Self {
        Self {
            caller,
            store,
            capabilities: Mutex::default(),
            silent: Mutex::default(),
            owed: Mutex::default(),
        }
    }

    /// Calls, and takes the plugin's own error for one.
    pub(super) fn call(
        &self,
        kind: PluginCall,
        plugin: &str,
        method: &str,
        request: &Value,
    ) -> Result<Value> {
        let full = format!("{}.{method}", kind.word());
        if self.silent().as_ref().is_some_and(|all| all.contains(plugin)) {
            let why = format!("{full}: the plugin \"{plugin}\" did not answer before");
            return Err(EngineError::new(ErrorClass::Unavailable, why));
        }
        let answer = self.caller.call(plugin, &full, request);
        if matches!(answer, Err(PluginError::Broken { .. } | PluginError::NotFound(_)))
            && let Some(silent) = &mut *self.silent()
        {
            silent.insert(plugin.to_owned());
        }
        let answer = answer.map_err(|error| match error {
            PluginError::NotFound(name) => super::plugged::not_found(&name),
            // By its class it is told apart from what a plugin says itself.
            PluginError::Broken { .. } => {
                EngineError::new(ErrorClass::Unavailable, format!("{full}: {error}")).with_hint(format!(
                    "look whether the program of the plugin \"{plugin}\" runs and listens on its socket"
                ))
            }
            PluginError::Unknown { .. } => EngineError::not_implemented(error.to_string()),
        })?;
        // Drivers of networks say `Err`, those of addresses `Error`.
        let told = ["Err", "Error"].into_iter().find_map(|key| answer[key].as_str());
        match told {
            None | Some("") => Ok(answer),
            Some(text) => Err(EngineError::system(format!("remote: {text}"))),
        }
    }

    pub(super) fn silent(&self) -> MutexGuard<'_, Option<HashSet<String>>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn owed(&self) -> MutexGuard<'_, HashSet<String>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a plugin says that it can do, asked once.
    pub(super) fn capabilities(&self, kind: PluginCall, plugin: &str) -> Result<Value> {
        let key = (kind, plugin.to_owned());
        let known = self.capabilities.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let told = match self.call(kind, plugin, "GetCapabilities", &json!({})) {
            // Older ones that keep addresses have no such method.
            Err(error) if kind == PluginCall::Ipam && error.class() == ErrorClass::NotImplemented => {
                json!({})
            }
            told => told?,
        };
        self.capabilities.lock().unwrap_or_else(PoisonError::into_inner).insert(key, told.clone());
        Ok(told)
    }

    pub(super) fn address_space(&self, ipam: &str) -> Result<String> {
        let told = self.call(PluginCall::Ipam, ipam, "GetDefaultAddressSpaces", &json!({}));
        let told =
            told.map_err(|error| EngineError::because("failed to get default address space", error))?;
        Ok(text(&told["LocalDefaultAddressSpace"]))
    }

    pub(super) fn request_address(
        &self,
        ipam: &str,
        pool: &str,
        asked: &str,
        options: &Value,
    ) -> Result<(IpAddr, u8)> {
        let request = json!({"PoolID": pool, "Address": asked, "Options": options});
        let answer = self.call(PluginCall::Ipam, ipam, "RequestAddress", &request)?;
        match text(&answer["Address"]).as_str() {
            "" => Err(EngineError::system("no address returned")),
            address => cidr(address),
        }
    }

    /// Gives an address back; false where the plugin could not be reached.
    pub(super) fn release_address(&self, ipam: &str, pool: &str, address: IpAddr) -> bool {
        let request = json!({"PoolID": pool, "Address": address.to_string()});
        let Err(error) = self.call(PluginCall::Ipam, ipam, "ReleaseAddress", &request) else { return true };
        tracing::warn!(%address, %error, "a plugin did not take an address back");
        is_answer(&error)
    }

    pub(super) fn release_pool(&self, ipam: &str, pool: &str) {
        let request = json!({"PoolID": pool});
        if let Err(error) = self.call(PluginCall::Ipam, ipam, "ReleasePool", &request) {
            tracing::warn!(pool, %error, "a plugin did not take a pool back");
        }
    }

    pub(super) fn network(&self, id: &str) -> Result<NetworkRecord> {
        let rows = self.store.records::<NetworkRecord>(TABLE);
        let row = rows.get(id).map_err(|error| EngineError::because("reading the network", error))?;
        row.ok_or_else(|| EngineError::not_found(format!("network {id} not found")))
    }
}

/// Whether a plugin said this itself; else it could not be reached.
pub(super) fn is_answer(error: &EngineError) -> bool {
    !matches!(error.class(), ErrorClass::Unavailable | ErrorClass::NotFound)
}
/// A plugin that cannot be reached is the machine's failure to a client.
pub(super) fn outward(error: EngineError) -> EngineError {
    match error.class() {
        ErrorClass::Unavailable | ErrorClass::NotImplemented => error.with_class(ErrorClass::System),
        _ => error,
    }
}
/// A text, empty where there is none.
pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
