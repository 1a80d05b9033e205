//! As much of Swagger 2.0 as the description of the Engine API uses, and the places where Docker itself departs from it.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use super::http::Answer;

/// What Docker 28 answers with and the description, which is of a newer version, does not have any more: operation, place
/// (or its end), the newest version that has it.
const UNDESCRIBED: &[(&str, &str, u32)] = &[
    ("GET /events", ".status", 51),
    ("GET /events", ".id", 51),
    ("GET /events", ".from", 51),
    ("GET /networks", ".Containers", 51),
    ("GET /system/df", ".LayersSize", 51),
    ("GET /system/df", ".Images", 51),
    ("GET /system/df", ".Containers", 51),
    ("GET /system/df", ".Volumes", 51),
    ("GET /system/df", ".BuildCache", 51),
    ("GET /images/json", ".VirtualSize", 43),
    ("GET /images/{name}/json", ".VirtualSize", 43),
    ("GET /images/{name}/json", ".ContainerConfig", 44),
    ("GET /images/{name}/json", ".Parent", 51),
    ("GET /images/{name}/json", ".DockerVersion", 51),
    ("GET /images/{name}/json", ".Config.AttachStderr", 49),
    ("GET /images/{name}/json", ".Config.AttachStdin", 49),
    ("GET /images/{name}/json", ".Config.AttachStdout", 49),
    ("GET /images/{name}/json", ".Config.Domainname", 49),
    ("GET /images/{name}/json", ".Config.Hostname", 49),
    ("GET /images/{name}/json", ".Config.Image", 49),
    ("GET /images/{name}/json", ".Config.OpenStdin", 49),
    ("GET /images/{name}/json", ".Config.StdinOnce", 49),
    ("GET /images/{name}/json", ".Config.Tty", 49),
    ("GET /info", ".KernelMemory", 41),
    ("GET /info", ".BridgeNfIptables", 49),
    ("GET /info", ".BridgeNfIp6tables", 49),
    ("GET /info", ".RegistryConfig.AllowNondistributableArtifactsCIDRs", 46),
    ("GET /info", ".RegistryConfig.AllowNondistributableArtifactsHostnames", 46),
    ("GET /info", ".ContainerdCommit.Expected", 48),
    ("GET /info", ".RuncCommit.Expected", 48),
    ("GET /info", ".InitCommit.Expected", 48),
    ("GET /containers/{id}/json", ".NetworkSettings.Bridge", 51),
    ("GET /containers/{id}/json", ".NetworkSettings.HairpinMode", 51),
    ("GET /containers/{id}/json", ".NetworkSettings.LinkLocalIPv6Address", 51),
    ("GET /containers/{id}/json", ".NetworkSettings.LinkLocalIPv6PrefixLen", 51),
    ("GET /containers/{id}/json", ".NetworkSettings.SecondaryIPAddresses", 51),
    ("GET /containers/{id}/json", ".NetworkSettings.SecondaryIPv6Addresses", 51),
    ("GET /containers/{id}/json", ".NetworkSettings.EndpointID", 51),
    ("GET /containers/{id}/json", ".NetworkSettings.Gateway", 51),
    ("GET /containers/{id}/json", ".NetworkSettings.GlobalIPv6Address", 51),
    ("GET /containers/{id}/json", ".NetworkSettings.GlobalIPv6PrefixLen", 51),
    ("GET /containers/{id}/json", ".NetworkSettings.IPAddress", 51),
    ("GET /containers/{id}/json", ".NetworkSettings.IPPrefixLen", 51),
    ("GET /containers/{id}/json", ".NetworkSettings.IPv6Gateway", 51),
    ("GET /containers/{id}/json", ".NetworkSettings.MacAddress", 51),
];

/// Required by the description, and given by no Docker: the size stands in `Size.Unpacked`.
const NEVER_THERE: &str = "UnpackedSize";

/// The description.
pub(super) struct Description {
    root: Value,
}

