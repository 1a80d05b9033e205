//! Images.

use crate::client::{Payload, Query, Reply, segment};
use crate::{Client, ClientError, Filters, Object};
use corten_api::image::{DeleteResponse, HistoryItem, PruneReport, Summary};
use std::io::Read;

impl Client {
    /// Lists.
    pub fn image_list(&self, all: bool, filters: &Filters) -> Result<Vec<Summary>, ClientError> {
        self.get("/images/json", &Query::new().flag("all", all).filters(filters))
    }

    /// Lists, with what each image holds for each platform.
    pub fn image_list_manifests(&self, all: bool, filters: &Filters) -> Result<Vec<Summary>, ClientError> {
        self.get("/images/json", &Query::new().flag("all", all).flag("manifests", true).filters(filters))
    }

    /// Inspects.
    pub fn image_inspect(&self, name: &str, platform: Option<&str>) -> Result<Object, ClientError> {
        self.get(&path(name, "json"), &Query::new().maybe("platform", platform))
    }

    /// The steps it was made in, newest first.
    pub fn image_history(&self, name: &str, platform: Option<&str>) -> Result<Vec<HistoryItem>, ClientError> {
        self.get(&path(name, "history"), &Query::new().maybe("platform", platform))
    }

    /// Gives an image a further name.
    pub fn image_tag(&self, name: &str, repository: &str, tag: &str) -> Result<(), ClientError> {
        self.post(&path(name, "tag"), &Query::new().with("repo", repository).with("tag", tag)).map(drop)
    }

    /// Removes a name, and the image with its last one.
    pub fn image_remove(
        &self,
        name: &str,
        force: bool,
        no_prune: bool,
        platforms: &[String],
    ) -> Result<Vec<DeleteResponse>, ClientError> {
        let query = Query::new().flag("force", force).flag("noprune", no_prune);
        let query = platforms.iter().fold(query, |query, platform| query.with("platforms", platform));
        self.delete(&format!("/images/{}", segment(name)), &query)?.json()
    }

    /// Loads an archive; the answer is a stream of progress documents, or plain text.
    pub fn image_load(
        &self,
        archive: &mut dyn Read,
        quiet: bool,
        platform: Option<&str>,
    ) -> Result<Reply, ClientError> {
        let query = Query::new().with("quiet", if quiet { "1" } else { "0" }).maybe("platform", platform);
        self.request("POST", "/images/load", &query, Payload::Archive(archive))
    }

    /// Images as an archive.
    pub fn image_save(&self, names: &[String], platform: Option<&str>) -> Result<Reply, ClientError> {
        let query = names.iter().fold(Query::new(), |query, name| query.with("names", name));
        self.request("GET", "/images/get", &query.maybe("platform", platform), Payload::Empty)
    }

    /// What the daemon has and need not be sent; none where it is not one of ours.
    pub fn image_inventory(&self) -> Result<Option<Vec<String>>, ClientError> {
        match self.get::<Object>("/images/content", &Query::new()) {
            Ok(answer) => {
                let all = answer["Content"].as_array().into_iter().flatten();
                Ok(Some(all.filter_map(|digest| digest.as_str().map(str::to_owned)).collect()))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Images for another store, as an archive.
    pub fn image_bundle(&self, document: &impl serde::Serialize) -> Result<Reply, ClientError> {
        let body = crate::client::encode(document)?;
        self.request("POST", "/images/bundle", &Query::new(), Payload::Json(&body))
    }

    /// Makes an image of an archive (`source` `-`) or of what the daemon fetches.
    pub fn image_import(&self, query: &Query, archive: Option<&mut dyn Read>) -> Result<Reply, ClientError> {
        let payload = archive.map_or(Payload::Empty, Payload::Archive);
        self.request("POST", "/images/create", query, payload)
    }

    /// Pulls; the answer is a stream of progress documents.
    pub fn image_pull(
        &self,
        repository: &str,
        tag: &str,
        platform: Option<&str>,
        registry_auth: &str,
        ours: &[&str],
    ) -> Result<Reply, ClientError> {
        let query = Query::new().with("fromImage", repository).with("tag", tag).maybe("platform", platform);
        // What only our daemon knows: `explain`, `referrers`.
        let query = ours.iter().fold(query, |query, name| query.with(name, "1"));
        let auth = [("X-Registry-Auth", registry_auth)];
        self.request_with("POST", "/images/create", &query, Payload::Empty, &auth)
    }

    /// Pushes one tag, or all with an empty one; the answer is a stream of progress documents.
    pub fn image_push(
        &self,
        repository: &str,
        tag: &str,
        platform: Option<&str>,
        registry_auth: &str,
    ) -> Result<Reply, ClientError> {
        let query = Query::new();
        let query = if tag.is_empty() { query } else { query.with("tag", tag) };
        let query = query.maybe("platform", platform);
        let auth = [("X-Registry-Auth", registry_auth)];
        self.request_with("POST", &path(repository, "push"), &query, Payload::Empty, &auth)
    }

    /// Drops forms of layers that can be had again: compressed ones, and folders that nothing used for so many seconds.
    pub fn image_compact(
        &self,
        compressed: bool,
        unpacked_for: Option<u64>,
        dry: bool,
    ) -> Result<Object, ClientError> {
        let query = Query::new().with("compressed", if compressed { "1" } else { "0" });
        let query = query.with("dryRun", if dry { "1" } else { "0" });
        let seconds = unpacked_for.map(|seconds| seconds.to_string());
        let query = query.maybe("unpackedFor", seconds.as_deref());
        self.request("POST", "/images/compact", &query, Payload::Empty)?.json()
    }

    /// Whether an image has the signatures that the policy asks for, or one by a key of the document.
    pub fn image_verify(
        &self,
        name: &str,
        document: &impl serde::Serialize,
        registry_auth: &str,
    ) -> Result<Object, ClientError> {
        let auth = [("X-Registry-Auth", registry_auth)];
        let body = crate::client::encode(document)?;
        self.request_with("POST", &path(name, "verify"), &Query::new(), Payload::Json(&body), &auth)?.json()
    }

    /// Looks for images at a registry.
    pub fn image_search(
        &self,
        term: &str,
        limit: u32,
        filters: &Filters,
        registry_auth: &str,
    ) -> Result<Vec<Object>, ClientError> {
        let query = Query::new().with("term", term);
        let query = if limit == 0 { query } else { query.with("limit", limit.to_string()) };
        let auth = [("X-Registry-Auth", registry_auth)];
        self.request_with("GET", "/images/search", &query.filters(filters), Payload::Empty, &auth)?.json()
    }

    /// Checks a login; the answer may hold an identity token.
    pub fn login(&self, document: &impl serde::Serialize) -> Result<Object, ClientError> {
        self.post_json("/auth", &Query::new(), document)
    }

    /// Removes those that are not used.
    pub fn image_prune(&self, filters: &Filters) -> Result<PruneReport, ClientError> {
        self.request("POST", "/images/prune", &Query::new().filters(filters), Payload::Empty)?.json()
    }
}

fn path(name: &str, what: &str) -> String {
    format!("/images/{}/{what}", segment(name))
}
