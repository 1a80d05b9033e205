//! The list of containers.

use crate::Engine;
use crate::container::filter::{ListFilter, Lookup};
use crate::container::handle::View;
use crate::container::size::Measure;
use crate::container::spec::ports;
use crate::error::Result;
use corten_api::container::{Summary, SummaryHostConfig, SummaryNetworkSettings};
use corten_api::filter::Filters;
use corten_std::Timestamp;
use std::fmt::Write;

/// Which containers, and what of them.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Also those that do not run.
    pub all: bool,
    /// That many of the newest, whether they run or not; 0 or less: no limit.
    pub limit: i64,
    /// With their sizes, which are counted anew.
    pub size: bool,
    /// Filters by key.
    pub filters: Filters,
}

impl Engine {
    /// The containers that are asked for, the newest first.
    pub async fn list(&self, options: ListOptions) -> Result<Vec<Summary>> {
        let filter = ListFilter::new(&options.filters, self)?;
        let all = options.all || options.limit > 0 || filter.wants_all();
        let mut views = self.views();
        views.retain(|view| (all || view.life.phase.is_running()) && filter.matches(view));
        views.sort_by(|one, other| {
            other.record.created.cmp(&one.record.created).then_with(|| one.record.id.cmp(&other.record.id))
        });
        if options.limit > 0 {
            views.truncate(options.limit as usize);
        }
        let now = Timestamp::now();
        let mut list: Vec<Summary> = views.iter().map(|view| self.summary(view, now)).collect();
        if options.size {
            let records = views.iter().map(|view| view.record.clone()).collect();
            for (summary, size) in list.iter_mut().zip(self.container_sizes(records, Measure::Content).await?)
            {
                (summary.size_rw, summary.size_root_fs) = size;
            }
        }
        Ok(list)
    }

    fn summary(&self, view: &View, now: Timestamp) -> Summary {
        let record = &view.record;
        let networks = view.endpoints().clone();
        let mut status = view.life.status_text(now);
        if let Some(health) = view.health.as_ref().filter(|_| view.life.phase == super::Phase::Running) {
            let word = if health.status == "starting" { "health: starting" } else { &health.status };
            let _ = write!(status, " ({word})");
        }
        Summary {
            id: record.id.clone(),
            names: vec![format!("/{}", record.name)],
            image: self.shown_image(record),
            image_id: record.image.clone(),
            image_manifest_descriptor: None,
            command: command_line(&record.path, &record.arguments),
            created: record.created.unix_seconds(),
            ports: view.network.as_ref().map(|network| ports::summary(&network.ports)).unwrap_or_default(),
            size_rw: 0,
            size_root_fs: 0,
            labels: record.config.labels.clone(),
            state: view.life.phase.as_str().to_owned(),
            status,
            host_config: SummaryHostConfig {
                network_mode: record.host_config.network_mode.clone(),
                annotations: record.host_config.annotations.clone(),
            },
            network_settings: SummaryNetworkSettings { networks },
            mounts: record.shown_mounts(),
        }
    }
}

/// The program and its arguments as `ps` shows them: an argument with a blank in single quotes.
fn command_line(path: &str, arguments: &[String]) -> String {
    let mut line = path.to_owned();
    for argument in arguments {
        line.push(' ');
        if argument.contains(' ') {
            let _ = write!(line, "'{argument}'");
        } else {
            line.push_str(argument);
        }
    }
    line
}

impl Lookup for Engine {
    fn created(&self, container: &str) -> Option<Timestamp> {
        self.find(container).ok().map(|handle| handle.view().record.created)
    }

    fn image(&self, reference: &str) -> Option<String> {
        self.inner.store.images().resolve_id(reference).ok().map(|id| id.to_string())
    }

    fn network(&self, reference: &str) -> Option<String> {
        self.inner.networks.resolve(reference).ok().map(|network| network.name)
    }
}

#[cfg(test)]
mod tests {
    use super::command_line;

    #[test]
    fn command_lines() {
        assert_eq!(command_line("true", &[]), "true");
        assert_eq!(command_line("echo", &["a long line".to_owned(), "x".to_owned()]), "echo 'a long line' x");
    }
}
