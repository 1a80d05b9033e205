//! Which containers a list is about: Docker's filters of `ps`.

use crate::container::handle::View;
use crate::container::record::MountKind;
use crate::container::spec::ports::{parse_container_port, summary};
use crate::container::state::Phase;
use crate::error::{EngineError, Result};
use corten_api::filter::Filters;
use corten_std::Timestamp;
use std::collections::BTreeSet;

/// The keys that a list takes.
pub const LIST_KEYS: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

/// Filters with their values read and looked up; decides without asking anybody.
#[derive(Debug, Default)]
pub(super) struct ListFilter {
    filters: Filters,
    /// Made before the oldest of these.
    before: Option<Timestamp>,
    /// Made after the newest of these.
    since: Option<Timestamp>,
    exit_codes: BTreeSet<i32>,
    /// Image ids and names that count as the ancestor.
    ancestors: Option<BTreeSet<String>>,
    /// Names of the networks asked for.
    networks: Option<BTreeSet<String>>,
    publish: Vec<(u16, u16, String)>,
    expose: Vec<(u16, u16, String)>,
}

/// What a filter has to have looked up for it.
pub(super) trait Lookup {
    /// When that container was made; `None` where there is none.
    fn created(&self, container: &str) -> Option<Timestamp>;
    /// The id of that image.
    fn image(&self, reference: &str) -> Option<String>;
    /// The name of that network.
    fn network(&self, reference: &str) -> Option<String>;
}

impl ListFilter {
    /// Checks keys and values and looks up what they name.
    pub(super) fn new(filters: &Filters, lookup: &dyn Lookup) -> Result<Self> {
        filters.validate(&LIST_KEYS).map_err(|error| EngineError::because("", error))?;
        let invalid =
            |key: &str, value: &str| EngineError::invalid(format!("invalid filter '{key}={value}'"));
        if let Some(value) = filters.get("status").find(|value| !Phase::WORDS.contains(value)) {
            return Err(EngineError::invalid(format!(
                "invalid filter 'status={value}': invalid value for state ({value}): must be one of created, running, \
                 paused, restarting, removing, exited, dead"
            )));
        }
        if let Some(value) =
            filters.get("health").find(|value| !["none", "starting", "healthy", "unhealthy"].contains(value))
        {
            return Err(EngineError::invalid(format!(
                "invalid filter 'health={value}': invalid value for health ({value}): must be one of none, starting, \
                 healthy, unhealthy"
            )));
        }
        // Nothing is a task of Swarm's here, whatever is asked; but it must be asked rightly.
        filters.flag("is-task").map_err(|error| EngineError::because("", error))?;
        let exit_codes = filters
            .get("exited")
            .map(|value| {
                value.parse::<i32>().map_err(|_| {
                    let why = format!("strconv.Atoi: parsing \"{value}\": invalid syntax");
                    EngineError::invalid(format!("invalid filter 'exited={value}': {why}"))
                })
            })
            .collect::<Result<_>>()?;
        let moments = |key: &str| {
            filters
                .get(key)
                .map(|container| {
                    lookup.created(container).ok_or_else(|| EngineError::no_such_container(container))
                })
                .collect::<Result<Vec<Timestamp>>>()
        };
        let ports = |key: &str| {
            filters
                .get(key)
                .map(|value| parse_range(value).ok_or_else(|| invalid(key, value)))
                .collect::<Result<Vec<_>>>()
        };
        Ok(Self {
            before: moments("before")?.into_iter().min(),
            since: moments("since")?.into_iter().max(),
            exit_codes,
            ancestors: filters.contains("ancestor").then(|| {
                filters
                    .get("ancestor")
                    .map(|name| lookup.image(name).unwrap_or_else(|| name.to_owned()))
                    .collect()
            }),
            networks: filters.contains("network").then(|| {
                filters
                    .get("network")
                    .map(|name| lookup.network(name).unwrap_or_else(|| name.to_owned()))
                    .collect()
            }),
            publish: ports("publish")?,
            expose: ports("expose")?,
            filters: filters.clone(),
        })
    }

    /// Whether containers that do not run are looked at without `all`.
    pub(super) fn wants_all(&self) -> bool {
        self.filters.contains("status")
    }

    /// Whether this container is meant.
    pub(super) fn matches(&self, view: &View) -> bool {
        let record = &view.record;
        let life = &view.life;
        let filters = &self.filters;
        filters.matches_exactly("status", life.phase.as_str())
            && (!filters.contains("name")
                || filters.matches_pattern("name", &record.name)
                || filters.matches_pattern("name", &format!("/{}", record.name)))
            && filters.matches_pattern("id", &record.id)
            && filters.matches_labels("label", &record.config.labels)
            && filters.matches_exactly("health", view.health_status())
            && filters.get("is-task").all(|value| !matches!(value, "1" | "true"))
            && self.before.is_none_or(|moment| record.created < moment)
            && self.since.is_none_or(|moment| record.created > moment)
            && (self.exit_codes.is_empty()
                || (!life.phase.is_running()
                    && !life.started_at.is_zero()
                    && self.exit_codes.contains(&life.exit_code)))
            && self.ancestors.as_ref().is_none_or(|ancestors| {
                ancestors.contains(&record.image) || ancestors.contains(&record.config.image)
            })
            && self
                .networks
                .as_ref()
                .is_none_or(|networks| record.networks.keys().any(|network| networks.contains(network)))
            && (!filters.contains("volume") || has_volume(view, filters))
            && self.matches_ports(view)
    }

