//! What files are, and how those who use such files expect them in a registry.
//!
//! | kind | artifact type | configuration | files |
//! | --- | --- | --- | --- |
//! | `compose` | `application/vnd.docker.compose.project` | empty | `…compose.file+yaml`, `…compose.envfile` |
//! | `helm` | – | the chart's `Chart.yaml` as JSON | `…helm.chart.content.v1.tar+gzip`, provenance |
//! | `wasm` | – | `application/vnd.wasm.config.v0+json` | `application/wasm` |
//! | `spdx`, `cyclonedx` | as the file | empty | `application/spdx+json`, `application/vnd.cyclonedx+json` |
//! | `volume` | `application/vnd.docker.volume.v1+tar.gz` | empty | `application/gzip` |
//! | `plain` | as given | empty | as given |

use super::{EMPTY, Part, TITLE, measure};
use crate::error::{CliError, Result};
use corten_oci::image::{Descriptor, media_type};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What goes into a manifest.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) artifact_type: Option<String>,
    /// Media type and bytes.
    pub(super) config: (String, Vec<u8>),
    pub(super) parts: Vec<Part>,
    pub(super) annotations: BTreeMap<String, String>,
}

/// A kind of files that somebody expects in a certain form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Found out from the first file.
    Auto,
    Compose,
    Helm,
    Wasm,
    Spdx,
    #[value(name = "cyclonedx")]
    CycloneDx,
    Volume,
    Plain,
}

/// The flags of whoever makes an artifact: what it shall be, and whether its registry is trusted.
#[derive(Debug, clap::Args)]
pub(super) struct Wish {
    /// Add an annotation to the manifest (key=value)
    #[arg(short, long, value_name = "list", value_parser = super::annotation)]
    annotation: Vec<(String, String)>,
    /// Say what the whole is, as a media type
    #[arg(long, value_name = "string")]
    artifact_type: Option<String>,
    /// Allow communication with an insecure registry
    #[arg(long)]
    pub(super) insecure: bool,
    /// Form in which it is expected ("auto", "compose", "helm", "wasm", "spdx", "cyclonedx", "volume", "plain")
    #[arg(long, value_name = "string", default_value = "auto", value_enum)]
    kind: Kind,
}

impl Wish {
    /// These files as the content of such an artifact.
    pub(super) fn content(self, files: &[String]) -> Result<Content> {
        let mut content = read(files, self.kind, self.artifact_type)?;
        content.annotations.extend(self.annotation);
        Ok(content)
    }
}

const COMPOSE_PROJECT: &str = "application/vnd.docker.compose.project";
const COMPOSE_FILE: &str = "application/vnd.docker.compose.file+yaml";
const COMPOSE_VARIABLES: &str = "application/vnd.docker.compose.envfile";
const HELM_CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
const HELM_CHART: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
pub(super) const HELM_PROVENANCE: &str = "application/vnd.cncf.helm.chart.provenance.v1.prov";
const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
const WASM: &str = "application/wasm";
const SPDX: &str = "application/spdx+json";
const CYCLONE_DX: &str = "application/vnd.cyclonedx+json";
const VOLUME: &str = "application/vnd.docker.volume.v1+tar.gz";
/// A file of which nothing is known.
const UNKNOWN: &str = "application/octet-stream";

/// Bytes of a file that say what it is.
const HEAD: u64 = 64 << 10;
/// Bytes that a chart's description may have.
const CHART_LIMIT: u64 = 1 << 20;

/// `PATH` or `PATH:TYPE`.
fn typed(text: &str) -> (PathBuf, Option<&str>) {
    match text.rsplit_once(':') {
        Some((path, kind)) if kind.contains('/') && !Path::new(text).exists() => (path.into(), Some(kind)),
        _ => (text.into(), None),
    }
}

fn name_of(path: &Path) -> Result<&str> {
    path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
        CliError::said(format!("{} has no name that could be written into a manifest", path.display()))
    })
}

