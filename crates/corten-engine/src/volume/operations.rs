//! What users ask of volumes: list, inspect, create, remove, prune.

use super::{ANONYMOUS_LABEL, VolumeWanted, blocking, tree_size};
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use corten_api::filter::Filters;
use corten_api::volume::{CreateRequest, ListResponse, PruneReport, Volume};
use corten_std::ErrorClass;
use std::collections::BTreeMap;

impl Engine {
    /// `GET /volumes`. Filters: `dangling`, `driver`, `label`, `label!`, `name`.
    pub async fn volume_list(&self, filters: &Filters) -> Result<ListResponse> {
        let of = |error| EngineError::because("", error);
        filters.validate(&["dangling", "driver", "label", "label!", "name"]).map_err(of)?;
        let dangling = filters.flag("dangling").map_err(of)?;
        let used = self.used_volumes();
        let volumes = self.inner.volumes.all().into_iter().filter(|record| {
            let labels = record.labels.clone().unwrap_or_default();
            dangling.is_none_or(|dangling| dangling != used.contains_key(&record.name))
                && filters.matches_exactly("driver", &record.driver)
                && filters.matches_pattern("name", &record.name)
                && filters.matches_label_keys(&labels)
        });
        let (engine, records) = (self.clone(), volumes.collect::<Vec<_>>());
        let asked = records.iter().any(|record| engine.inner.volumes.plugin(&record.driver).is_some());
        let documents = move || records.iter().map(|record| engine.inner.volumes.document(record)).collect();
        // Only plugins take time.
        let volumes = if asked { blocking(move || Ok(documents())).await? } else { documents() };
        Ok(ListResponse { volumes, warnings: None })
    }

    /// `GET /volumes/{name}`.
    pub async fn volume_inspect(&self, name: &str) -> Result<Volume> {
        let (engine, record) = (self.clone(), self.inner.volumes.get(name)?);
        if engine.inner.volumes.plugin(&record.driver).is_none() {
            return Ok(engine.inner.volumes.document(&record));
        }
        blocking(move || Ok(engine.inner.volumes.document(&record))).await
    }

    /// `POST /volumes/create`: the volume of that name, made where it is missing.
    pub async fn volume_create(&self, request: CreateRequest) -> Result<Volume> {
        let engine = self.clone();
        blocking(move || {
            let wanted = VolumeWanted {
                name: (!request.name.is_empty()).then_some(request.name),
                driver: request.driver,
                options: request.driver_opts.unwrap_or_default(),
                labels: request.labels.unwrap_or_default(),
            };
            let found = engine.inner.volumes.obtain(&engine.inner.events, &wanted, None)?;
            Ok(engine.inner.volumes.document(&engine.inner.volumes.get(&found.name)?))
        })
        .await
    }

    /// `DELETE /volumes/{name}`; refused while a container has it. `force` passes over a missing one.
    pub async fn volume_remove(&self, name: &str, force: bool) -> Result<()> {
        match self.inner.volumes.get(name) {
            Ok(_) => {}
            Err(_) if force => return Ok(()),
            Err(error) => return Err(error),
        }
        let (engine, name) = (self.clone(), name.to_owned());
        blocking(move || engine.discard_volume(&name)).await
    }

    /// `POST /volumes/prune`: anonymous volumes that no container has; all such with the filter `all`.
    pub async fn volume_prune(&self, filters: &Filters) -> Result<PruneReport> {
        let of = |error| EngineError::because("", error);
        filters.validate(&["all", "label", "label!"]).map_err(of)?;
        let all = filters.flag("all").map_err(of)?.unwrap_or(false);
        let used = self.used_volumes();
        let mut report = PruneReport::default();
        for record in self.inner.volumes.all() {
            let labels = record.labels.clone().unwrap_or_default();
            let wanted = (all || labels.contains_key(ANONYMOUS_LABEL)) && filters.matches_label_keys(&labels);
            if !wanted
                || used.contains_key(&record.name)
                || record.options.is_some()
                || record.driver != "local"
            {
                continue;
            }
            let (engine, name) = (self.clone(), record.name.clone());
            let removed = blocking(move || {
                let size = tree_size(&engine.inner.settings.paths.volume_data(&name));
                engine.discard_volume(&name).map(|()| size)
            });
            match removed.await {
                Ok(size) => {
                    report.space_reclaimed += size;
                    report.volumes_deleted.get_or_insert_default().push(record.name);
                }
                // Somebody took it meanwhile.
                Err(error) if error.class() == ErrorClass::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        self.tell_pruned("volume", report.space_reclaimed);
        Ok(report)
    }

    /// Removes a volume that no container has. Blocking.
    fn discard_volume(&self, name: &str) -> Result<()> {
        let users = || self.used_volumes().remove(name).unwrap_or_default();
        self.inner.volumes.discard(&self.inner.events, name, None, &users)
    }

    /// For each volume that containers have, their ids.
    pub(crate) fn used_volumes(&self) -> BTreeMap<String, Vec<String>> {
        let mut used: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for container in self.inner.containers.all() {
            let record = container.view().record.clone();
            for volume in record.volumes() {
                let users = used.entry(volume.to_owned()).or_default();
                if !users.contains(&record.id) {
                    users.push(record.id.clone());
                }
            }
        }
        used
    }
}
