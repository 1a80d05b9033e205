//! What older versions of the API get differently, as data.
//!
//! A gate names an answer, the first version that no longer needs it, and what it does to the document. The newest
//! shape is what the engine gives; a client of the newest version costs nothing.

use corten_api::container::ContainerConfig;
use corten_api::route::Operation;
use corten_api::version::ApiVersion;
use corten_http::server::Response;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::reply;

/// Changes one document; of a list each element.
type Change = fn(&mut Map<String, Value>);

/// One difference.
struct Gate {
    operation: Operation,
    /// The first version that has the newest shape.
    until: ApiVersion,
    change: Change,
}

const fn gate(operation: Operation, until: u32, change: Change) -> Gate {
    Gate { operation, until: ApiVersion::one(until), change }
}

const GATES: &[Gate] = &[
    gate(Operation::ContainerList, 46, |row| {
        if let Some(Value::Object(host_config)) = row.get_mut("HostConfig") {
            host_config.shift_remove("Annotations");
        }
    }),
    gate(Operation::ContainerList, 48, |row| drop(row.shift_remove("ImageManifestDescriptor"))),
    gate(Operation::ContainerInspect, 44, |container| {
        for_each_endpoint(container, |endpoint| drop(endpoint.shift_remove("DNSNames")));
    }),
    gate(Operation::ContainerInspect, 48, |container| {
        container.shift_remove("ImageManifestDescriptor");
        for_each_endpoint(container, |endpoint| drop(endpoint.shift_remove("GwPriority")));
    }),
    gate(Operation::ImageList, 43, |row| {
        // Nameless images had a name that says so.
        let nameless = |list: Option<&Value>| list.and_then(Value::as_array).is_none_or(Vec::is_empty);
        if nameless(row.get("RepoTags")) && nameless(row.get("RepoDigests")) {
            row.insert("RepoTags".to_owned(), json!(["<none>:<none>"]));
            row.insert("RepoDigests".to_owned(), json!(["<none>@<none>"]));
        }
    }),
    gate(Operation::ImageList, 44, virtual_size),
    gate(Operation::ImageList, 48, |row| drop(row.shift_remove("Descriptor"))),
    gate(Operation::ImageInspect, 44, virtual_size),
    gate(Operation::ImageInspect, 45, |image| {
        let config = serde_json::to_value(ContainerConfig::default()).unwrap_or_default();
        image.insert("ContainerConfig".to_owned(), config);
    }),
    gate(Operation::ImageInspect, 48, |image| drop(image.shift_remove("Descriptor"))),
    gate(Operation::ImageInspect, 50, |image| {
        // The configuration had a container's whole shape.
        if let Some(Value::Object(config)) = image.get_mut("Config") {
            for key in ["AttachStderr", "AttachStdin", "AttachStdout", "OpenStdin", "StdinOnce", "Tty"] {
                config.insert(key.to_owned(), json!(false));
            }
            for key in ["Domainname", "Hostname", "Image"] {
                config.insert(key.to_owned(), json!(""));
            }
            config.sort_keys();
        }
    }),
    gate(Operation::DiskUsage, 44, |usage| {
        let images = usage.get_mut("Images").and_then(Value::as_array_mut);
        images.into_iter().flatten().filter_map(Value::as_object_mut).for_each(virtual_size);
    }),
    gate(Operation::Info, 42, |info| {
        info.insert("KernelMemory".to_owned(), json!(true));
    }),
    gate(Operation::Info, 47, |info| {
        if let Some(Value::Object(registries)) = info.get_mut("RegistryConfig") {
            registries.insert("AllowNondistributableArtifactsCIDRs".to_owned(), json!([]));
            registries.insert("AllowNondistributableArtifactsHostnames".to_owned(), json!([]));
        }
    }),
    gate(Operation::Info, 50, |info| {
        // The kernel's netfilter for bridges, which networks do without: false for long, then gone.
        info.insert("BridgeNfIptables".to_owned(), json!(false));
        info.insert("BridgeNfIp6tables".to_owned(), json!(false));
    }),
    gate(Operation::Info, 49, |info| {
        info.shift_remove("FirewallBackend");
        for name in ["ContainerdCommit", "RuncCommit", "InitCommit"] {
            if let Some(Value::Object(commit)) = info.get_mut(name) {
                let id = commit.get("ID").cloned().unwrap_or_default();
                if id != "" {
                    commit.insert("Expected".to_owned(), id);
                }
            }
        }
    }),
];

/// The size was there twice.
fn virtual_size(image: &mut Map<String, Value>) {
    let size = image.get("Size").cloned().unwrap_or_default();
    image.insert("VirtualSize".to_owned(), size);
}

fn for_each_endpoint(container: &mut Map<String, Value>, change: Change) {
    let networks = container.get_mut("NetworkSettings").and_then(|settings| settings.get_mut("Networks"));
    for endpoint in networks.and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        if let Value::Object(endpoint) = endpoint {
            change(endpoint);
        }
    }
}

/// The answer with a document in the shape of that version.
pub(crate) fn json(
    status: u16,
    operation: Operation,
    version: ApiVersion,
    document: &impl Serialize,
) -> Response {
    let mut gates =
        GATES.iter().filter(|gate| gate.operation == operation && version < gate.until).peekable();
    if gates.peek().is_none() {
        return reply::json(status, document);
    }
    let Ok(mut value) = serde_json::to_value(document) else { return reply::json(status, document) };
    for gate in gates {
        match &mut value {
            Value::Object(object) => (gate.change)(object),
            Value::Array(list) => {
                list.iter_mut().filter_map(Value::as_object_mut).for_each(gate.change);
            }
            _ => {}
        }
    }
    reply::json(status, &value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_http::server::Body;

    fn shaped(operation: Operation, minor: u32, document: &Value) -> Value {
        match json(200, operation, ApiVersion::one(minor), document).body {
            Body::Full(bytes) => serde_json::from_slice(&bytes).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn older_versions_get_their_shapes() {
        let image =
            json!({"Size": 5, "Descriptor": {}, "Config": {"Cmd": ["a"]}, "RepoTags": [], "RepoDigests": []});
        assert_eq!(shaped(Operation::ImageInspect, 51, &image), image);
        let old = shaped(Operation::ImageInspect, 43, &image);
        assert_eq!((&old["VirtualSize"], old.get("Descriptor")), (&json!(5), None));
        assert_eq!((&old["Config"]["Cmd"], &old["Config"]["Tty"]), (&json!(["a"]), &json!(false)));
        assert_eq!(old["ContainerConfig"]["Env"], Value::Null);
        let list = shaped(Operation::ImageList, 42, &json!([image]));
        assert_eq!(list[0]["RepoTags"], json!(["<none>:<none>"]));
        let container = json!({"NetworkSettings": {"Networks": {"bridge": {"GwPriority": 0, "DNSNames": null, "MacAddress": ""}}}});
        let old = shaped(Operation::ContainerInspect, 43, &container);
        assert_eq!(old, json!({"NetworkSettings": {"Networks": {"bridge": {"MacAddress": ""}}}}));
        assert_eq!(shaped(Operation::ContainerInspect, 51, &container), container);
    }
}