fn head_of(path: &Path) -> Result<Vec<u8>> {
    let shown = path.display().to_string();
    let file = corten_std::file::open(path).map_err(|error| CliError::open(&shown, &error))?;
    let mut head = Vec::new();
    let read = file.take(HEAD).read_to_end(&mut head);
    read.map_err(|error| CliError::said(format!("cannot read {shown}: {error}")))?;
    Ok(head)
}

/// What follows a name's last point.
fn extension(name: &str) -> &str {
    Path::new(name).extension().and_then(|text| text.to_str()).unwrap_or_default()
}

/// What a file is, by its name and first bytes.
fn detect(name: &str, head: &[u8]) -> Kind {
    let has = |key: &str| head.windows(key.len()).any(|window| window == key.as_bytes());
    let extension = extension(name);
    let is_json = head.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    if head.starts_with(b"\0asm") {
        Kind::Wasm
    } else if matches!(extension, "yaml" | "yml")
        && (name.starts_with("compose") || name.starts_with("docker-compose"))
    {
        Kind::Compose
    } else if is_json && has("\"spdxVersion\"") {
        Kind::Spdx
    } else if is_json && has("\"bomFormat\"") && has("CycloneDX") {
        Kind::CycloneDx
    } else if extension == "tgz" && head.starts_with(&[0x1f, 0x8b]) {
        Kind::Helm
    } else {
        Kind::Plain
    }
}

/// Reads files, each with the type that it was given or that its kind has.
fn read(files: &[String], kind: Kind, artifact_type: Option<String>) -> Result<Content> {
    let files: Vec<(PathBuf, Option<&str>)> = files.iter().map(|text| typed(text)).collect();
    let first = files.first();
    let kind = match (kind, first) {
        // Who names types knows better.
        (Kind::Auto, Some((path, None))) if artifact_type.is_none() => {
            match detect(name_of(path)?, &head_of(path)?) {
                Kind::Helm if chart(path).is_err() => Kind::Plain,
                detected => detected,
            }
        }
        (Kind::Auto, _) => Kind::Plain,
        (kind, _) => kind,
    };
    let mut content = Content {
        artifact_type,
        config: (media_type::EMPTY.to_owned(), EMPTY.to_vec()),
        parts: Vec::new(),
        annotations: BTreeMap::new(),
    };
    for (path, given) in &files {
        let name = name_of(path)?;
        let (digest, length) = measure(path)?;
        let of_kind = file_type(kind, name);
        let mut descriptor = Descriptor::new(given.unwrap_or(of_kind), digest, length);
        descriptor.annotations.insert(TITLE.to_owned(), name.to_owned());
        match of_kind {
            COMPOSE_FILE => {
                descriptor.annotations.insert("com.docker.compose.file".to_owned(), name.to_owned())
            }
            COMPOSE_VARIABLES => {
                descriptor.annotations.insert("com.docker.compose.envfile".to_owned(), name.to_owned())
            }
            _ => None,
        };
        content.parts.push(Part { path: path.clone(), descriptor });
    }
    describe(&mut content, kind)?;
    if content.artifact_type.is_none() && content.config.0 == media_type::EMPTY {
        // Without a configuration the type must be said.
        content.artifact_type = Some("application/vnd.unknown.artifact.v1".to_owned());
    }
    Ok(content)
}

fn file_type(kind: Kind, name: &str) -> &'static str {
    let extension = extension(name);
    match kind {
        Kind::Compose if extension == "env" || name.starts_with(".env") => COMPOSE_VARIABLES,
        Kind::Compose => COMPOSE_FILE,
        Kind::Helm if extension == "prov" => HELM_PROVENANCE,
        Kind::Helm => HELM_CHART,
        Kind::Wasm => WASM,
        Kind::Spdx => SPDX,
        Kind::CycloneDx => CYCLONE_DX,
        Kind::Volume => "application/gzip",
        Kind::Auto | Kind::Plain => UNKNOWN,
    }
}

