//! What clients cost: each command of ours beside Docker's own on the same engine, Compose, and testcontainers.

use super::engine::{Engine, children_milliseconds};
use super::{Bench, Result, Row};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// How often each command is run by each client.
const RUNS: usize = 30;
/// Services of the Compose project.
const SERVICES: usize = 20;

/// Commands that leave everything as it was; one line may be several commands, which are reckoned together.
const COMMANDS: &[&[&str]] = &[
    &["--version"],
    &["--help"],
    &["run --help"],
    &["version"],
    &["info"],
    &["ps"],
    &["ps -a --no-trunc --size"],
    &["ps -q --filter name=bench-idle"],
    &["inspect bench-idle"],
    &["inspect -f {{.State.Status}} bench-idle"],
    &["logs bench-idle"],
    &["top bench-idle"],
    &["port bench-idle"],
    &["diff bench-idle"],
    &["exec bench-idle true"],
    &["rename bench-idle bench-other", "rename bench-other bench-idle"],
    &["update --cpu-shares 512 bench-idle"],
    &["pause bench-idle", "unpause bench-idle"],
    &["kill -s CONT bench-idle"],
    &["wait bench-ended"],
    &["run --rm --network none --label bench {image} true"],
    &["create --name bench-made --label bench {image} true", "rm bench-made"],
    &["events --since 1 --until 2"],
    &["images"],
    &["image inspect {image}"],
    &["history {image}"],
    &["tag {image} bench-tag:new", "rmi bench-tag:new"],
    &["network ls"],
    &["network inspect bridge"],
    &["volume ls"],
    &["volume create bench-volume", "volume inspect bench-volume", "volume rm bench-volume"],
    &["system df"],
    &["context ls"],
    &["context inspect default"],
    &["plugin ls"],
];

impl Bench<'_> {
    /// The processor time of our client and of the other engine's own, both on the other engine's daemon.
    pub(super) fn commands(&mut self, image: &str) -> Result<()> {
        let Some(other) = self.other.as_ref().filter(|_| self.settings.wants("client's CPU")) else {
            return Ok(());
        };
        let docker = Engine { program: other.program.clone(), host: other.host.clone() };
        let ours = Engine { program: self.settings.corten.display().to_string(), host: other.host.clone() };
        docker.output(&[
            "run",
            "-d",
            "--label",
            "bench",
            "--name",
            "bench-idle",
            image,
            "sh",
            "-c",
            "echo a line; exec sleep 3600",
        ])?;
        docker.output(&["run", "--label", "bench", "--name", "bench-ended", image, "true"])?;
        let mut ratios = Vec::new();
        for lines in COMMANDS {
            let cost = |engine: &Engine| -> Result<f64> {
                let before = children_milliseconds()?;
                for _ in 0..RUNS {
                    for line in *lines {
                        let line = line.replace("{image}", image);
                        engine.time(&line.split(' ').collect::<Vec<_>>())?;
                    }
                }
                Ok((children_milliseconds()? - before) / RUNS as f64)
            };
            let (corten, other) = (cost(&ours)?, cost(&docker)?);
            let row = Row {
                name: format!("client's CPU, {}", lines.join("; ")),
                unit: "ms",
                corten,
                other: Some(other),
                rate: false,
                wanted: ">= 10x",
            };
            ratios.extend(row.ratio());
            self.push(row);
        }
        docker.clean();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let name = format!("client's CPU, least ratio of {} commands", COMMANDS.len());
        self.push(Row { name, unit: "x", corten: least, other: None, rate: true, wanted: ">= 10x" });
        Ok(())
    }

    /// `docker compose up -d` and `down` of twenty services that end when they are asked to.
    pub(super) fn compose(&mut self, image: &str) -> Result<()> {
        let rows = ["docker compose up -d of 20 services", "docker compose down of 20 services"];
        if !rows.iter().any(|row| self.settings.wants(row)) {
            return Ok(());
        }
        let file = self.scratch.folder.join("compose.yaml");
        let services = (0..SERVICES).map(|number| {
            format!("  service{number}:\n    image: {image}\n    init: true\n    command: sleep 3600\n    labels: [bench]\n")
        });
        let text = format!("name: bench\nservices:\n{}", services.collect::<String>());
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        let file = file.display().to_string();
        let docker = self.settings.docker.clone();
        let mut times = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
        for _ in 0..3 {
            for (own, engine) in self.both() {
                // The real plugin on both.
                let client = Engine { program: docker.clone(), host: engine.host };
                let compose = ["compose", "--progress", "quiet", "-f", &file];
                let up = client.time(&[&compose[..], &["up", "-d"]].concat());
                let down = client.time(&[&compose[..], &["down"]].concat());
                let side = usize::from(!own);
                times[0][side].push(up?);
                times[1][side].push(down?);
            }
        }
        for (name, times) in rows.into_iter().zip(times) {
            self.push_medians((name, "ms", false, ">= 4x"), times);
        }
        Ok(())
    }

    /// testcontainers for Node: from `start()` until the container has said that it is ready.
    pub(super) fn testcontainers(&mut self, image: &str) -> Result<()> {
        let name = "testcontainers, from start to ready";
        let Some(home) = self.settings.testcontainers.clone().filter(|_| self.settings.wants(name)) else {
            return Ok(());
        };
        let script = home.join("corten-bench.mjs");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench/testcontainers.mjs");
        fs::copy(&source, &script).map_err(|error| format!("{}: {error}", script.display()))?;
        let node = home.join("node_modules/node/bin/node");
        let outcome = self.alternate((name, "ms", false, ">= 3x"), 5, |engine| {
            let mut command = Command::new(&node);
            command.arg(&script).arg(image).env("DOCKER_HOST", &engine.host).stdin(Stdio::null());
            let output = command.output().map_err(|error| format!("{}: {error}", node.display()))?;
            let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            said.parse().map_err(|_| {
                format!("{}: {said} {}", script.display(), String::from_utf8_lossy(&output.stderr).trim())
            })
        });
        let _ = fs::remove_file(&script);
        outcome
    }
}
