//! What a template is filled with: documents as the engine's values, with a side table of what the engine cannot hold
//! – which map is a struct, which order a document had.

use super::schema::{self, Kind};
use super::{Cell, Row};
use crate::time;
use corten_std::Timestamp;
use gotmpl::{Value, ValueFunc};
use serde_json::Value as Json;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

/// The name of a list's row where a struct's would stand.
pub(super) const ROW: &str = "formatter row";

/// What is known of the shared maps and lists of the data at hand, by their address.
pub(super) type Objects = Arc<Mutex<HashMap<usize, Object>>>;

#[derive(Debug, Clone)]
pub(super) struct Object {
    /// The struct's name where it is one: other fields are errors. Empty for maps and lists.
    pub(super) type_name: &'static str,
    /// How `json` writes it.
    pub(super) json: Json,
    /// Missing keys of a map are errors.
    pub(super) strict: bool,
    /// A map of texts: `index` gives the empty text for a missing key.
    pub(super) texts: bool,
}

/// What a template is filled with.
#[derive(Debug)]
pub(crate) struct Data {
    pub(super) value: Value,
    pub(super) objects: HashMap<usize, Object>,
}

impl Data {
    pub(super) fn empty() -> Self {
        Self { value: Value::Nil, objects: HashMap::new() }
    }

    /// A document with the names of Docker's structs.
    pub(crate) fn typed(kind: Kind, document: &Json) -> Self {
        let mut data = Self::empty();
        data.value = data.of_type(kind.type_name(), Some(document));
        data
    }

    /// A document with its own names; what is missing is an error.
    pub(crate) fn plain(document: &Json) -> Self {
        let mut data = Self::empty();
        data.value = data.of_json(document, true);
        data
    }

    pub(super) fn row(row: &Row, with_json: bool) -> Self {
        let mut data = Self::empty();
        let mut map: BTreeMap<Arc<str>, Value> = BTreeMap::new();
        let mut json = BTreeMap::new();
        for (name, cell) in &row.cells {
            let value = match cell {
                Cell::Text(text) => Value::String(Arc::from(text.as_str())),
                Cell::Document(document) => data.of_json(document, false),
            };
            map.insert(Arc::from(*name), value);
            if with_json {
                let value = match cell {
                    Cell::Text(text) => Json::String(text.clone()),
                    Cell::Document(document) => document.clone(),
                };
                json.insert(*name, value);
            }
        }
        if row.has_labels {
            let labels = row.labels.clone();
            let label: ValueFunc = Arc::new(move |arguments| {
                let name = arguments.first().and_then(Value::as_str).unwrap_or_default();
                let found = labels.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value);
                Ok(Value::String(Arc::from(found)))
            });
            map.insert(Arc::from("Label"), Value::Function(label));
        }
        let json = json.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        data.value = data
            .add_map(map, Object { type_name: ROW, json: Json::Object(json), strict: true, texts: false });
        data
    }

    fn add_map(&mut self, map: BTreeMap<Arc<str>, Value>, object: Object) -> Value {
        let map = Arc::new(map);
        self.objects.insert(Arc::as_ptr(&map).cast::<u8>() as usize, object);
        Value::Map(map)
    }

    fn add_list(&mut self, list: Vec<Value>, json: Json) -> Value {
        let list: Arc<[Value]> = list.into();
        self.objects.insert(
            list.as_ptr().cast::<u8>() as usize,
            Object { type_name: "", json, strict: false, texts: false },
        );
        Value::List(list)
    }

    fn of_json(&mut self, json: &Json, strict: bool) -> Value {
        match json {
            Json::Null => Value::Nil,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => number_value(number),
            Json::String(text) => Value::String(Arc::from(text.as_str())),
            Json::Array(items) => {
                let items = items.iter().map(|item| self.of_json(item, strict)).collect();
                self.add_list(items, json.clone())
            }
            Json::Object(entries) => {
                let map =
                    entries.iter().map(|(key, value)| (Arc::from(key.as_str()), self.of_json(value, strict)));
                let map = map.collect();
                // A document without structs has forgotten its order; Go writes its maps sorted.
                let json = if strict { sorted(json) } else { json.clone() };
                self.add_map(map, Object { type_name: "", json, strict, texts: false })
            }
        }
    }

    /// A value of one of the types of [`schema`]; a missing one is the type's zero.
    fn of_type(&mut self, kind: &'static str, json: Option<&Json>) -> Value {
        let json = json.filter(|json| !json.is_null());
        if let Some(inner) = kind.strip_prefix('*') {
            return json.map_or(Value::Nil, |json| self.of_type(inner, Some(json)));
        }
        if let Some(inner) = kind.strip_prefix("[]") {
            let items = json.and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
            let items = items.iter().map(|item| self.of_type(inner, Some(item))).collect();
            return self.add_list(items, json.cloned().unwrap_or_default());
        }
        if let Some(inner) = kind.strip_prefix("{}") {
            let map = json.and_then(Json::as_object).into_iter().flatten();
            let map =
                map.map(|(key, value)| (Arc::from(key.as_str()), self.of_type(inner, Some(value)))).collect();
            let json = json.map(sorted).unwrap_or_default();
            return self.add_map(map, Object { type_name: "", json, strict: false, texts: inner == "s" });
        }
        match kind {
            "s" => Value::String(Arc::from(json.and_then(Json::as_str).unwrap_or_default())),
            "n" => json.and_then(Json::as_number).map_or(Value::Int(0), number_value),
            "b" => Value::Bool(json.and_then(Json::as_bool).unwrap_or(false)),
            "t" => {
                let text = json.and_then(Json::as_str).unwrap_or_default();
                let at = Timestamp::parse(text);
                Value::String(Arc::from(at.map_or_else(|| text.to_owned(), time::go_timestamp).as_str()))
            }
            "d" => {
                let nanos = json.and_then(Json::as_i64).unwrap_or(0);
                Value::String(Arc::from(time::go_duration(nanos).as_str()))
            }
            "a" => json.map_or(Value::Nil, |json| self.of_json(json, false)),
            _ => {
                let Some(fields) = schema::fields(kind) else {
                    return json.map_or(Value::Nil, |json| self.of_json(json, false));
                };
                let map = fields
                    .iter()
                    .map(|field| {
                        let value = json.and_then(|json| json.get(field.key));
                        (Arc::from(field.name), self.of_type(field.kind, value))
                    })
                    .collect();
                let json = json.cloned().unwrap_or_default();
                self.add_map(map, Object { type_name: kind, json, strict: true, texts: false })
            }
        }
    }
}

fn number_value(number: &serde_json::Number) -> Value {
    number
        .as_i64()
        .map(Value::Int)
        .or_else(|| number.as_u64().map(Value::Uint))
        .or_else(|| number.as_f64().map(Value::Float))
        .unwrap_or(Value::Nil)
}

/// With the keys of every object in order.
fn sorted(json: &Json) -> Json {
    match json {
        Json::Object(entries) => {
            let entries: BTreeMap<&String, Json> =
                entries.iter().map(|(key, value)| (key, sorted(value))).collect();
            Json::Object(entries.into_iter().map(|(key, value)| (key.clone(), value)).collect())
        }
        Json::Array(items) => Json::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// Looks up what is known of a value's map or list.
pub(super) fn known(objects: &Objects, value: &Value) -> Option<Object> {
    let address = match value {
        Value::Map(map) => Arc::as_ptr(map).cast::<u8>() as usize,
        Value::List(list) => list.as_ptr().cast::<u8>() as usize,
        _ => return None,
    };
    objects.lock().ok()?.get(&address).cloned()
}