    fn matches_ports(&self, view: &View) -> bool {
        let within = |ranges: &[(u16, u16, String)], port: u16, protocol: &str| {
            ranges.iter().any(|(first, last, wanted)| (*first..=*last).contains(&port) && wanted == protocol)
        };
        let published = || {
            let ports = view.network.as_ref().map(|network| summary(&network.ports)).unwrap_or_default();
            ports.iter().any(|port| within(&self.publish, port.public_port, &port.protocol))
        };
        let exposed = || {
            view.record.config.exposed_ports.keys().any(|port| {
                parse_container_port(port)
                    .is_ok_and(|(port, protocol)| within(&self.expose, port, &protocol.to_string()))
            })
        };
        (self.publish.is_empty() || published()) && (self.expose.is_empty() || exposed())
    }
}

fn has_volume(view: &View, filters: &Filters) -> bool {
    view.record.mounts.iter().any(|mounted| {
        let source = match &mounted.kind {
            MountKind::Volume { name, .. } => name.clone(),
            MountKind::Bind { source, .. } => source.to_string_lossy().into_owned(),
            MountKind::Tmpfs { .. } => String::new(),
            MountKind::Image { name, .. } => name.clone(),
        };
        filters.get("volume").any(|wanted| wanted == mounted.destination || wanted == source)
    })
}

/// `80`, `80/udp`, `8000-8010/tcp`.
fn parse_range(text: &str) -> Option<(u16, u16, String)> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    Some((first.parse().ok()?, last.parse().ok()?, protocol.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::record::tests_support::record;
    use crate::container::state::Lifecycle;
    use std::sync::Arc;

    struct Known;

    impl Lookup for Known {
        fn created(&self, container: &str) -> Option<Timestamp> {
            (container == "old").then(|| Timestamp::from_unix(1, 0))
        }
        fn image(&self, reference: &str) -> Option<String> {
            (reference == "busybox").then(|| "sha256:1".to_owned())
        }
        fn network(&self, _: &str) -> Option<String> {
            None
        }
    }

    fn view() -> View {
        let mut record = record("abcdef", "web-1");
        record.image = "sha256:1".to_owned();
        record.config.labels.insert("a".to_owned(), "1".to_owned());
        record.networks.insert("bridge".to_owned(), corten_api::network::EndpointSettings::default());
        View { record: Arc::new(record), life: Lifecycle::default(), network: None, health: None }
    }

    #[track_caller]
    fn check(filters: &str, wanted: bool) {
        let filter = ListFilter::new(&Filters::parse(filters).unwrap(), &Known).unwrap();
        assert_eq!(filter.matches(&view()), wanted, "{filters}");
    }

    #[test]
    fn what_matches() {
        check("", true);
        check(r#"{"name":["eb-"]}"#, true);
        check(r#"{"name":["^web"]}"#, true);
        check(r#"{"name":["^/?web-1$"]}"#, true);
        check(r#"{"name":["db"]}"#, false);
        check(r#"{"status":["created"]}"#, true);
        check(r#"{"status":["running"]}"#, false);
        check(r#"{"ancestor":["busybox"]}"#, true);
        check(r#"{"ancestor":["no-such-image"]}"#, false);
        check(r#"{"label":["a=1"]}"#, true);
        check(r#"{"network":["bridge"]}"#, true);
        check(r#"{"since":["old"]}"#, true);
        check(r#"{"before":["old"]}"#, false);
        check(r#"{"health":["none"]}"#, true);
        check(r#"{"exited":["0"]}"#, false);
        check(r#"{"volume":["data"]}"#, false);
        check(r#"{"publish":["80"]}"#, false);
    }

    #[test]
    fn what_is_refused() {
        for (filters, text) in [
            (
                r#"{"status":["nonsense"]}"#,
                "invalid filter 'status=nonsense': invalid value for state (nonsense): must be one of created, running, \
                 paused, restarting, removing, exited, dead",
            ),
            (r#"{"odd":["1"]}"#, "invalid filter 'odd'"),
            (r#"{"before":["nobody"]}"#, "No such container: nobody"),
            (r#"{"exited":["x"]}"#, "invalid filter 'exited=x': strconv.Atoi: parsing \"x\": invalid syntax"),
        ] {
            let error = ListFilter::new(&Filters::parse(filters).unwrap(), &Known).unwrap_err();
            assert_eq!(error.to_string(), text);
        }
    }
}
