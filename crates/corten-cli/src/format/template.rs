//! Go templates with Docker's functions.
//!
//! The template engine knows maps only. What Go templates see besides – structs whose missing fields are errors,
//! methods with arguments (`.Label "x"`), documents that keep their order in `json` – is added by rewriting the parsed
//! template: every field access becomes a call of [`access`], which looks up what it was given in a side table by the
//! identity of the shared map.

use super::schema::{self, Kind};
use super::{Cell as RowCell, Row};
use crate::error::{CliError, Result};
use crate::time;
use corten_std::Timestamp;
use gotmpl::parse::{ActionNode, BranchNode, CommandNode, Expr, ListNode, Node, Parser, PipeNode, Pos};
use gotmpl::{TemplateError, Value, ValueFunc};
use serde_json::Value as Json;
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

/// Names that no template can spell.
const ACCESS: &str = "\u{1}access";
const PRINT: &str = "\u{1}print";

/// The name of a list's row where a struct's would stand.
const ROW: &str = "formatter row";

/// A compiled template.
pub(crate) struct Template {
    inner: gotmpl::Template,
    objects: Objects,
    source: String,
}

impl std::fmt::Debug for Template {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Template").field(&self.source).finish()
    }
}

/// What is known of the shared maps and lists of the data at hand, by their address.
type Objects = Arc<Mutex<HashMap<usize, Object>>>;

#[derive(Debug, Clone)]
struct Object {
    /// The struct's name where it is one: other fields are errors. Empty for maps and lists.
    type_name: &'static str,
    /// How `json` writes it.
    json: Json,
    /// Missing keys of a map are errors.
    strict: bool,
    /// A map of texts: `index` gives the empty text for a missing key.
    texts: bool,
}

impl Template {
    /// Compiles; a mistake is an error with exit code 64, as in Docker.
    pub(crate) fn compile(source: &str) -> Result<Self> {
        Self::compile_with(source, false)
    }

    fn compile_with(source: &str, header: bool) -> Result<Self> {
        let bad = |error: TemplateError| CliError::Said {
            text: format!("template parsing error: {}", parse_message(&error)),
            code: 64,
        };
        let (mut tree, defines) =
            Parser::with_name(None, source, "{{", "}}").and_then(Parser::parse).map_err(bad)?;
        check_functions(&tree).map_err(|name| CliError::Said {
            text: format!("template parsing error: template: :1: function \"{name}\" not defined"),
            code: 64,
        })?;
        rewrite_list(&mut tree);
        let objects = Objects::default();
        let mut inner = gotmpl::Template::new("").add_parse_tree("main", tree);
        for mut define in defines {
            rewrite_list(&mut define.body);
            inner = inner.add_parse_tree(&define.name, define.body);
        }
        // The engine wants a body of its own; ours is called by name, so that `$` and definitions work.
        inner = inner.parse("{{template \"main\" .}}").map_err(bad)?;
        for (name, function) in functions(&objects, header) {
            inner = inner.func(name, move |arguments| function(arguments));
        }
        Ok(Self { inner, objects, source: source.to_owned() })
    }

    /// The header line of a table: column names become their texts, functions do nothing.
    pub(super) fn header(&self, headers: &[(&str, &str)]) -> Result<String> {
        let template = Self::compile_with(&self.source, true)?;
        let map: BTreeMap<Arc<str>, Value> =
            headers.iter().map(|(name, text)| (Arc::from(*name), Value::String(Arc::from(*text)))).collect();
        let mut data = Data::empty();
        let label: ValueFunc =
            Arc::new(|arguments| Ok(Value::String(Arc::from(label_header(arguments).as_str()))));
        let mut map = map;
        map.insert(Arc::from("Label"), Value::Function(label));
        data.value = Value::Map(Arc::new(map));
        template.execute(&data).map_err(failed)
    }

    /// A row's text.
    pub(super) fn row(&self, row: &Row, text: &mut String) -> Result<()> {
        let data = Data::row(row, self.source.contains("json"));
        text.push_str(&self.execute(&data).map_err(failed)?);
        Ok(())
    }

    /// Fills the template in.
    pub(crate) fn execute(&self, data: &Data) -> std::result::Result<String, String> {
        if let Ok(mut objects) = self.objects.lock() {
            objects.clone_from(&data.objects);
        }
        self.inner.execute_to_string(&data.value).map_err(|error| execution_message(&error))
    }
}

fn failed(error: String) -> CliError {
    CliError::said(format!("failed to execute template: {error}"))
}

/// The header over `.Label "com.example.name"`: the last part of the name.
fn label_header(arguments: &[Value]) -> String {
    let name = arguments.first().and_then(Value::as_str).unwrap_or_default();
    name.rsplit('.').next().unwrap_or(name).replace(['-', '_'], " ")
}

/// What a template is filled with.
#[derive(Debug)]
pub(crate) struct Data {
    value: Value,
    objects: HashMap<usize, Object>,
}

