//! `list`: all containers of a root.

use std::fmt::Write;

use super::{Command, HELP};
use crate::Context;
use crate::arguments::{Arguments, Flag, Kind};
use crate::failure::{Failure, Result};

pub(super) const COMMAND: Command = Command {
    name: "list",
    about: "List the containers of a root folder",
    positional: "",
    flags: FLAGS,
    makes_processes: false,
    run,
};

const FLAGS: &[Flag] = &[
    Flag::new("format", Kind::Value, "table (the default) or json").short('f'),
    Flag::new("quiet", Kind::Switch, "ids only").short('q'),
    HELP,
];

fn run(context: &mut Context, arguments: &Arguments) -> Result<i32> {
    let mut summaries = Vec::new();
    for id in context.root.ids() {
        // It may be deleted while we look.
        if let Ok((folder, state)) = context.root.load(&id) {
            let status = folder.status(&state);
            summaries.push((status, state));
        }
    }
    if arguments.is_set("quiet") {
        for (_, state) in &summaries {
            println!("{}", state.id);
        }
        return Ok(0);
    }
    match arguments.value("format") {
        None | Some("" | "table") => {
            let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
            for (status, state) in &summaries {
                let summary = state.summary(*status);
                let text = |key: &str| match &summary[key] {
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                rows.push(["id", "pid", "status", "bundle", "created", "owner"].map(text));
            }
            print!("{}", columns(&rows));
        }
        Some("json") => {
            let all: Vec<_> = summaries.iter().map(|(status, state)| state.summary(*status)).collect();
            println!("{}", serde_json::Value::from(all));
        }
        Some(other) => return Err(Failure::new(format!("invalid format option {other:?}"))),
    }
    Ok(0)
}

/// Columns at least 12 wide, as runc's.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [11; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut text = String::new();
    for row in rows {
        for (index, cell) in row.iter().enumerate() {
            if index + 1 == N {
                text.push_str(cell);
            } else {
                let _ = write!(text, "{cell:<width$} ", width = widths[index]);
            }
        }
        text.push('\n');
    }
    text
}
