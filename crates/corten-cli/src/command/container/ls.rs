//! `ps`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;
use crate::flags::filter;
use crate::format::{List, Row};
use crate::time;
use corten_api::container::{Port, Summary};
use corten_client::ListOptions;
use corten_oci::Reference;
use corten_std::{Timestamp, id, size};
use std::collections::HashMap;

pub(crate) const ENTRY: Entry = Entry {
    name: "container ls",
    aliases: &["container list", "container ps", "ps"],
    usage: "[OPTIONS]",
    count: Count::None,
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// List containers
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "filter", value_parser = crate::flags::filter::checked)]
    filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Show n last created containers (includes all states)
    #[arg(short = 'n', long, value_name = "int", default_value = "-1", value_parser = crate::flags::number::whole)]
    last: i64,
    /// Show the latest created container (includes all states)
    #[arg(short, long)]
    latest: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only display container IDs
    #[arg(short, long)]
    quiet: bool,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
}

const HEADERS: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
];

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let client = context.client()?;
    let configuration = context.configuration();
    let format = match arguments.format.as_deref().or_else(|| configuration.format("psFormat")) {
        Some(format) if !(format.is_empty() || format == "table") => format.to_owned(),
        _ if arguments.quiet => "{{.ID}}".to_owned(),
        _ => {
            let size = if arguments.size { "\t{{.Size}}" } else { "" };
            format!(
                "table {{{{.ID}}}}\t{{{{.Image}}}}\t{{{{.Command}}}}\t{{{{.RunningFor}}}}\t{{{{.Status}}}}\t{{{{.Ports}}}}\t{{{{.Names}}}}{size}"
            )
        }
    };
    if arguments.quiet && arguments.format.as_deref().is_some_and(|format| !format.is_empty()) {
        context.ui.note("WARNING: Ignoring custom format, because both --format and --quiet are set.");
    }
    let format = if arguments.quiet { "{{.ID}}" } else { format.as_str() };
    let list = List { format, headers: HEADERS };
    let limit = if arguments.latest { 1 } else { arguments.last };
    let options = ListOptions {
        all: arguments.all,
        limit: (limit > 0).then_some(limit),
        // Plain `json` does not count: it would make every list slow.
        size: arguments.size || list.wants("Size") || format.contains("json ."),
        filters: filter::parse(&arguments.filter),
    };
    let containers = client.container_list(&options)?;
    let now = Timestamp::now();
    let rows = containers.iter().map(|container| row(container, !arguments.no_trunc, now));
    list.print(&mut context.ui, rows)?;
    Ok(0)
}

fn row(container: &Summary, truncate: bool, now: Timestamp) -> Row {
    let id = if truncate { id::short(&container.id) } else { &container.id };
    let command = if truncate { ellipsis(&container.command, 20) } else { container.command.clone() };
    let mounts: Vec<String> = container
        .mounts
        .iter()
        .map(|mount| {
            let name = if mount.name.is_empty() { &mount.source } else { &mount.name };
            if truncate { ellipsis(name, 15) } else { name.clone() }
        })
        .collect();
    let local = container.mounts.iter().filter(|mount| mount.driver == "local").count();
    let networks: Vec<&str> = container.network_settings.networks.keys().map(String::as_str).collect();
    Row::new()
        .with("Command", go_quote(&command))
        .with("CreatedAt", time::go_time(container.created))
        .with("ID", id)
        .with("Image", image(container, truncate))
        .with("Labels", labels(&container.labels))
        .with("LocalVolumes", local.to_string())
        .with("Mounts", mounts.join(","))
        .with("Names", names(&container.names, truncate))
        .with("Networks", networks.join(","))
        .with_document("Platform", serde_json::Value::Null)
        .with("Ports", ports(&container.ports))
        .with("RunningFor", time::ago(container.created, now))
        .with("Size", size_text(container))
        .with("State", container.state.clone())
        .with("Status", container.status.clone())
        .labelled(&container.labels)
}

/// Names without their slash; a link's name (with two) is left out unless all is shown.
fn names(names: &[String], truncate: bool) -> String {
    let plain = names.iter().map(|name| name.strip_prefix('/').unwrap_or(name));
    if truncate {
        plain.filter(|name| !name.contains('/')).collect::<Vec<_>>().join(",")
    } else {
        plain.collect::<Vec<_>>().join(",")
    }
}

fn image(container: &Summary, truncate: bool) -> String {
    let image = &container.image;
    if image.is_empty() {
        return "<no image>".to_owned();
    }
    if !truncate {
        return image.clone();
    }
    let short = id::short(&container.image_id);
    if !short.is_empty() && short == id::short(image) {
        return short.to_owned();
    }
    // A digest is left out where it stands in for a tag.
    match Reference::parse(image) {
        Ok(reference) if reference.digest().is_some() && reference.tag().is_none() => {
            reference.familiar_name()
        }
        _ => image.clone(),
    }
}

