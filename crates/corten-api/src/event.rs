//! Events.

use std::collections::BTreeMap;

use crate::document::document;

document! {
/// Something that happened to an object.
pub struct Event {
    /// The action again, for containers and images; gone in 1.52.
    status: String = omitempty "status",
    /// The actor's ID again, for containers and images; gone in 1.52.
    id: String = omitempty "id",
    /// The image of a container; gone in 1.52.
    from: String = omitempty "from",
    /// `container`, `image`, `volume`, `network`, `daemon`, …
    kind: String = "Type",
    /// `create`, `start`, `die`, …
    action: String = "Action",
    /// What it happened to.
    actor: Actor = "Actor",
    /// `local`.
    scope: String = omitempty "scope",
    /// Seconds since 1970.
    time: i64 = omitempty "time",
    /// Nanoseconds since 1970.
    time_nano: i64 = omitempty "timeNano",
}
}

document! {
/// What an event happened to.
pub struct Actor {
    /// Full ID, or the name where that is the identity.
    id: String = "ID",
    /// Labels, and what the action adds.
    attributes: BTreeMap<String, String> = "Attributes",
}
}
