//! Events: what happened, told to whoever listens, the last ones kept for those who ask afterwards.
//!
//! Publishing never waits: each listener has a bounded queue of its own, and one that falls behind by more than
//! [`QUEUE`] events misses the oldest of them, which Docker's listeners do too.

use crate::engine::Engine;
use crate::error::{EngineError, Result};
use corten_api::event::{Actor, Event};
use corten_api::filter::Filters;
use corten_std::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;

/// Past events that are kept for `since`, as many as Docker keeps.
const KEPT: usize = 256;

/// Events that a listener may be behind.
const QUEUE: usize = 2048;

/// Keys of an event filter (Docker's `api/server/router/system`).
const FILTER_KEYS: &[&str] = &[
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// The one place where events are published.
#[derive(Debug)]
pub struct Events {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    kept: VecDeque<Arc<Event>>,
    /// How many there were since the daemon began.
    published: u64,
    sender: broadcast::Sender<Arc<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        let (sender, _) = broadcast::channel(QUEUE);
        Self { state: Mutex::new(State { kept: VecDeque::with_capacity(KEPT), published: 0, sender }) }
    }
}

impl Events {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes an event of now: `kind` is `container`, `network`, `volume` or `image`; `action` as Docker names it.
    pub(crate) fn publish(
        &self,
        kind: &'static str,
        action: &str,
        actor: &str,
        attributes: BTreeMap<String, String>,
    ) {
        let mut event = Event {
            kind: kind.to_owned(),
            action: action.to_owned(),
            scope: "local".to_owned(),
            ..Event::default()
        };
        // The keys of the first API, still read by old clients: containers and images alone have them.
        if matches!(kind, "container" | "image") {
            action.clone_into(&mut event.status);
            actor.clone_into(&mut event.id);
            if kind == "container" {
                event.from = attributes.get("image").cloned().unwrap_or_default();
            }
        }
        event.actor = Actor { id: actor.to_owned(), attributes };
        let mut state = self.lock();
        // The time is taken under the lock, so that events leave in the order of their times.
        let now = Timestamp::now();
        event.time = now.unix_seconds();
        event.time_nano = i64::try_from(now.unix_nanos()).unwrap_or(i64::MAX);
        state.published += 1;
        let event = Arc::new(event);
        if state.kept.len() == KEPT {
            state.kept.pop_front();
        }
        state.kept.push_back(Arc::clone(&event));
        // Nobody listening is no failure.
        let _ = state.sender.send(event);
    }

    /// How many there were since the daemon began.
    pub(crate) fn published(&self) -> u64 {
        self.lock().published
    }

    /// How many clients listen.
    pub(crate) fn listeners(&self) -> usize {
        self.lock().sender.receiver_count()
    }

    fn subscribe(&self, query: EventQuery) -> Subscription {
        let state = self.lock();
        let since = query.since;
        let past = state
            .kept
            .iter()
            .filter(|event| since.is_some_and(|since| i128::from(event.time_nano) >= since.unix_nanos()))
            .cloned()
            .collect();
        Subscription { past, receiver: state.sender.subscribe(), query }
    }
}

/// Which events a client wants.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// From when on; none: from now.
    pub since: Option<Timestamp>,
    /// Until when; none: for ever.
    pub until: Option<Timestamp>,
    /// Which of them.
    pub filters: Filters,
}

/// A stream of events. It is registered when it is made: nothing is missed between that and the first [`Self::next`].
#[derive(Debug)]
pub struct Subscription {
    past: VecDeque<Arc<Event>>,
    receiver: broadcast::Receiver<Arc<Event>>,
    query: EventQuery,
}

