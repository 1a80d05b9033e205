//! `system df`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;
use crate::format::{List, Row};
use corten_api::system::DiskUsage;
use corten_std::size;

pub(crate) const ENTRY: Entry = Entry {
    name: "system df",
    aliases: &[],
    usage: "[OPTIONS]",
    count: Count::None,
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Show docker disk usage
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Format output: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Show detailed information on space usage
    #[arg(short, long)]
    verbose: bool,
}

const HEADERS: &[(&str, &str)] = &[
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let usage = context.client()?.disk_usage()?;
    let format = arguments.format.as_deref().map(str::trim).filter(|format| !matches!(*format, "" | "table"));
    if arguments.verbose {
        return super::df_verbose::print(context, &usage, format);
    }
    let format =
        format.unwrap_or("table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}");
    let rows = [images(&usage), containers(&usage), volumes(&usage), build_cache(&usage)];
    List { format, headers: HEADERS }.print(&mut context.ui, rows)?;
    Ok(0)
}

fn row(kind: &str, total: usize, active: usize, bytes: i64, reclaimable: i64, with_percent: bool) -> Row {
    let mut text = size::human(reclaimable.max(0) as f64);
    if with_percent && bytes > 0 {
        text = format!("{text} ({}%)", reclaimable * 100 / bytes);
    }
    Row::new()
        .with("Active", active.to_string())
        .with("Reclaimable", text)
        .with("Size", size::human(bytes as f64))
        .with("TotalCount", total.to_string())
        .with("Type", kind)
}

fn images(usage: &DiskUsage) -> Row {
    let images = usage.images.as_deref().unwrap_or_default();
    let active = images.iter().filter(|image| image.containers > 0).count();
    let used: i64 = images
        .iter()
        .filter(|image| image.containers != 0 && image.size != -1 && image.shared_size != -1)
        .map(|image| image.size - image.shared_size)
        .sum();
    row("Images", images.len(), active, usage.layers_size, usage.layers_size - used, true)
}

fn containers(usage: &DiskUsage) -> Row {
    let containers = usage.containers.as_deref().unwrap_or_default();
    let is_active = |state: &str| matches!(state, "running" | "paused" | "restarting");
    let active = containers.iter().filter(|container| is_active(&container.state)).count();
    let bytes = containers.iter().map(|container| container.size_rw).sum();
    let idle = containers
        .iter()
        .filter(|container| !is_active(&container.state))
        .map(|container| container.size_rw)
        .sum();
    row("Containers", containers.len(), active, bytes, idle, true)
}

fn volumes(usage: &DiskUsage) -> Row {
    let volumes = usage.volumes.as_deref().unwrap_or_default();
    let sizes = || volumes.iter().filter_map(|volume| volume.usage_data.as_ref());
    let active = sizes().filter(|usage| usage.ref_count > 0).count();
    let bytes = sizes().filter(|usage| usage.size != -1).map(|usage| usage.size).sum();
    let idle = sizes().filter(|usage| usage.size != -1 && usage.ref_count == 0).map(|usage| usage.size).sum();
    row("Local Volumes", volumes.len(), active, bytes, idle, true)
}

fn build_cache(usage: &DiskUsage) -> Row {
    let records = usage.build_cache.as_deref().unwrap_or_default();
    let number =
        |record: &serde_json::Value| record.get("Size").and_then(serde_json::Value::as_i64).unwrap_or(0);
    let flag = |record: &serde_json::Value, key: &str| {
        record.get(key).and_then(serde_json::Value::as_bool) == Some(true)
    };
    let active = records.iter().filter(|record| flag(record, "InUse")).count();
    let bytes = records.iter().filter(|record| !flag(record, "Shared")).map(number).sum();
    let idle =
        records.iter().filter(|record| !flag(record, "InUse") && !flag(record, "Shared")).map(number).sum();
    row("Build Cache", records.len(), active, bytes, idle, false)
}