impl Description {
    pub(super) fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        Self { root: serde_yaml_ng::from_str(&text).unwrap() }
    }

    /// Every operation as `METHOD /path`.
    pub(super) fn operations(&self) -> impl Iterator<Item = String> {
        let paths = self.root["paths"].as_object().unwrap();
        paths.iter().flat_map(|(path, operations)| {
            operations
                .as_object()
                .unwrap()
                .keys()
                .map(move |method| format!("{} {path}", method.to_uppercase()))
        })
    }

    /// Checks an answer; gives whether there was a schema to check it with.
    pub(super) fn check(
        &self,
        operation: &str,
        version: u32,
        answer: &Answer,
        complain: &mut impl FnMut(String),
    ) -> bool {
        let (method, path) = operation.split_once(' ').unwrap();
        let responses = &self.root["paths"][path][method.to_lowercase()]["responses"];
        let response = &responses[answer.status.to_string()];
        if response.is_null() {
            // What is not built, a swarm that is none and a bad parameter are not described for every operation.
            if answer.status < 400 {
                complain(format!("status {} is not described", answer.status));
            }
            return false;
        }
        let schema = &response["schema"];
        let json = answer.headers.get("content-type").is_some_and(|kind| kind == "application/json");
        if schema.is_null() || method == "HEAD" || !json {
            return false;
        }
        // Streams are a document a line.
        let documents = serde_json::Deserializer::from_slice(&answer.body).into_iter::<Value>();
        let mut places = BTreeSet::new();
        for document in documents {
            match document {
                Ok(document) => {
                    self.validate(schema, &document, "", complain);
                    self.undescribed(schema, &document, "", &mut places);
                }
                Err(error) => complain(format!("no JSON: {error}")),
            }
        }
        let undescribed = |place: &str| {
            let known = UNDESCRIBED.iter().find(|known| known.0 == operation && known.1 == place);
            known.is_none_or(|known| version > known.2)
        };
        for place in places.into_iter().filter(|place| undescribed(place)) {
            complain(format!("{place} is not described"));
        }
        true
    }

    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(name) => {
                let name = name.strip_prefix("#/definitions/").unwrap();
                self.resolve(&self.root["definitions"][name])
            }
            None => schema,
        }
    }

    /// All properties of a schema and of those it is made of, and whether it is open to others.
    fn properties<'a>(&'a self, schema: &'a Value, into: &mut Map<String, Value>) -> bool {
        let schema = self.resolve(schema);
        let mut open = !schema["additionalProperties"].is_null();
        if let Some(properties) = schema["properties"].as_object() {
            into.extend(properties.clone());
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            open |= self.properties(part, into);
        }
        open
    }

    /// Where a value has keys that its schema does not have.
    fn undescribed(&self, schema: &Value, value: &Value, at: &str, places: &mut BTreeSet<String>) {
        let schema = self.resolve(schema);
        for item in value.as_array().into_iter().flatten() {
            self.undescribed(&schema["items"], item, at, places);
        }
        let mut properties = Map::new();
        let open = self.properties(schema, &mut properties) || properties.is_empty();
        for (name, value) in value.as_object().into_iter().flatten() {
            let place = format!("{at}.{name}");
            match properties.get(name) {
                Some(property) => self.undescribed(property, value, &place, places),
                None if open => {
                    self.undescribed(&schema["additionalProperties"], value, &format!("{at}.*"), places);
                }
                None => drop(places.insert(place)),
            }
        }
    }

    fn validate(&self, schema: &Value, value: &Value, at: &str, complain: &mut impl FnMut(String)) {
        let schema = self.resolve(schema);
        // Go's lists, maps and pointers are `null` when they are not set, described or not.
        if value.is_null() {
            return;
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.validate(part, value, at, complain);
        }
        if let Some(wanted) = schema["type"].as_str() {
            let fits = match wanted {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64() || value.is_u64(),
                "number" => value.is_number(),
                other => panic!("the description has a type {other}"),
            };
            if !fits {
                return complain(format!("{at} is {value}, not {wanted}"));
            }
        }
        if let (Some(allowed), Some(text)) = (schema["enum"].as_array(), value.as_str())
            && !text.is_empty()
            && !allowed.contains(value)
        {
            complain(format!("{at} is {text}, which is none of {allowed:?}"));
        }
        if schema["format"] == "dateTime"
            && value
                .as_str()
                .is_some_and(|text| !text.is_empty() && corten_std::Timestamp::parse(text).is_none())
        {
            complain(format!("{at} is {value}, no time"));
        }
        for item in value.as_array().into_iter().flatten() {
            self.validate(&schema["items"], item, at, complain);
        }
        let Some(object) = value.as_object() else { return };
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) && name != NEVER_THERE {
                complain(format!("{at}.{name} is required and missing"));
            }
        }
        for (name, value) in object {
            let property = &schema["properties"][name];
            let property = if property.is_null() { &schema["additionalProperties"] } else { property };
            self.validate(property, value, &format!("{at}.{name}"), complain);
        }
    }
}
