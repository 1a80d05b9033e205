//! The functions that templates have: Docker's own, and those that stand in for field access and printing.

use super::data::{Object, Objects, ROW, known};
use super::schema;
use gotmpl::{TemplateError, Value, ValueFunc};
use serde_json::Value as Json;
use std::cell::Cell;
use std::sync::Arc;

/// Names that no template can spell: field access, and printing.
pub(super) const ACCESS: &str = "\u{1}access";
pub(super) const PRINT: &str = "\u{1}print";

/// All that are added to the engine's own.
pub(super) const FUNCTION_NAMES: &[&str] =
    &["json", "split", "join", "title", "lower", "upper", "pad", "truncate", ACCESS, PRINT];

/// Docker's functions. In a header all but `pad` give back what they got.
pub(super) fn functions(objects: &Objects, header: bool) -> Vec<(&'static str, ValueFunc)> {
    let text =
        |arguments: &[Value], at: usize| arguments.get(at).map(ToString::to_string).unwrap_or_default();
    let string = |text: String| Ok(Value::String(Arc::from(text.as_str())));
    let number = |arguments: &[Value], at: usize| {
        arguments.get(at).and_then(Value::as_int).and_then(|n| usize::try_from(n).ok())
    };
    let same = move |arguments: &[Value]| Ok(arguments.first().cloned().unwrap_or(Value::Nil));
    let for_access = Arc::clone(objects);
    let for_print = Arc::clone(objects);
    let for_index = Arc::clone(objects);
    let mut all: Vec<(&'static str, ValueFunc)> = vec![
        (ACCESS, Arc::new(move |arguments| access(&for_access, arguments))),
        ("index", Arc::new(move |arguments| index(&for_index, arguments))),
        (PRINT, Arc::new(move |arguments| Ok(printed(&for_print, arguments.first().unwrap_or(&Value::Nil))))),
        (
            "pad",
            Arc::new(move |arguments| {
                let value = text(arguments, 0);
                if value.is_empty() {
                    return string(value);
                }
                let blanks = |at| " ".repeat(number(arguments, at).unwrap_or(0));
                string(format!("{}{value}{}", blanks(1), blanks(2)))
            }),
        ),
    ];
    if header {
        for name in ["json", "split", "join", "title", "lower", "upper", "truncate"] {
            all.push((name, Arc::new(same)));
        }
        return all;
    }
    let for_json = Arc::clone(objects);
    all.extend::<[(&'static str, ValueFunc); 7]>([
        (
            "json",
            Arc::new(move |arguments| {
                let value = arguments.first().unwrap_or(&Value::Nil);
                let text = to_json(&for_json, value).to_string();
                let is_row = known(&for_json, value).is_some_and(|object| object.type_name == ROW);
                string(if is_row { html_safe(&text) } else { text })
            }),
        ),
        (
            "split",
            Arc::new(move |arguments| {
                let (value, separator) = (text(arguments, 0), text(arguments, 1));
                let parts = value.split(separator.as_str()).map(|part| Value::String(Arc::from(part)));
                Ok(Value::List(parts.collect()))
            }),
        ),
        (
            "join",
            Arc::new(move |arguments| match arguments.first() {
                Some(Value::List(items)) => {
                    let parts: Vec<String> = items.iter().map(ToString::to_string).collect();
                    string(parts.join(&text(arguments, 1)))
                }
                Some(Value::Nil) | None => string(String::new()),
                Some(other) => {
                    let text = format!("wrong type for value; expected []string; got {}", other.type_name());
                    Err(TemplateError::Exec(text))
                }
            }),
        ),
        ("title", Arc::new(move |arguments| string(title(&text(arguments, 0))))),
        ("lower", Arc::new(move |arguments| string(text(arguments, 0).to_lowercase()))),
        ("upper", Arc::new(move |arguments| string(text(arguments, 0).to_uppercase()))),
        (
            "truncate",
            Arc::new(move |arguments| {
                let value = text(arguments, 0);
                let length = number(arguments, 1).unwrap_or(usize::MAX);
                string(value.chars().take(length).collect())
            }),
        ),
    ]);
    all
}

/// As Go's `json.Marshal` writes it: safe inside HTML. These letters stand only in strings.
fn html_safe(json: &str) -> String {
    json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}

/// The first letter of each word in upper case.
fn title(text: &str) -> String {
    let mut begins = true;
    text.chars()
        .map(|letter| {
            let shown = if begins { letter.to_ascii_uppercase() } else { letter };
            begins = !(letter.is_alphanumeric() || letter == '_' || letter == '\'');
            shown
        })
        .collect()
}