fn size_text(container: &Summary) -> String {
    let written = size::human_short(container.size_rw as f64);
    if container.size_root_fs > 0 {
        format!("{written} (virtual {})", size::human_short(container.size_root_fs as f64))
    } else {
        written
    }
}

/// `a=1,b=2`.
pub(crate) fn labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let pairs: Vec<String> = labels.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(",")
}

/// At most so many letters, the last an ellipsis where something is left out.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// In quotes, as Go writes a string.
pub(crate) fn go_quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            control if (control as u32) < 32 || control as u32 == 127 => {
                quoted.push_str("\\x");
                quoted.push_str(&corten_std::id::hex(&[control as u8]));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// Ports in Docker's form: runs of ports that are published under their own number are joined.
pub(crate) fn ports(ports: &[Port]) -> String {
    let mut ports: Vec<&Port> = ports.iter().collect();
    ports.sort_by(|one, other| {
        (one.private_port, &one.ip, one.public_port, &one.protocol).cmp(&(
            other.private_port,
            &other.ip,
            other.public_port,
            &other.protocol,
        ))
    });
    let mut runs: HashMap<(&str, &str), (u16, u16)> = HashMap::new();
    let mut order = Vec::new();
    let mut texts = Vec::new();
    let mut mapped = Vec::new();
    for port in ports {
        if !port.ip.is_empty() && port.public_port != port.private_port {
            let host = host_port(&port.ip, &port.public_port.to_string());
            mapped.push(format!("{host}->{}/{}", port.private_port, port.protocol));
            continue;
        }
        let key = (port.ip.as_str(), port.protocol.as_str());
        let number = port.private_port;
        match runs.get_mut(&key) {
            Some((_, last)) if number == last.wrapping_add(1) => *last = number,
            Some(run) => {
                texts.push(run_text(key, *run));
                *run = (number, number);
            }
            None => {
                runs.insert(key, (number, number));
                order.push(key);
            }
        }
    }
    texts.extend(order.into_iter().map(|key| run_text(key, runs[&key])));
    texts.extend(mapped);
    texts.join(", ")
}

fn run_text((ip, protocol): (&str, &str), (first, last): (u16, u16)) -> String {
    let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
    if ip.is_empty() {
        format!("{range}/{protocol}")
    } else {
        format!("{}->{range}/{protocol}", host_port(ip, &range))
    }
}

fn host_port(ip: &str, port: &str) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: &str, public_port: u16, private_port: u16, protocol: &str) -> Port {
        Port { ip: ip.to_owned(), private_port, public_port, protocol: protocol.to_owned() }
    }

    #[test]
    fn ports_are_grouped_as_docker_groups_them() {
        for (list, expected) in [
            (vec![port("", 0, 80, "tcp")], "80/tcp"),
            (
                vec![port("0.0.0.0", 8080, 80, "tcp"), port("::", 8080, 80, "tcp")],
                "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
            ),
            (
                vec![port("", 0, 81, "tcp"), port("", 0, 80, "tcp"), port("", 0, 83, "tcp")],
                "80-81/tcp, 83/tcp",
            ),
            (
                vec![port("1.2.3.4", 80, 80, "tcp"), port("1.2.3.4", 81, 81, "tcp")],
                "1.2.3.4:80-81->80-81/tcp",
            ),
            (vec![port("1.2.3.4", 53, 53, "udp"), port("", 0, 53, "tcp")], "53/tcp, 1.2.3.4:53->53/udp"),
        ] {
            assert_eq!(ports(&list), expected);
        }
    }

    #[test]
    fn rows_print_as_docker_prints_them() {
        let container = Summary {
            id: "0123456789abcdef".repeat(4),
            names: vec!["/web".to_owned(), "/other/link".to_owned()],
            image: "busybox".to_owned(),
            command: "echo 'a long command line that goes on'".to_owned(),
            created: 940,
            state: "running".to_owned(),
            status: "Up 1 second".to_owned(),
            ..Summary::default()
        };
        let mut ui = crate::ui::Ui::new();
        ui.captured = true;
        let now = Timestamp::from_unix(1000, 0);
        let print = |format: &str, truncate, ui: &mut crate::ui::Ui| {
            List { format, headers: HEADERS }.print(ui, [row(&container, truncate, now)]).unwrap();
            ui.take()
        };
        assert_eq!(
            print("table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Names}}", true, &mut ui),
            "CONTAINER ID   IMAGE     COMMAND                CREATED              NAMES\n\
             0123456789ab   busybox   \"echo 'a long comman…\"   About a minute ago   web\n"
                .replace("COMMAND                CREATED", "COMMAND                  CREATED")
        );
        assert_eq!(print("{{.Names}} {{len .ID}}", false, &mut ui), "web,other/link 64\n");
        assert_eq!(print("{{.Label \"x\"}}|", true, &mut ui), "|\n");
        assert!(print("json", true, &mut ui).starts_with("{\"Command\":"));
    }
}
