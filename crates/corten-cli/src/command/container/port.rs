//! `port`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use corten_api::container::{PortBinding, PortMap};

pub(crate) const ENTRY: Entry = Entry {
    name: "container port",
    aliases: &["port"],
    usage: "CONTAINER [PRIVATE_PORT[/PROTO]]",
    count: Count::Range(1, 2),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// List port mappings or a specific mapping for the container
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Container
    container: String,
    /// Port in the container
    port: Option<String>,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let container = context.client()?.container_inspect(&arguments.container, false)?;
    let ports = container.pointer("/NetworkSettings/Ports").cloned().unwrap_or_default();
    let ports: PortMap =
        serde_json::from_value::<Option<PortMap>>(ports).unwrap_or_default().unwrap_or_default();
    let address = |binding: &PortBinding| {
        let ip = &binding.host_ip;
        if ip.contains(':') {
            format!("[{ip}]:{}", binding.host_port)
        } else {
            format!("{ip}:{}", binding.host_port)
        }
    };
    if let Some(port) = &arguments.port {
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        if number.parse::<u16>().is_err() {
            return Err(CliError::said(format!(
                "Error: invalid port ({number}): strconv.ParseUint: parsing \"{number}\": invalid syntax"
            )));
        }
        let key = format!("{number}/{protocol}");
        let Some(Some(bindings)) = ports.get(&key).filter(|bindings| bindings.is_some()) else {
            return Err(CliError::said(format!(
                "Error: No public port '{key}' published for {}",
                arguments.container
            )));
        };
        for binding in bindings {
            context.ui.line(address(binding))?;
        }
        return Ok(0);
    }
    let mut lines: Vec<(u16, String)> = Vec::new();
    for (key, bindings) in &ports {
        let number = key.split('/').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        for binding in bindings.iter().flatten() {
            lines.push((number, format!("{key} -> {}", address(binding))));
        }
    }
    lines.sort();
    for (_, line) in lines {
        context.ui.line(line)?;
    }
    Ok(0)
}
