//! Go templates with Docker's functions.
//!
//! The template engine knows maps only. What Go templates see besides – structs whose missing fields are errors,
//! methods with arguments (`.Label "x"`), documents that keep their order in `json` – is added by rewriting the parsed
//! template: every field access becomes a call of a function, which looks up what it was given in a side table by the
//! identity of the shared map.

use super::Row;
use super::data::{Data, Objects};
use super::functions::functions;
use super::rewrite::{check_functions, rewrite_list};
use crate::error::{CliError, Result};
use gotmpl::parse::Parser;
use gotmpl::{TemplateError, Value, ValueFunc};
use std::collections::BTreeMap;
use std::sync::Arc;

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
    use super::super::Kind;
    use super::*;
    use serde_json::{Value as Json, json};

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
