//! `images --tree`: what each image holds for each platform.

use crate::context::Context;
use crate::error::Result;
use crate::ui::Ui;
use corten_api::image::Summary;
use corten_std::{id, size};
use serde_json::Value;

/// The columns behind the name: heading, width, and whether it is written from the right.
const COLUMNS: [(&str, usize, bool); 4] =
    [("ID", 12, false), ("DISK USAGE", 10, true), ("CONTENT SIZE", 12, true), ("EXTRA", 5, false)];

/// Blanks between two columns.
const GAP: usize = 3;

/// The width that is taken where there is no terminal.
const PLAIN_WIDTH: usize = 80;

const USED: &str = " U ";

/// Where and how it is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    /// Letters in a line.
    pub(crate) width: usize,
    /// Whether signs beyond ASCII and the terminal's colours are wanted.
    pub(crate) terminal: bool,
    pub(crate) colours: bool,
}

impl Screen {
    /// The terminal that standard output is, if it is one.
    fn of(ui: &Ui) -> Self {
        let columns = ui.is_terminal.then(|| rustix::termios::tcgetwinsize(std::io::stdout()).ok()).flatten();
        Self {
            // A terminal that does not know its size says 0.
            width: columns
                .map(|size| usize::from(size.ws_col))
                .filter(|&columns| columns > 0)
                .unwrap_or(PLAIN_WIDTH),
            terminal: ui.is_terminal,
            colours: ui.is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }

    /// The text between an escape sequence of this number and the one that ends it.
    fn styled(self, codes: &str, text: &str) -> String {
        if self.colours && !text.is_empty() { format!("\x1b[{codes}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

const NAME: &str = "34;1";
const HEADING: &str = "1";
const DIM: &str = "2";
const WARNING: &str = "93";
const CHIP: &str = "38;5;0;48;5;14";

/// One line with values: an image, or what it holds for one platform.
#[derive(Debug)]
struct Line {
    /// An image's names, or the platform.
    names: Vec<String>,
    id: String,
    disk: f64,
    content: f64,
    used: bool,
    /// Dimmed where nothing of it is here.
    here: bool,
}

/// Prints; `all` shows images without a name too.
pub(crate) fn print(context: &mut Context, images: &[Summary], all: bool) -> Result<()> {
    let screen = Screen::of(&context.ui);
    let lines = render(images, all, screen);
    lines.iter().try_for_each(|line| context.ui.line(line))
}

fn render(images: &[Summary], all: bool, screen: Screen) -> Vec<String> {
    let warning =
        "WARNING: This is an experimental feature. The output may change and shouldn't be depended on.";
    let mut lines = vec![screen.styled(WARNING, warning), legend(screen), String::new()];
    let shown: Vec<(Line, Vec<Line>)> = images
        .iter()
        .filter(|image| all || named(image))
        .map(|image| (of_image(image), children(image)))
        .collect();
    // Columns that have no room are left out from the right; the name takes what is left, if it needs it.
    let mut columns = COLUMNS.len();
    let taken = |columns: usize| COLUMNS[..columns].iter().map(|(_, width, _)| width + GAP).sum::<usize>();
    let longest = names_width(&shown);
    while columns > 1 && taken(columns) + SHORTEST_NAME.min(longest) > screen.width {
        columns -= 1;
    }
    let width = longest.min(screen.width.saturating_sub(taken(columns))).max("IMAGE".len());

    let mut heading = screen.styled(HEADING, "IMAGE") + &" ".repeat(width - "IMAGE".len());
    for (at, (title, columns_width, _)) in COLUMNS[..columns].iter().enumerate() {
        heading += &" ".repeat(GAP);
        heading += &screen.styled(HEADING, title);
        if at + 1 < columns {
            heading += &" ".repeat(columns_width - title.len());
        }
    }
    lines.push(heading);
    for (at, (image, platforms)) in shown.iter().enumerate() {
        if at > 0 {
            lines.push(String::new());
        }
        if let Some((last, before)) = image.names.split_last() {
            lines.extend(before.iter().map(|name| screen.styled(NAME, name)));
            let style = if last == UNTAGGED { DIM } else { NAME };
            lines.push(row(image, last, style, width, columns, screen));
        }
        for (at, platform) in platforms.iter().enumerate() {
            let sign = if at + 1 == platforms.len() { "└─" } else { "├─" };
            let style = if platform.here { "" } else { DIM };
            let name = format!("{sign} {}", platform.names.first().map_or("", String::as_str));
            lines.push(row(platform, &name, style, width, columns, screen));
        }
    }
    if !shown.is_empty() {
        lines.push(String::new());
    }
    lines
}

/// A name is never cut below this for a further column.
const SHORTEST_NAME: usize = 12;

const UNTAGGED: &str = "<untagged>";

/// What the sign in the last column means, at the right end.
fn legend(screen: Screen) -> String {
    let (sign, chip) = if screen.terminal { ("i Info → ", USED) } else { ("Info -> ", USED.trim_end()) };
    let length = [sign, chip, IN_USE].map(|text| text.chars().count()).iter().sum::<usize>();
    let margin = usize::from(screen.terminal);
    let blanks = " ".repeat(screen.width.saturating_sub(length + margin));
    format!("{blanks}{sign}{}{IN_USE}", screen.styled(CHIP, chip))
}

const IN_USE: &str = " In Use ";

fn row(line: &Line, name: &str, style: &str, width: usize, columns: usize, screen: Screen) -> String {
    let styled = |text: &str| if style.is_empty() { text.to_owned() } else { screen.styled(style, text) };
    let name = if length(name) > width {
        let kept: String = name.chars().take(width.saturating_sub(1)).collect();
        kept + "…"
    } else {
        name.to_owned()
    };
    let blanks = width.saturating_sub(name.chars().count());
    let mut text = styled(&name) + &" ".repeat(blanks);
    let used = match (line.used, screen.terminal) {
        (true, true) => USED,
        (true, false) => USED.trim(),
        (false, _) => "",
    };
    let values =
        [line.id.clone(), size::human_short(line.disk), size::human_short(line.content), used.to_owned()];
    for ((value, (_, width, from_right)), at) in values.iter().zip(COLUMNS).zip(0..columns) {
        text += &" ".repeat(GAP);
        let blanks = " ".repeat(width.saturating_sub(value.chars().count()));
        let style_value = match at {
            3 => screen.styled(CHIP, value),
            _ if line.here => value.clone(),
            _ => screen.styled(DIM, value),
        };
        text += &if from_right { blanks + &style_value } else { style_value + &blanks };
    }
    text
}

/// Docker counts a name's bytes here, so that its tables and ours are alike.
fn length(name: &str) -> usize {
    name.len()
}

fn names_width(shown: &[(Line, Vec<Line>)]) -> usize {
    let images = shown.iter().flat_map(|(image, _)| &image.names).map(|name| length(name));
    let platforms = shown.iter().flat_map(|(_, platforms)| platforms).flat_map(|line| &line.names);
    images.chain(platforms.map(|name| length("└─ ") + length(name))).max().unwrap_or(0)
}

fn named(image: &Summary) -> bool {
    image.repo_tags.iter().any(|name| name != "<none>:<none>")
}

fn of_image(image: &Summary) -> Line {
    let mut names: Vec<String> =
        image.repo_tags.iter().filter(|name| *name != "<none>:<none>").cloned().collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    if names.is_empty() {
        names.push(UNTAGGED.to_owned());
    }
    let manifests = image.manifests.iter().flatten();
    let content = manifests.clone().map(|one| one["Size"]["Content"].as_f64().unwrap_or(0.0)).sum();
    let used = image.containers > 0 || manifests.clone().any(in_use);
    Line { names, id: id::short(&image.id).to_owned(), disk: image.size as f64, content, used, here: true }
}

/// What an image holds for platforms; statements about them are not shown.
fn children(image: &Summary) -> Vec<Line> {
    let images = image.manifests.iter().flatten().filter(|one| one["Kind"] == "image");
    images
        .map(|one| {
            let platform = &one["ImageData"]["Platform"];
            let parts = ["os", "architecture", "variant"].map(|part| platform[part].as_str().unwrap_or(""));
            let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            Line {
                names: vec![parts.join("/")],
                id: id::short(one["ID"].as_str().unwrap_or("")).to_owned(),
                disk: one["Size"]["Total"].as_f64().unwrap_or(0.0),
                content: one["Size"]["Content"].as_f64().unwrap_or(0.0),
                used: in_use(one),
                here: one["Available"] == true,
            }
        })
        .collect()
}

fn in_use(manifest: &Value) -> bool {
    manifest["ImageData"]["Containers"].as_array().is_some_and(|containers| !containers.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PLAIN: Screen = Screen { width: 80, terminal: false, colours: false };

    fn images() -> Vec<Summary> {
        let manifest = |platform: Value, id: &str, content: u64, total: u64, containers: Value| {
            json!({"ID": format!("sha256:{}", id.repeat(64)), "Kind": "image", "Available": total > 0,
                "Size": {"Content": content, "Total": total},
                "ImageData": {"Platform": platform, "Containers": containers}})
        };
        let amd64 = || json!({"os": "linux", "architecture": "amd64"});
        let arm = json!({"os": "linux", "architecture": "arm", "variant": "v7"});
        serde_json::from_value(json!([
            {"Id": format!("sha256:{}", "6".repeat(64)), "RepoTags": ["multi:1"], "Size": 3_020_333, "Containers": -1,
             "Manifests": [manifest(amd64(), "3", 1_033_863, 3_018_689, json!([])),
                           manifest(arm, "a", 0, 0, json!([])),
                           {"ID": "sha256:0", "Kind": "attestation", "Size": {"Content": 0, "Total": 0}}]},
            {"Id": format!("sha256:{}", "9".repeat(64)), "RepoTags": ["busybox:glibc", "busybox:latest"],
             "Size": 1_985_677, "Containers": -1,
             "Manifests": [manifest(amd64(), "9", 2_141_011, 4_125_837, json!(["c"]))]},
            {"Id": format!("sha256:{}", "8".repeat(64)), "RepoTags": [], "Size": 5, "Containers": -1, "Manifests": []},
        ]))
        .unwrap()
    }

    #[test]
    fn a_tree_without_a_terminal_is_dockers() {
        assert_eq!(
            render(&images(), false, PLAIN),
            [
                "WARNING: This is an experimental feature. The output may change and shouldn't be depended on.",
                "                                                              Info ->  U In Use ",
                "",
                "IMAGE                 ID             DISK USAGE   CONTENT SIZE   EXTRA",
                "multi:1               666666666666       3.02MB         1.03MB        ",
                "├─ linux/amd64        333333333333       3.02MB         1.03MB        ",
                "└─ linux/arm/v7       aaaaaaaaaaaa           0B             0B        ",
                "",
                "busybox:latest",
                "busybox:glibc         999999999999       1.99MB         2.14MB   U    ",
                "└─ linux/amd64        999999999999       4.13MB         2.14MB   U    ",
                "",
            ]
        );
        let all = render(&images(), true, PLAIN);
        assert_eq!(all[12], "<untagged>            888888888888           5B             0B        ");
    }

    #[test]
    fn a_narrow_terminal_loses_the_last_columns_and_the_ends_of_names() {
        let mut images = images();
        images[0].repo_tags = vec!["a/very/long/name/with/many/words:1".to_owned()];
        let screen = Screen { width: 60, terminal: true, colours: false };
        let lines = render(&images, false, screen);
        assert_eq!(lines[3], "IMAGE               ID             DISK USAGE   CONTENT SIZE");
        assert_eq!(lines[4], "a/very/long/name…   666666666666       3.02MB         1.03MB");
        assert!(lines.iter().skip(3).all(|line| line.chars().count() <= 60));
        let one = Screen { width: 1, ..screen };
        assert!(!render(&images, true, one).is_empty());
        let colours = Screen { colours: true, ..screen };
        assert!(render(&images, false, colours)[6].starts_with("\x1b[2m└─ linux/arm/v7"));
    }
}
