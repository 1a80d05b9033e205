//! `version`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::format::{Data, Kind, Template};
use corten_api::system::{Component, Version};
use corten_std::Timestamp;
use serde_json::json;

pub(crate) const ENTRY: Entry = Entry {
    name: "version",
    aliases: &[],
    usage: "[OPTIONS]",
    count: Count::None,
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Show the Docker version information
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Format output: 'json', or a Go template
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let format = arguments.format.as_deref().map(str::trim).filter(|format| !format.is_empty());
    let template = match format {
        None | Some("json") => None,
        Some(source) => Some(Template::compile(source)?),
    };
    let client = context.client()?;
    let server = client.server_version().map_err(CliError::from);
    let (server, error) = match server {
        Ok(server) => (server, None),
        Err(error) => (serde_json::Value::Null, Some(error)),
    };
    let api_version = match &error {
        None => client.version()?.to_owned(),
        Some(_) => corten_client::NEWEST_VERSION.to_owned(),
    };
    let document = json!({
        "Client": {
            "Version": env!("CARGO_PKG_VERSION"),
            "ApiVersion": api_version,
            "DefaultAPIVersion": corten_client::NEWEST_VERSION,
            "GitCommit": corten_std::build::COMMIT,
            "GoVersion": "",
            "Os": "linux",
            "Arch": architecture(),
            "BuildTime": build_time(&corten_std::build::time()),
            "Context": client.target().context,
        },
        "Server": server,
    });
    match (&template, format) {
        (Some(template), _) => {
            let text = template
                .execute(&Data::typed(Kind::Version, &document))
                .map_err(|error| CliError::said(format!("failed to execute template: {error}")))?;
            context.ui.line(text)?;
        }
        (None, Some(_)) => context.ui.line(document.to_string())?,
        (None, None) => plain(context, &document)?,
    }
    match error {
        None => Ok(0),
        Some(error) => Err(error),
    }
}

/// As Go names it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A date as Docker's client shows it; what is no date stays as it is.
fn build_time(text: &str) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let Some(at) = Timestamp::parse(text) else { return text.to_owned() };
    let (year, month, day, hour, minute, second) = at.civil();
    let weekday = DAYS[at.unix_seconds().div_euclid(86_400).rem_euclid(7) as usize];
    let month = MONTHS[month.clamp(1, 12) as usize - 1];
    format!("{weekday} {month} {day:2} {hour:02}:{minute:02}:{second:02} {year}")
}

fn plain(context: &mut Context, document: &serde_json::Value) -> Result<()> {
    let client = &document["Client"];
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let is_docker = context.program == "docker";
    let ui = &mut context.ui;
    ui.line(if is_docker { "Client:" } else { "Client: Corten" })?;
    let mut row =
        |name: &str, value: String| ui.line(format!(" {:<18} {value}", format!("{name}:")).trim_end());
    row("Version", text(&client["Version"]))?;
    row("API version", text(&client["ApiVersion"]))?;
    for (name, field) in [("Git commit", "GitCommit"), ("Built", "BuildTime")] {
        let value = text(&client[field]);
        if !value.is_empty() {
            row(name, value)?;
        }
    }
    row("OS/Arch", format!("{}/{}", text(&client["Os"]), text(&client["Arch"])))?;
    row("Context", text(&client["Context"]))?;
    let Ok(server) = serde_json::from_value::<Version>(document["Server"].clone()) else { return Ok(()) };
    let platform =
        if server.platform.name.is_empty() { String::new() } else { format!(" {}", server.platform.name) };
    ui.line(format!("\nServer:{platform}"))?;
    let mut components = server.components.clone();
    if components.is_empty() {
        let details = [
            ("ApiVersion", &server.api_version),
            ("MinAPIVersion", &server.min_api_version),
            ("Os", &server.os),
            ("Arch", &server.arch),
        ];
        components.push(Component {
            name: "Engine".to_owned(),
            version: server.version.clone(),
            details: details.into_iter().map(|(name, value)| (name.to_owned(), value.clone())).collect(),
        });
    }
    for component in components {
        ui.line(format!(" {}:", component.name))?;
        let detail = |name: &str| component.details.get(name).cloned().unwrap_or_default();
        let mut row =
            |name: &str, value: String| ui.line(format!("  {:<17} {value}", format!("{name}:")).trim_end());
        row("Version", component.version.clone())?;
        if component.name == "Engine" {
            row(
                "API version",
                format!("{} (minimum version {})", detail("ApiVersion"), detail("MinAPIVersion")),
            )?;
            if !detail("GoVersion").is_empty() {
                row("Go version", detail("GoVersion"))?;
            }
            row("Git commit", detail("GitCommit"))?;
            row("Built", build_time(&detail("BuildTime")))?;
            row("OS/Arch", format!("{}/{}", detail("Os"), detail("Arch")))?;
            row("Experimental", detail("Experimental"))?;
        } else {
            row("GitCommit", detail("GitCommit"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_shown_with_their_day() {
        assert_eq!(build_time("2026-09-15T11:02:57.000000000+00:00"), "Tue Sep 15 11:02:57 2026");
        assert_eq!(build_time("2026-01-01T00:00:00Z"), "Thu Jan  1 00:00:00 2026");
        assert_eq!(build_time(""), "");
    }
}
