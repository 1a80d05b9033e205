//! Networks that only hold a configuration (`--config-only`), and those that take theirs from one (`--config-from`).

use super::{NetworkDriver, NetworkRecord, TABLE, check_new, create};
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use corten_api::network::{CreateRequest, CreateResponse, Ipam, IpamConfig};
use corten_std::{Timestamp, id};
use std::sync::Arc;

/// The name of the network that a request takes its configuration from.
pub(super) fn source(request: &CreateRequest) -> Option<&str> {
    request.config_from.as_ref().map(|from| from.network.as_str()).filter(|name| !name.is_empty())
}

/// Whether a request for a network that only holds a configuration can be taken.
pub(super) fn check_held(request: &CreateRequest) -> Result<()> {
    if request.ingress || request.internal || request.attachable || !request.scope.is_empty() {
        return Err(EngineError::forbidden(
            "configuration network can only contain network specific fields. Network operator fields like [ ingress | \
             internal | attachable | scope ] are not supported.",
        ));
    }
    if source(request).is_some() {
        return Err(EngineError::forbidden(
            "a configuration network cannot depend on another configuration network",
        ));
    }
    create::check_ranges(request)
}

/// A request with the configuration of another network, which must be all the configuration that it has.
pub(super) fn take(mut request: CreateRequest, held: &CreateRequest) -> Result<CreateRequest> {
    let named = |ipam: &Ipam| {
        !matches!(ipam.driver.as_str(), "" | "default")
            || ipam.options.as_ref().is_some_and(|options| !options.is_empty())
            || ipam.config.iter().flatten().any(|config| *config != IpamConfig::default())
    };
    if request.enable_ipv6 == Some(true)
        || !request.labels.is_empty()
        || request.ipam.as_ref().is_some_and(named)
    {
        return Err(EngineError::forbidden(
            "user specified configurations are not supported if the network depends on a configuration network",
        ));
    }
    if !request.options.is_empty() {
        return Err(EngineError::forbidden(
            "network driver options are not supported if the network depends on a configuration network",
        ));
    }
    request.enable_ipv4 = held.enable_ipv4;
    request.enable_ipv6 = held.enable_ipv6;
    request.ipam.clone_from(&held.ipam);
    request.options.clone_from(&held.options);
    request.labels.clone_from(&held.labels);
    Ok(request)
}

impl Engine {
    /// Keeps a configuration for other networks; nothing is made of it.
    pub(super) fn hold_configuration(&self, request: CreateRequest) -> Result<CreateResponse> {
        check_held(&request)?;
        let mut map = self.inner.networks.lock();
        check_new(&map, &request.name)?;
        let record = NetworkRecord {
            id: id::random_id(),
            name: request.name.clone(),
            created: Timestamp::now(),
            driver: NetworkDriver::Configuration,
            config: None,
            options: request.options.clone(),
            labels: request.labels.clone(),
            attachable: false,
            ipam_options: request.ipam.clone().and_then(|ipam| ipam.options).unwrap_or_default(),
            held: Some(Box::new(request)),
            config_from: String::new(),
            plugged: None,
        };
        let rows = self.inner.store.records(TABLE);
        rows.put(&record.id, &record).map_err(|error| EngineError::because("saving the network", error))?;
        self.network_event("create", &record);
        let id = record.id.clone();
        map.insert(id.clone(), Arc::new(record));
        Ok(CreateResponse { id, warning: String::new() })
    }
}

/// No container can be in a network that only holds a configuration.
pub(crate) fn configuration_only() -> EngineError {
    EngineError::forbidden("cannot create endpoint on configuration-only network")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_taken_whole_or_not_at_all() {
        let held = CreateRequest {
            options: [("a".to_owned(), "b".to_owned())].into(),
            labels: [("x".to_owned(), "y".to_owned())].into(),
            enable_ipv6: Some(true),
            ..CreateRequest::default()
        };
        check_held(&held).unwrap();
        let taken = take(CreateRequest { internal: true, ..CreateRequest::default() }, &held).unwrap();
        assert_eq!((&taken.options, &taken.labels), (&held.options, &held.labels));
        assert_eq!((taken.enable_ipv6, taken.internal), (Some(true), true));
        for (asked, text) in [
            (
                CreateRequest { options: held.options.clone(), ..CreateRequest::default() },
                "network driver options",
            ),
            (
                CreateRequest { labels: held.labels.clone(), ..CreateRequest::default() },
                "user specified configurations",
            ),
        ] {
            assert!(take(asked, &held).unwrap_err().to_string().contains(text));
        }
        assert!(check_held(&CreateRequest { internal: true, ..CreateRequest::default() }).is_err());
    }
}
