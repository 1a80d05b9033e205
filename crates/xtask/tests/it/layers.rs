//! Arrows go down only: edges → whole → parts → ground, with the drawn exceptions among parts.

use crate::root;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

/// Arrows between two parts that the drawing allows (ARCHITECTURE.md, "Layers").
const DRAWN: &[(&str, &str)] = &[
    ("corten-store", "corten-layer"),
    ("corten-keeper", "corten-shim"),
    ("corten-shim", "corten-runtime"),
    ("corten-wasm", "corten-runtime"),
    ("corten-distribution", "corten-http"),
];

/// A dependency that only the named crates may have, so that it can be changed in one place.
const RESERVED: &[(&str, &[&str])] = &[
    ("libc", &["corten-sys"]),
    ("redb", &["corten-store"]),
    ("httparse", &["corten-http"]),
    ("clap", &["corten-cli"]),
    ("gotmpl", &["corten-cli"]),
    ("tracing-subscriber", &["corten-daemon"]),
    ("zstd", &["corten-layer", "corten-store"]),
    ("flate2", &["corten-layer", "corten-store"]),
];

struct Package {
    layer: String,
    description: String,
    normal: Vec<String>,
}

fn packages() -> BTreeMap<String, Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| {
            let normal = package["dependencies"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
                .map(|dependency| text(&dependency["name"]))
                .collect();
            let layer = text(&package["metadata"]["corten"]["layer"]);
            (text(&package["name"]), Package { layer, description: text(&package["description"]), normal })
        })
        .collect()
}

fn height(layer: &str) -> Option<u32> {
    ["ground", "parts", "whole", "edges", "beside"]
        .iter()
        .position(|known| *known == layer)
        .map(|at| at as u32)
}

#[test]
fn arrows_go_down_only() {
    let packages = packages();
    assert!(packages.len() > 10, "cargo metadata lists the crates");
    let mut wrong = Vec::new();
    for (name, package) in &packages {
        let Some(own) = height(&package.layer) else {
            wrong.push(format!("{name} names no layer"));
            continue;
        };
        for dependency in &package.normal {
            let Some(other) = packages.get(dependency).and_then(|other| height(&other.layer)) else {
                continue;
            };
            let drawn = DRAWN.contains(&(name.as_str(), dependency.as_str()));
            let allowed = match package.layer.as_str() {
                "ground" => other == 0,
                "parts" => other < own || drawn,
                "whole" | "edges" => other <= own,
                _ => true,
            };
            if !allowed {
                wrong.push(format!("{name} ({}) must not use {dependency}", package.layer));
            }
        }
    }
    // The command line reaches the daemon only through the client; the client knows nothing of the engine.
    for name in ["corten-cli", "corten-client"] {
        for dependency in packages.get(name).map(|package| package.normal.clone()).unwrap_or_default() {
            if ["corten-engine", "corten-server", "corten-daemon", "corten-store"]
                .contains(&dependency.as_str())
            {
                wrong.push(format!("{name} must not use {dependency}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_reserved_dependency_has_one_home() {
    let mut wrong = Vec::new();
    for (name, package) in packages() {
        for (reserved, homes) in RESERVED {
            if package.normal.iter().any(|dependency| dependency == reserved)
                && !homes.contains(&name.as_str())
            {
                wrong.push(format!("{name} must not use {reserved}: its home is {homes:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_crate_says_what_it_is_in_a_sentence() {
    for (name, package) in packages() {
        assert!(
            package.description.ends_with('.') && package.description.len() > 20,
            "{name}: the description is one sentence"
        );
    }
}
