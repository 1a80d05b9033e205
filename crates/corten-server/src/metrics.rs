//! Numbers for Prometheus, under Docker's names: what the API did and how long it took, and how things stand.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use corten_api::route::Operation;
use corten_engine::Engine;
use corten_http::server::{Answer, Handler, Request, Response};

/// Upper bounds of the buckets in seconds, as Prometheus' own libraries have them.
const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What is measured: the operation, its family and its name there.
const ACTIONS: [(Operation, Family, &str); 7] = [
    (Operation::ContainerChanges, Family::Container, "changes"),
    (Operation::Commit, Family::Container, "commit"),
    (Operation::ContainerCreate, Family::Container, "create"),
    (Operation::ContainerRemove, Family::Container, "delete"),
    (Operation::ContainerStart, Family::Container, "start"),
    (Operation::NetworkConnect, Family::Network, "connect"),
    (Operation::NetworkDisconnect, Family::Network, "release"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Container,
    Network,
}

/// How long one kind of action took so far.
#[derive(Clone, Copy, Debug, Default)]
struct Histogram {
    /// By bound; those beyond the last are in `count` alone.
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

/// What was measured since the daemon began.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    actions: Mutex<[Histogram; ACTIONS.len()]>,
}

impl Metrics {
    /// An operation was done in that time. Most are not measured.
    pub(crate) fn done(&self, operation: Operation, took: Duration) {
        let Some(index) = ACTIONS.iter().position(|(measured, ..)| *measured == operation) else { return };
        let seconds = took.as_secs_f64();
        let mut actions = self.actions.lock().unwrap_or_else(PoisonError::into_inner);
        let histogram = &mut actions[index];
        histogram.count += 1;
        histogram.sum += seconds;
        for (bucket, bound) in histogram.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(seconds <= bound);
        }
    }

    fn write_actions(&self, text: &mut String, family: Family, name: &str, help: &str) {
        head(text, name, "histogram", help);
        let actions = *self.actions.lock().unwrap_or_else(PoisonError::into_inner);
        for ((_, _, action), histogram) in
            ACTIONS.iter().zip(actions).filter(|((_, own, _), _)| *own == family)
        {
            for (bound, count) in BOUNDS.iter().zip(histogram.buckets) {
                line(text, &format!("{name}_bucket{{action=\"{action}\",le=\"{bound}\"}}"), count);
            }
            line(text, &format!("{name}_bucket{{action=\"{action}\",le=\"+Inf\"}}"), histogram.count);
            line(text, &format!("{name}_sum{{action=\"{action}\"}}"), histogram.sum);
            line(text, &format!("{name}_count{{action=\"{action}\"}}"), histogram.count);
        }
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{name} {value}");
}

/// Answers `GET /metrics`.
pub(crate) struct Exporter {
    pub(crate) engine: Engine,
    pub(crate) metrics: Arc<Metrics>,
}

impl Handler for Exporter {
    fn handle(&self, request: Request) -> Answer<'_> {
        Box::pin(async move {
            if request.head.method != "GET" || request.head.path != "/metrics" {
                return Response::full(404, "404 page not found\n")
                    .header("Content-Type", "text/plain; charset=utf-8");
            }
            match self.text().await {
                Ok(text) => Response::full(200, text)
                    .header("Content-Type", "text/plain; version=0.0.4; charset=utf-8"),
                Err(error) => Response::full(500, format!("{error}\n"))
                    .header("Content-Type", "text/plain; charset=utf-8"),
            }
        })
    }
}

impl Exporter {
    async fn text(&self) -> Result<String, corten_engine::EngineError> {
        let (info, version, counts) =
            (self.engine.info().await?, self.engine.version(), self.engine.counts());
        let mut text = String::new();
        let text = &mut text;
        self.metrics.write_actions(
            text,
            Family::Container,
            "engine_daemon_container_actions_seconds",
            "The number of seconds it takes to process each container action",
        );
        let name = "engine_daemon_container_states_containers";
        head(text, name, "gauge", "The count of containers in various states");
        for (state, count) in [
            ("paused", info.containers_paused),
            ("running", info.containers_running),
            ("stopped", info.containers_stopped),
        ] {
            line(text, &format!("{name}{{state=\"{state}\"}}"), count);
        }
        let mut one = |name: &str, kind, help, value: f64| {
            head(text, name, kind, help);
            line(text, name, value);
        };
        one(
            "engine_daemon_engine_cpus_cpus",
            "gauge",
            "The number of cpus that the host system of the engine has",
            info.ncpu as f64,
        );
        one(
            "engine_daemon_engine_memory_bytes",
            "gauge",
            "The number of bytes of memory that the host system of the engine has",
            info.mem_total as f64,
        );
        one(
            "engine_daemon_events_subscribers_total",
            "gauge",
            "The number of current subscribers to events",
            info.n_events_listener as f64,
        );
        one("engine_daemon_events_total", "counter", "The number of events logged", counts.events as f64);
        one(
            "engine_daemon_health_checks_failed_total",
            "counter",
            "The total number of failed health checks",
            counts.failed_health_checks as f64,
        );
        one(
            "engine_daemon_health_checks_total",
            "counter",
            "The total number of health checks",
            counts.health_checks as f64,
        );
        one("process_open_fds", "gauge", "Number of open file descriptors.", info.nfd as f64);
        let name = "engine_daemon_engine_info";
        head(text, name, "gauge", "The information related to the engine and the OS it is running on");
        let labels = [
            ("architecture", &info.architecture),
            ("commit", &version.git_commit),
            ("daemon_id", &info.id),
            ("graphdriver", &info.driver),
            ("kernel", &info.kernel_version),
            ("os", &info.operating_system),
            ("os_type", &info.os_type),
            ("os_version", &info.os_version),
            ("version", &info.server_version),
        ];
        let labels: Vec<String> =
            labels.map(|(label, value)| format!("{label}=\"{}\"", escape(value))).into();
        line(text, &format!("{name}{{{}}}", labels.join(",")), 1);
        self.metrics.write_actions(
            text,
            Family::Network,
            "engine_daemon_network_actions_seconds",
            "The number of seconds it takes to process each network action",
        );
        Ok(std::mem::take(text))
    }
}

/// A label's value between its quotation marks.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_all_buckets_that_hold_them() {
        let metrics = Metrics::default();
        metrics.done(Operation::ContainerStart, Duration::from_millis(20));
        metrics.done(Operation::ContainerStart, Duration::from_mins(1));
        metrics.done(Operation::Info, Duration::from_mins(1));
        let mut text = String::new();
        metrics.write_actions(&mut text, Family::Container, "x", "help");
        for line in [
            "x_bucket{action=\"start\",le=\"0.01\"} 0",
            "x_bucket{action=\"start\",le=\"0.025\"} 1",
            "x_bucket{action=\"start\",le=\"10\"} 1",
            "x_bucket{action=\"start\",le=\"+Inf\"} 2",
            "x_sum{action=\"start\"} 60.02",
            "x_count{action=\"create\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(!text.contains("connect"));
        assert_eq!(escape("a\"b\\"), "a\\\"b\\\\");
    }
}
