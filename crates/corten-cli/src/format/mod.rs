//! What `--format` does: tables, Go templates, JSON.

mod columns;
mod data;
mod functions;
mod json;
mod rewrite;
mod schema;
mod template;

pub(crate) use data::Data;
pub(crate) use json::pretty;
pub(crate) use schema::Kind;
pub(crate) use template::Template;

use crate::error::{CliError, Result};
use crate::ui::Ui;

/// A list's row: column names with their texts, in the order in which they are declared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    cells: Vec<(&'static str, Cell)>,
    labels: Vec<(String, String)>,
    has_labels: bool,
}

/// A cell.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    /// What most are.
    Text(String),
    /// A nested document, kept as it is.
    Document(serde_json::Value),
}

impl Row {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a column.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.cells.push((name, Cell::Text(text.into())));
        self
    }

    /// Adds a column that is a document.
    #[must_use]
    pub(crate) fn with_document(mut self, name: &'static str, document: serde_json::Value) -> Self {
        self.cells.push((name, Cell::Document(document)));
        self
    }

    /// All columns as a document.
    pub(crate) fn document(&self) -> serde_json::Value {
        let entries = self.cells.iter().map(|(name, cell)| {
            let value = match cell {
                Cell::Text(text) => serde_json::Value::String(text.clone()),
                Cell::Document(document) => document.clone(),
            };
            ((*name).to_owned(), value)
        });
        serde_json::Value::Object(entries.collect())
    }

    /// What `.Label "name"` looks in.
    #[must_use]
    pub(crate) fn labelled<'a>(mut self, labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        self.labels = labels.into_iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        self.has_labels = true;
        self
    }
}

/// How a list is printed.
#[derive(Debug)]
pub(crate) struct List<'a> {
    /// What was asked for: `table …`, `json`, a template.
    pub(crate) format: &'a str,
    /// Header texts by column name.
    pub(crate) headers: &'a [(&'static str, &'static str)],
}

impl List<'_> {
    /// Prints all rows.
    pub(crate) fn print(&self, ui: &mut Ui, rows: impl IntoIterator<Item = Row>) -> Result<()> {
        let source = self.format.trim();
        if source == "json" {
            return Self::lines(ui, &Template::compile("{{json .}}")?, rows);
        }
        if let Some(source) = source.strip_prefix("table") {
            let template = list_template(&unescape(source.trim()))?;
            let mut text = template.header(self.headers)?;
            text.push('\n');
            for row in rows {
                template.row(&row, &mut text)?;
                text.push('\n');
            }
            return ui.data(columns::align(&text, columns::TABLE).as_bytes());
        }
        Self::lines(ui, &list_template(&unescape(source))?, rows)
    }

    fn lines(ui: &mut Ui, template: &Template, rows: impl IntoIterator<Item = Row>) -> Result<()> {
        let mut text = String::new();
        for row in rows {
            text.clear();
            template.row(&row, &mut text)?;
            ui.line(&text)?;
        }
        Ok(())
    }

    /// Whether the format asks for this column, so that what is expensive is fetched only then.
    pub(crate) fn wants(&self, column: &str) -> bool {
        self.format.contains(&format!(".{column}"))
    }
}

/// Lines with tabs as the table of `top`, whose columns have another least width than a list's.
pub(crate) fn align_top(text: &str) -> String {
    columns::align(text, columns::TOP)
}

/// Compiles a list's template; a mistake has its own text and code there.
fn list_template(source: &str) -> Result<Template> {
    Template::compile(source).map_err(|error| {
        CliError::said(error.text().replacen("template parsing error", "failed to parse template", 1))
    })
}

/// `\t` and `\n` as typed in a shell are meant as the characters.
fn unescape(source: &str) -> String {
    source.replace("\\t", "\t").replace("\\n", "\n")
}

/// Prints inspected objects: as an array, as JSON lines, or by a template.
pub(crate) fn inspected(
    ui: &mut Ui,
    format: Option<&str>,
    objects: &[(Kind, serde_json::Value)],
) -> Result<()> {
    match format.map(str::trim).filter(|format| !format.is_empty()) {
        None => {
            let all: Vec<&serde_json::Value> = objects.iter().map(|(_, object)| object).collect();
            ui.line(pretty(&all))
        }
        Some("json") => {
            let all: Vec<&serde_json::Value> = objects.iter().map(|(_, object)| object).collect();
            ui.line(serde_json::json!(all).to_string())
        }
        Some(source) => {
            let template = Template::compile(source)?;
            if objects.is_empty() {
                return ui.line("");
            }
            for (at, (kind, object)) in objects.iter().enumerate() {
                match inspected_text(&template, *kind, object) {
                    Ok(text) => ui.line(text)?,
                    Err(error) => {
                        if at == 0 {
                            ui.line("")?;
                        }
                        return Err(error);
                    }
                }
            }
            Ok(())
        }
    }
}

/// One object by a template: first by Docker's own field names, and where that fails by the names of the document.
pub(crate) fn inspected_text(template: &Template, kind: Kind, object: &serde_json::Value) -> Result<String> {
    template
        .execute(&Data::typed(kind, object))
        .or_else(|_| template.execute(&Data::plain(object)))
        .map_err(|error| CliError::said(format!("template parsing error: {error}")))
}