impl Subscription {
    /// The next event that passes the filters; none once `until` is reached.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        while let Some(event) = self.past.pop_front() {
            let in_time =
                self.query.until.is_none_or(|until| i128::from(event.time_nano) <= until.unix_nanos());
            if in_time && matches(&self.query.filters, &event) {
                return Some(event);
            }
        }
        loop {
            let event = match self.query.until {
                None => self.receiver.recv().await,
                Some(until) => {
                    let left = until.since(Timestamp::now());
                    if left == Duration::ZERO {
                        return None;
                    }
                    tokio::time::timeout(left, self.receiver.recv()).await.ok()?
                }
            };
            match event {
                Ok(event) if matches(&self.query.filters, &event) => return Some(event),
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Engine {
    /// Listens to events. Fails on an unknown filter key.
    pub fn events(&self, query: EventQuery) -> Result<Subscription> {
        query.filters.validate(FILTER_KEYS).map_err(|error| EngineError::because("", error))?;
        Ok(self.inner.events.subscribe(query))
    }
}

/// Whether an event passes: Docker's `daemon/events/filter.go` tells which keys compare how.
fn matches(filters: &Filters, event: &Event) -> bool {
    filters.is_empty()
        || (matches_action(filters, &event.action)
            && filters.matches_exactly("type", &event.kind)
            && filters.matches_exactly("scope", &event.scope)
            && matches_object(filters, "container", event)
            && matches_object(filters, "network", event)
            && matches_object(filters, "volume", event)
            && matches_object(filters, "plugin", event)
            && matches_object(filters, "daemon", event)
            && matches_image(filters, event)
            && filters.matches_labels("label", &event.actor.attributes))
}

/// `exec_create: COMMAND`, `exec_start: COMMAND` and `health_status: STATE` are meant by their first word too.
fn matches_action(filters: &Filters, action: &str) -> bool {
    let first = action.split(':').next().unwrap_or(action);
    filters.matches_exactly("event", action)
        || (matches!(first, "exec_create" | "exec_start" | "health_status")
            && filters.matches_exactly("event", first))
}

fn matches_object(filters: &Filters, key: &str, event: &Event) -> bool {
    if !filters.contains(key) {
        return true;
    }
    // A network event is about its container too.
    let container = (key == "container").then(|| event.actor.attributes.get("container")).flatten();
    if event.kind != key {
        return event.kind == "network"
            && container.is_some_and(|container| filters.matches_prefix(key, container));
    }
    filters.matches_prefix(key, &event.actor.id)
        || event.actor.attributes.get("name").is_some_and(|name| filters.matches_prefix(key, name))
}

fn matches_image(filters: &Filters, event: &Event) -> bool {
    if !filters.contains("image") {
        return true;
    }
    let attribute = if event.kind == "image" { "name" } else { "image" };
    let name = event.actor.attributes.get(attribute).map(String::as_str).unwrap_or_default();
    let repository = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    };
    (event.kind == "image" && filters.matches_exactly("image", &event.actor.id))
        || (!name.is_empty()
            && (filters.matches_exactly("image", name) || filters.matches_exactly("image", repository)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn query(filters: &str) -> EventQuery {
        EventQuery {
            since: Some(Timestamp::from_unix(0, 0)),
            until: Some(Timestamp::now()),
            filters: Filters::parse(filters).unwrap(),
        }
    }

    async fn actions(events: &Events, filters: &str) -> Vec<String> {
        let mut subscription = events.subscribe(query(filters));
        let mut found = Vec::new();
        while let Some(event) = subscription.next().await {
            found.push(event.action.clone());
        }
        found
    }

    #[tokio::test]
    async fn past_events_are_replayed_through_the_filters() {
        let events = Events::default();
        events.publish(
            "container",
            "create",
            "c1",
            attributes(&[("name", "web"), ("image", "busybox:latest"), ("a", "1")]),
        );
        events.publish(
            "container",
            "exec_create: ls",
            "c1",
            attributes(&[("name", "web"), ("image", "busybox:latest")]),
        );
        events.publish("network", "connect", "n1", attributes(&[("container", "c1"), ("name", "bridge")]));
        events.publish("image", "tag", "sha256:1", attributes(&[("name", "busybox:1")]));
        assert_eq!(actions(&events, "").await, ["create", "exec_create: ls", "connect", "tag"]);
        assert_eq!(actions(&events, r#"{"type":["container"]}"#).await, ["create", "exec_create: ls"]);
        assert_eq!(actions(&events, r#"{"event":["exec_create"]}"#).await, ["exec_create: ls"]);
        assert_eq!(actions(&events, r#"{"container":["web"]}"#).await, ["create", "exec_create: ls"]);
        assert_eq!(
            actions(&events, r#"{"container":["c1"]}"#).await,
            ["create", "exec_create: ls", "connect"]
        );
        assert_eq!(actions(&events, r#"{"image":["busybox"]}"#).await, ["create", "exec_create: ls", "tag"]);
        assert_eq!(actions(&events, r#"{"label":["a=1"]}"#).await, ["create"]);
    }

    #[tokio::test]
    async fn a_subscription_hears_what_comes_after_it() {
        let events = Events::default();
        let mut subscription = events.subscribe(EventQuery::default());
        assert_eq!(events.listeners(), 1);
        events.publish("volume", "create", "v", BTreeMap::new());
        let event = subscription.next().await.unwrap();
        assert_eq!((event.kind.as_str(), event.status.as_str()), ("volume", ""));
        let mut ended =
            events.subscribe(EventQuery { until: Some(Timestamp::from_unix(1, 0)), ..EventQuery::default() });
        assert!(ended.next().await.is_none());
    }
}