/// `access VALUE "A.B" arguments…`: field by field, a method called with the arguments at the end.
fn access(objects: &Objects, arguments: &[Value]) -> gotmpl::Result<Value> {
    let [value, path, rest @ ..] = arguments else {
        return Err(TemplateError::Exec("a field of nothing".to_owned()));
    };
    let mut value = value.clone();
    let path = path.as_str().unwrap_or_default();
    NIL_POINTER.set(false);
    for name in path.split('.') {
        let next = match &value {
            Value::Map(map) => match map.get(name) {
                Some(next) => {
                    let is_struct =
                        || known(objects, &value).is_some_and(|object| !object.type_name.is_empty());
                    NIL_POINTER.set(matches!(next, Value::Nil) && is_struct());
                    next.clone()
                }
                None => match known(objects, &value) {
                    Some(Object { strict: true, type_name, .. }) if !type_name.is_empty() => {
                        let text = format!("at <.{path}>: can't evaluate field {name} in type {type_name}");
                        return Err(TemplateError::Exec(text));
                    }
                    Some(Object { strict: true, .. }) => {
                        return Err(TemplateError::Exec(format!(
                            "at <.{path}>: map has no entry for key \"{name}\""
                        )));
                    }
                    _ => Value::Nil,
                },
            },
            Value::Nil => {
                return Err(TemplateError::Exec(format!(
                    "at <.{path}>: nil pointer evaluating interface {{}}.{name}"
                )));
            }
            other => {
                let text = format!("at <.{path}>: can't evaluate field {name} in type {}", other.type_name());
                return Err(TemplateError::Exec(text));
            }
        };
        value = next;
    }
    match &value {
        Value::Function(function) => function(rest),
        _ if rest.is_empty() => Ok(value),
        _ => Err(TemplateError::Exec(format!("{path} has arguments but cannot be invoked as function"))),
    }
}

/// `index VALUE key…`, with the zero value for a missing key of a map of texts.
fn index(objects: &Objects, arguments: &[Value]) -> gotmpl::Result<Value> {
    let Some((value, keys)) = arguments.split_first() else {
        return Err(TemplateError::Exec("wrong number of args for index: want at least 1 got 0".to_owned()));
    };
    let mut value = value.clone();
    for key in keys {
        let next = value.index(key)?;
        let is_text = || known(objects, &value).is_some_and(|object| object.texts);
        value = if matches!(next, Value::Nil) && is_text() { Value::String(Arc::from("")) } else { next };
    }
    Ok(value)
}

/// The value as JSON, in the order it came.
fn to_json(objects: &Objects, value: &Value) -> Json {
    if let Some(object) = known(objects, value) {
        return object.json;
    }
    match value {
        Value::Nil | Value::Function(_) => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(number) => Json::from(*number),
        Value::Uint(number) => Json::from(*number),
        Value::Float(number) => Json::from(*number),
        Value::String(text) => Json::String(text.to_string()),
        Value::List(items) => Json::Array(items.iter().map(|item| to_json(objects, item)).collect()),
        Value::Map(map) => map
            .iter()
            .filter(|(_, value)| !matches!(value, Value::Function(_)))
            .map(|(key, value)| (key.to_string(), to_json(objects, value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

/// What is printed: structs as Go prints them, `{a b c}`, also inside lists and maps; all else is left as it is.
fn printed(objects: &Objects, value: &Value) -> Value {
    match value {
        Value::Nil if NIL_POINTER.get() => Value::String(Arc::from("<nil>")),
        Value::Map(_) | Value::List(_) => Value::String(Arc::from(text_of(objects, value).as_str())),
        other => other.clone(),
    }
}

fn text_of(objects: &Objects, value: &Value) -> String {
    let join = |parts: Vec<String>| parts.join(" ");
    match value {
        Value::Nil => "<nil>".to_owned(),
        Value::List(items) => {
            format!("[{}]", join(items.iter().map(|item| text_of(objects, item)).collect()))
        }
        Value::Map(map) => {
            let fields = known(objects, value).and_then(|object| schema::fields(object.type_name));
            let Some(fields) = fields else {
                let entries = map.iter().map(|(key, value)| format!("{key}:{}", text_of(objects, value)));
                return format!("map[{}]", join(entries.collect()));
            };
            let values = fields
                .iter()
                .map(|field| map.get(field.name).map_or("<nil>".to_owned(), |value| text_of(objects, value)));
            format!("{{{}}}", join(values.collect()))
        }
        other => other.to_string(),
    }
}

thread_local! {
    /// Whether the last field that was looked up is a pointer of a struct that points nowhere: printed, it is `<nil>`,
    /// where a missing key is `<no value>`.
    static NIL_POINTER: Cell<bool> = const { Cell::new(false) };
}
