//! What all prunes share, and the prune of containers.

use crate::container::size::Measure;
use crate::container::{Phase, RemoveOptions};
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use corten_api::container::PruneReport;
use corten_api::filter::Filters;
use corten_std::Timestamp;
use std::collections::BTreeMap;

impl Engine {
    /// `POST /containers/prune`: those that do not run and pass the filters. One that cannot be removed, because somebody
    /// started or removed it meanwhile, is passed over.
    pub async fn container_prune(&self, filters: &Filters) -> Result<PruneReport> {
        filters.validate(&["label", "label!", "until"]).map_err(|error| EngineError::because("", error))?;
        let until = self.until(filters)?;
        let mut views = self.views();
        views.retain(|view| {
            matches!(view.life.phase, Phase::Created | Phase::Exited | Phase::Dead)
                && until.is_none_or(|until| view.record.created < until)
                && filters.matches_label_keys(&view.record.config.labels)
        });
        let sizes = self
            .container_sizes(views.iter().map(|view| view.record.clone()).collect(), Measure::Content)
            .await?;
        let mut report = PruneReport::default();
        for (view, (written, _)) in views.iter().zip(sizes) {
            let id = &view.record.id;
            match self.remove(id, RemoveOptions::default()).await {
                Ok(()) => {
                    report.containers_deleted.get_or_insert_default().push(id.clone());
                    report.space_reclaimed += u64::try_from(written).unwrap_or(0);
                }
                Err(error) => tracing::debug!(%error, container = id, "not pruned"),
            }
        }
        self.tell_pruned("container", report.space_reclaimed);
        Ok(report)
    }

    /// Refuses a filter `until` that a prune of the build cache could not read, in its own words.
    pub fn check_until(&self, filters: &Filters) -> Result<()> {
        if filters.get("until").count() > 1 {
            return Err(EngineError::invalid("filters expect only one value"));
        }
        let told = |error: EngineError| {
            EngineError::invalid(format!(
                "\"until\" filter expects a duration (e.g., '24h') or a timestamp: {}",
                error.message()
            ))
        };
        self.until(filters).map(drop).map_err(told)
    }

    /// The event behind a prune, whether it removed something or not.
    pub(crate) fn tell_pruned(&self, kind: &'static str, reclaimed: u64) {
        let attributes = BTreeMap::from([("reclaimed".to_owned(), reclaimed.to_string())]);
        self.inner.events.publish(kind, "prune", "", attributes);
    }

    /// The filter `until` of a prune: only what was made before. Times without an offset are the daemon's.
    pub(crate) fn until(&self, filters: &Filters) -> Result<Option<Timestamp>> {
        let mut values = filters.get("until");
        let Some(text) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(EngineError::invalid("more than one until filter specified"));
        }
        let until = Timestamp::parse_point(text, Timestamp::now(), &self.inner.settings.zone);
        until.map(Some).ok_or_else(|| {
            EngineError::invalid(format!("failed to parse value as time or duration: {text:?}"))
        })
    }
}
