//! `system df -v`: a table for each kind of object.

use crate::command::container::ls::{ellipsis, go_quote, labels};
use crate::command::image::ls as image;
use crate::command::volume::ls as volume;
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::format::{Data, List, Row, Template};
use crate::time;
use corten_api::container::Summary;
use corten_api::system::DiskUsage;
use corten_std::{Timestamp, id, size};
use serde_json::{Value, json};

const CONTAINER_HEADERS: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Size", "SIZE"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Names", "NAMES"),
];

/// Prints everything, or fills in a template once.
pub(super) fn print(context: &mut Context, usage: &DiskUsage, format: Option<&str>) -> Result<u8> {
    let now = Timestamp::now();
    let images = usage.images.as_deref().unwrap_or_default();
    let containers = usage.containers.as_deref().unwrap_or_default();
    let volumes = usage.volumes.as_deref().unwrap_or_default();
    let image_rows: Vec<Row> = images
        .iter()
        .filter_map(|summary| {
            let name = image::names(summary, false, true).into_iter().next()?;
            Some(image::row(summary, &name, true, now))
        })
        .collect();
    let container_rows: Vec<Row> = containers.iter().map(|container| container_row(container, now)).collect();
    let volume_rows: Vec<Row> = volumes.iter().map(volume::row).collect();
    if let Some(format) = format {
        let all = |rows: &[Row]| Value::Array(rows.iter().map(Row::document).collect());
        let document = json!({
            "Images": all(&image_rows),
            "Containers": all(&container_rows),
            "Volumes": all(&volume_rows),
            "BuildCache": usage.build_cache.clone().unwrap_or_default(),
        });
        let text = if format == "json" {
            document.to_string()
        } else {
            Template::compile(format)?
                .execute(&Data::plain(&document))
                .map_err(|error| CliError::said(format!("failed to execute template: {error}")))?
        };
        context.ui.line(text)?;
        return Ok(0);
    }
    let ui = &mut context.ui;
    ui.line("Images space usage:\n")?;
    let format = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
    List { format, headers: image::HEADERS }.print(ui, image_rows)?;
    ui.line("\nContainers space usage:\n")?;
    let format = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";
    List { format, headers: CONTAINER_HEADERS }.print(ui, container_rows)?;
    ui.line("\nLocal Volumes space usage:\n")?;
    List { format: "table {{.Name}}\t{{.Links}}\t{{.Size}}", headers: volume::HEADERS }
        .print(ui, volume_rows)?;
    let records = usage.build_cache.as_deref().unwrap_or_default();
    let cache: i64 = records.iter().filter_map(|record| record.get("Size")?.as_i64()).sum();
    ui.line(format!("\nBuild cache usage: {}\n", size::human(cache as f64)))?;
    ui.line("CACHE ID   CACHE TYPE   SIZE      CREATED   LAST USED   USAGE     SHARED")?;
    Ok(0)
}

fn container_row(container: &Summary, now: Timestamp) -> Row {
    let local = container.mounts.iter().filter(|mount| mount.driver == "local").count();
    let names: Vec<&str> =
        container.names.iter().map(|name| name.strip_prefix('/').unwrap_or(name)).collect();
    Row::new()
        .with("Command", go_quote(&ellipsis(&container.command, 20)))
        .with("ID", id::short(&container.id))
        .with("Image", container.image.clone())
        .with("Labels", labels(&container.labels))
        .with("LocalVolumes", local.to_string())
        .with("Names", names.join(","))
        .with("RunningFor", time::ago(container.created, now))
        .with("Size", size::human(container.size_rw as f64))
        .with("State", container.state.clone())
        .with("Status", container.status.clone())
}
