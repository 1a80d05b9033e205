//! `version`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::format::{Data, Kind, Template};
use corten_api::system::{Component, Version};
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
            "GitCommit": "",
            "GoVersion": "",
            "Os": "linux",
            "Arch": architecture(),
            "BuildTime": "",
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
            row("Built", detail("BuildTime"))?;
            row("OS/Arch", format!("{}/{}", detail("Os"), detail("Arch")))?;
            row("Experimental", detail("Experimental"))?;
        } else {
            row("GitCommit", detail("GitCommit"))?;
        }
    }
    Ok(())
}