impl Data {
    fn empty() -> Self {
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

    fn row(row: &Row, with_json: bool) -> Self {
        let mut data = Self::empty();
        let mut map: BTreeMap<Arc<str>, Value> = BTreeMap::new();
        let mut json = BTreeMap::new();
        for (name, cell) in &row.cells {
            let value = match cell {
                RowCell::Text(text) => Value::String(Arc::from(text.as_str())),
                RowCell::Document(document) => data.of_json(document, false),
            };
            map.insert(Arc::from(*name), value);
            if with_json {
                let value = match cell {
                    RowCell::Text(text) => Json::String(text.clone()),
                    RowCell::Document(document) => document.clone(),
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
fn known(objects: &Objects, value: &Value) -> Option<Object> {
    let address = match value {
        Value::Map(map) => Arc::as_ptr(map).cast::<u8>() as usize,
        Value::List(list) => list.as_ptr().cast::<u8>() as usize,
        _ => return None,
    };
    objects.lock().ok()?.get(&address).cloned()
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

const FUNCTION_NAMES: &[&str] =
    &["json", "split", "join", "title", "lower", "upper", "pad", "truncate", ACCESS, PRINT];

/// Docker's functions. In a header all but `pad` give back what they got.
fn functions(objects: &Objects, header: bool) -> Vec<(&'static str, ValueFunc)> {
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

/// Finds the name of a function that does not exist: Go refuses those when it parses.
fn check_functions(list: &ListNode) -> std::result::Result<(), String> {
    const BUILT_IN: &[&str] = &[
        "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "print", "printf",
        "println", "html", "js", "urlquery", "call",
    ];
    let expression = |expr: &Expr| match expr {
        Expr::Identifier(_, name)
            if !BUILT_IN.contains(&name.as_str()) && !FUNCTION_NAMES.contains(&name.as_str()) =>
        {
            Err(name.to_string())
        }
        Expr::Pipe(_, pipe) => check_pipe(pipe),
        _ => Ok(()),
    };
    fn check_pipe(pipe: &PipeNode) -> std::result::Result<(), String> {
        check_functions(&ListNode {
            pos: pipe.pos,
            nodes: vec![Node::Action(ActionNode { pos: pipe.pos, pipe: pipe.clone() })],
        })
    }
    let pipe =
        |pipe: &PipeNode| pipe.commands.iter().flat_map(|command| &command.args).try_for_each(expression);
    let branch = |branch: &BranchNode| {
        pipe(&branch.pipe)?;
        check_functions(&branch.body)?;
        branch.else_body.as_ref().map_or(Ok(()), check_functions)
    };
    list.nodes.iter().try_for_each(|node| match node {
        Node::List(list) => check_functions(list),
        Node::Action(action) => pipe(&action.pipe),
        Node::If(node) | Node::Range(node) | Node::With(node) => branch(node),
        Node::Template(node) => node.pipe.as_ref().map_or(Ok(()), pipe),
        Node::Define(define) => check_functions(&define.body),
        Node::Text(_) | Node::Break(_) | Node::Continue(_) => Ok(()),
    })
}

fn rewrite_list(list: &mut ListNode) {
    for node in &mut list.nodes {
        match node {
            Node::List(list) => rewrite_list(list),
            Node::Action(action) => {
                rewrite_pipe(&mut action.pipe);
                if action.pipe.decl.is_empty() {
                    let pos = action.pos;
                    let command = CommandNode { pos, args: vec![Expr::Identifier(pos, PRINT.into())] };
                    action.pipe.commands.push(command);
                }
            }
            Node::If(branch) | Node::Range(branch) | Node::With(branch) => {
                rewrite_pipe(&mut branch.pipe);
                rewrite_list(&mut branch.body);
                if let Some(body) = &mut branch.else_body {
                    rewrite_list(body);
                }
            }
            Node::Template(node) => {
                if let Some(pipe) = &mut node.pipe {
                    rewrite_pipe(pipe);
                }
            }
            Node::Define(define) => rewrite_list(&mut define.body),
            Node::Text(_) | Node::Break(_) | Node::Continue(_) => {}
        }
    }
}

fn rewrite_pipe(pipe: &mut PipeNode) {
    for command in &mut pipe.commands {
        let mut arguments = std::mem::take(&mut command.args);
        let rest = arguments.split_off(1.min(arguments.len()));
        // The first word may be a method: the words behind it are its arguments.
        if let Some(first) = arguments.pop() {
            match accessed(first) {
                Ok(words) => command.args = words,
                Err(first) => command.args.push(rewrite_expression(first)),
            }
        }
        command.args.extend(rest.into_iter().map(rewrite_expression));
    }
}

fn rewrite_expression(expression: Expr) -> Expr {
    match accessed(expression) {
        Ok(args) => {
            let pos = args[0].pos();
            let commands = vec![CommandNode { pos, args }];
            Expr::Pipe(pos, PipeNode { pos, decl: Vec::new(), commands, is_assign: false })
        }
        Err(Expr::Pipe(pos, mut pipe)) => {
            rewrite_pipe(&mut pipe);
            Expr::Pipe(pos, pipe)
        }
        Err(other) => other,
    }
}

/// A field access as the words of a call of [`access`]; anything else is given back.
fn accessed(expression: Expr) -> std::result::Result<Vec<Expr>, Expr> {
    let call = |pos: Pos, target: Expr, fields: Vec<gotmpl::parse::SmolStr>| {
        let path = fields.join(".");
        vec![Expr::Identifier(pos, ACCESS.into()), target, Expr::String(pos, Arc::from(path.as_str()))]
    };
    match expression {
        Expr::Field(pos, fields) if !fields.is_empty() => Ok(call(pos, Expr::Dot(pos), fields)),
        Expr::Variable(pos, name, fields) if !fields.is_empty() => {
            Ok(call(pos, Expr::Variable(pos, name, Vec::new()), fields))
        }
        Expr::Chain(pos, inner, fields) if !fields.is_empty() => {
            Ok(call(pos, rewrite_expression(*inner), fields))
        }
        other => Err(other),
    }
}

fn parse_message(error: &TemplateError) -> String {
    match error {
        TemplateError::Parse { line, message, .. } | TemplateError::Lex { line, message, .. } => {
            format!("template: :{line}: {message}")
        }
        other => other.to_string(),
    }
}

fn execution_message(error: &TemplateError) -> String {
    let text = match error {
        TemplateError::Exec(text) => text.clone(),
        other => other.to_string(),
    };
    format!("template: :1:2: executing \"\" {text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(document: &Json, template: &str, expected: &str) {
        let template = Template::compile(template).unwrap();
        let text = super::super::inspected_text(&template, Kind::Container, document)
            .unwrap_or_else(|error| format!("error: {}", error.text()));
        assert_eq!(text, expected);
    }

    #[test]
    fn inspect_templates() {
        let document = json!({
            "Id": "abc", "Created": "2026", "Args": ["one", "two"], "Path": "echo",
            "State": {"Status": "running", "Running": true, "Pid": 7, "ExitCode": 0},
            "HostConfig": {"CapAdd": null, "NanoCpus": 5, "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
                "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}},
            "Config": {"Labels": {"b": "2", "a": "1"}, "Healthcheck": {"Interval": 90_000_000_000_i64}},
        });
        for (template, expected) in [
            (
                "{{.Id}} {{.ID}}",
                "error: template parsing error: template: :1:2: executing \"\" at <.ID>: map has no entry for key \"ID\"",
            ),
            ("{{.ID}} {{.HostConfig.NanoCPUs}}", "abc 5"),
            ("{{.Id}} {{.HostConfig.NanoCpus}}", "abc 5"),
            (
                "{{.NoSuch}}",
                "error: template parsing error: template: :1:2: executing \"\" at <.NoSuch>: map has no entry for key \"NoSuch\"",
            ),
            (
                "{{.Config.Labels.a}} {{.Config.Labels.none}} [{{index .Config.Labels \"none\"}}]",
                "1 <no value> []",
            ),
            ("{{json .HostConfig.RestartPolicy}}", "{\"Name\":\"no\",\"MaximumRetryCount\":0}"),
            (
                "{{.HostConfig.NanoCpus}}{{json .HostConfig.RestartPolicy}}",
                "5{\"MaximumRetryCount\":0,\"Name\":\"no\"}",
            ),
            (
                "{{json .Config.Labels}} {{json .HostConfig.CapAdd}} {{.HostConfig.CapAdd}} {{len .HostConfig.Binds}}",
                "{\"a\":\"1\",\"b\":\"2\"} null [] 0",
            ),
            ("{{.Config.Labels}} {{.Args}}", "map[a:1 b:2] [one two]"),
            ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "a=1;b=2;"),
            ("{{with .State}}{{.Status}} {{.Pid}} {{gt .Pid 0}}{{end}}", "running 7 true"),
            ("{{.Config.Healthcheck.Interval}}", "1m30s"),
            ("{{(index .HostConfig.PortBindings \"80/tcp\" 0).HostPort}}", "8080"),
            ("{{(index (index .HostConfig.PortBindings \"80/tcp\") 0).HostPort}}", "8080"),
            (
                "{{join .Args \"+\"}} {{upper .Path}} {{title .Path}} {{slice .Path 1 3}} {{printf \"%05d|%-6s|%q\" 42 .Path .Path}}",
                "one+two ECHO Echo ch 00042|echo  |\"echo\"",
            ),
            ("{{pad .Path 1 2}}| {{truncate .Path 2}}", " echo  | ec"),
            ("{{range split \"a,b\" \",\"}}[{{.}}]{{end}}", "[a][b]"),
            ("{{.HostConfig.RestartPolicy}} {{.State.Health}}", "{no 0} <nil>"),
            ("{{.HostConfig.PortBindings}}", "map[80/tcp:[{ 8080}]]"),
        ] {
            check(&document, template, expected);
        }
    }

    #[test]
    fn unknown_functions_are_parse_errors() {
        let error = Template::compile("{{nosuch .}}").unwrap_err();
        assert!(error.text().contains("function \"nosuch\" not defined"), "{}", error.text());
        assert!(Template::compile("{{.a").is_err());
    }
}
