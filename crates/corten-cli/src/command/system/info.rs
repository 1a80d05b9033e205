//! `info`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::format::{Data, Kind, Template};
use corten_api::system::Info;
use corten_std::size;
use serde_json::json;

pub(crate) const ENTRY: Entry = Entry {
    name: "system info",
    aliases: &["info"],
    usage: "[OPTIONS]",
    count: Count::None,
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Display system-wide information
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
    let mut object = client.info()?;
    let current = client.target().context.clone();
    if let Some(entries) = object.as_object_mut() {
        let about = json!({
            "Debug": false,
            "Version": env!("CARGO_PKG_VERSION"),
            "GitCommit": corten_std::build::COMMIT,
            "GoVersion": "",
            "Os": "linux",
            "Arch": crate::command::version::architecture(),
            "BuildTime": corten_std::build::time(),
            "Context": current,
            "Plugins": [],
            "Warnings": null,
        });
        entries.insert("ClientInfo".to_owned(), about);
    }
    match (&template, format) {
        (Some(template), _) => {
            let text = template
                .execute(&Data::typed(Kind::Info, &object))
                .map_err(|error| CliError::said(format!("failed to execute template: {error}")))?;
            context.ui.line(text)?;
        }
        (None, Some(_)) => context.ui.line(object.to_string())?,
        (None, None) => {
            let info: Info = serde_json::from_value(object).map_err(|error| {
                CliError::said(format!("the daemon's information cannot be read: {error}"))
            })?;
            context.ui.data(plain(&info, &current).as_bytes())?;
            for warning in info.warnings.unwrap_or_default() {
                context.ui.note(warning);
            }
        }
    }
    Ok(0)
}

fn plain(info: &Info, current: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut line = |text: String| lines.push(text);
    line("Client:".to_owned());
    line(format!(" Version:    {}", env!("CARGO_PKG_VERSION")));
    line(format!(" Context:    {current}"));
    line(" Debug Mode: false".to_owned());
    line("\nServer:".to_owned());
    line(format!(" Containers: {}", info.containers));
    line(format!("  Running: {}", info.containers_running));
    line(format!("  Paused: {}", info.containers_paused));
    line(format!("  Stopped: {}", info.containers_stopped));
    line(format!(" Images: {}", info.images));
    let some = |name: &str, value: &str| (!value.is_empty()).then(|| format!(" {name}: {value}"));
    some("Server Version", &info.server_version).into_iter().for_each(&mut line);
    some("Storage Driver", &info.driver).into_iter().for_each(&mut line);
    for [name, value] in &info.driver_status {
        line(format!("  {name}: {value}"));
    }
    some("Logging Driver", &info.logging_driver).into_iter().for_each(&mut line);
    some("Cgroup Driver", &info.cgroup_driver).into_iter().for_each(&mut line);
    some("Cgroup Version", &info.cgroup_version).into_iter().for_each(&mut line);
    line(" Plugins:".to_owned());
    line(format!("  Volume: {}", info.plugins.volume.join(" ")));
    line(format!("  Network: {}", info.plugins.network.join(" ")));
    line(format!("  Log: {}", info.plugins.log.join(" ")));
    if !info.cdi_spec_dirs.is_empty() {
        line(" CDI spec directories:".to_owned());
        info.cdi_spec_dirs.iter().for_each(|folder| line(format!("  {folder}")));
    }
    line(format!(" Swarm: {}", info.swarm.local_node_state));
    let runtimes: Vec<&str> = info.runtimes.keys().map(String::as_str).collect();
    if !runtimes.is_empty() {
        line(format!(" Runtimes: {}", runtimes.join(" ")));
        line(format!(" Default Runtime: {}", info.default_runtime));
    }
    line(format!(" Init Binary: {}", info.init_binary));
    line(format!(" containerd version: {}", info.containerd_commit.id));
    line(format!(" runc version: {}", info.runc_commit.id));
    line(format!(" init version: {}", info.init_commit.id));
    if !info.security_options.is_empty() {
        line(" Security Options:".to_owned());
        for option in &info.security_options {
            let mut fields = option.split(',').filter_map(|field| field.split_once('='));
            line(format!("  {}", fields.next().map_or(option.as_str(), |(_, name)| name)));
            for (name, value) in fields {
                line(format!("   {}: {value}", capital(name)));
            }
        }
    }
    for (name, value) in [
        ("Kernel Version", &info.kernel_version),
        ("Operating System", &info.operating_system),
        ("OSType", &info.os_type),
        ("Architecture", &info.architecture),
    ] {
        some(name, value).into_iter().for_each(&mut line);
    }
    line(format!(" CPUs: {}", info.ncpu));
    line(format!(" Total Memory: {}", size::binary(info.mem_total as f64)));
    for (name, value) in [("Name", &info.name), ("ID", &info.id), ("Docker Root Dir", &info.docker_root_dir)]
    {
        some(name, value).into_iter().for_each(&mut line);
    }
    line(format!(" Debug Mode: {}", info.debug));
    for (name, value) in
        [("HTTP Proxy", &info.http_proxy), ("HTTPS Proxy", &info.https_proxy), ("No Proxy", &info.no_proxy)]
    {
        some(name, value).into_iter().for_each(&mut line);
    }
    if !info.labels.is_empty() {
        line(" Labels:".to_owned());
        info.labels.iter().for_each(|label| line(format!("  {label}")));
    }
    line(format!(" Experimental: {}", info.experimental_build));
    if let Some(registries) =
        info.registry_config.as_ref().filter(|config| !config.insecure_registry_cidrs.is_empty())
    {
        line(" Insecure Registries:".to_owned());
        registries.insecure_registry_cidrs.iter().for_each(|subnet| line(format!("  {subnet}")));
    }
    line(format!(" Live Restore Enabled: {}", info.live_restore_enabled));
    lines.join("\n") + "\n\n"
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