/// What is said of the whole.
fn describe(content: &mut Content, kind: Kind) -> Result<()> {
    let own = match kind {
        Kind::Compose => Some(COMPOSE_PROJECT),
        Kind::Spdx => Some(SPDX),
        Kind::CycloneDx => Some(CYCLONE_DX),
        Kind::Volume => Some(VOLUME),
        _ => None,
    };
    content.artifact_type = content.artifact_type.take().or(own.map(str::to_owned));
    match kind {
        Kind::Helm => {
            let chart_path = content.parts.iter().find(|part| part.descriptor.media_type == HELM_CHART);
            let Some(part) = chart_path else {
                return Err(CliError::said("no chart is named: a chart is a .tgz with a Chart.yaml in it"));
            };
            let chart = chart(&part.path)?;
            for (key, annotation) in [("name", TITLE), ("version", VERSION), ("description", DESCRIPTION)] {
                if let Some(text) = chart[key].as_str() {
                    content.annotations.insert(annotation.to_owned(), text.to_owned());
                }
            }
            content.config = (HELM_CONFIG.to_owned(), chart.to_string().into_bytes());
        }
        Kind::Wasm => {
            let Some(part) = content.parts.first() else { return Ok(()) };
            let head = head_of(&part.path)?;
            if !head.starts_with(b"\0asm") {
                return Err(CliError::said(format!("{} is no Wasm module", part.path.display())));
            }
            // Behind the magic number: 1 is a module; a component has its layer in the upper half.
            let is_component = head.get(6) == Some(&1);
            let digests: Vec<String> =
                content.parts.iter().map(|part| part.descriptor.digest.to_string()).collect();
            let config = json!({
                "architecture": "wasm",
                "os": if is_component { "wasip2" } else { "wasip1" },
                "layerDigests": digests,
            });
            content.config = (WASM_CONFIG.to_owned(), config.to_string().into_bytes());
        }
        _ => {}
    }
    Ok(())
}

const VERSION: &str = "org.opencontainers.image.version";
const DESCRIPTION: &str = "org.opencontainers.image.description";

/// The `Chart.yaml` of a packed chart.
fn chart(path: &Path) -> Result<Value> {
    let wrong = |what: String| CliError::said(format!("{} is no chart: {what}", path.display()));
    let shown = path.display().to_string();
    let file = corten_std::file::open(path).map_err(|error| CliError::open(&shown, &error))?;
    let plain = corten_layer::decompress(file).map_err(|error| wrong(corten_std::chain(&error)))?;
    let mut archive = corten_layer::tar::Reader::new(plain);
    while let Some(entry) = archive.next_entry().map_err(|error| wrong(corten_std::chain(&error)))? {
        let name = String::from_utf8_lossy(&entry.path).into_owned();
        if name.split_once('/').is_none_or(|(_, rest)| rest != "Chart.yaml") || entry.size > CHART_LIMIT {
            continue;
        }
        let mut text = Vec::new();
        archive.read_to_end(&mut text).map_err(|error| wrong(error.to_string()))?;
        let value: Value = serde_yaml_ng::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if value["name"].is_string() && value["version"].is_string() {
            return Ok(value);
        }
        return Err(wrong("its Chart.yaml has no name or no version".to_owned()));
    }
    Err(wrong("it has no Chart.yaml".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_name_and_content() {
        for (name, head, kind) in [
            ("compose.yaml", "services: {}", Kind::Compose),
            ("docker-compose.prod.yml", "", Kind::Compose),
            ("values.yaml", "", Kind::Plain),
            ("a.wasm", "\0asm\u{1}\0\0\0", Kind::Wasm),
            ("a.json", "\n{\"spdxVersion\": \"SPDX-2.3\"}", Kind::Spdx),
            ("a.json", "{\"bomFormat\":\"CycloneDX\"}", Kind::CycloneDx),
            ("a.json", "{\"other\": 1}", Kind::Plain),
            ("a.tgz", "no gzip", Kind::Plain),
        ] {
            assert_eq!(detect(name, head.as_bytes()), kind, "{name}");
        }
    }

    #[test]
    fn a_type_may_stand_behind_a_path() {
        assert_eq!(typed("a.txt:text/plain"), ("a.txt".into(), Some("text/plain")));
        assert_eq!(typed("a:b"), ("a:b".into(), None));
    }
}
