//! Volumes.

use std::collections::BTreeMap;

use crate::document::document;

document! {
/// Everything about one volume.
pub struct Volume {
    /// RFC 3339.
    created_at: String = omitempty "CreatedAt",
    /// `local`.
    driver: String = "Driver",
    /// `null` when it was made without.
    labels: Option<BTreeMap<String, String>> = "Labels",
    /// Its folder on the host.
    mountpoint: String = "Mountpoint",
    /// Name.
    name: String = "Name",
    /// Options of the driver; `null` when it was made without.
    options: Option<BTreeMap<String, String>> = "Options",
    /// `local`.
    scope: String = "Scope",
    /// What the driver tells.
    status: Option<BTreeMap<String, serde_json::Value>> = omitempty "Status",
    /// Only from `GET /system/df`.
    usage_data: Option<UsageData> = omitempty "UsageData",
}
}

document! {
/// How a volume is used.
pub struct UsageData {
    /// Containers that have it; -1: unknown.
    ref_count: i64 = "RefCount",
    /// Bytes; -1: unknown.
    size: i64 = "Size",
}
}

document! {
/// The answer to `GET /volumes`.
pub struct ListResponse {
    /// The volumes.
    volumes: Vec<Volume> = "Volumes",
    /// Drivers that could not be asked.
    warnings: Option<Vec<String>> = "Warnings",
}
}

document! {
/// The body of `POST /volumes/create`.
pub struct CreateRequest {
    /// Empty: `local`.
    driver: String = omitempty "Driver",
    /// Options of the driver.
    driver_opts: Option<BTreeMap<String, String>> = omitempty "DriverOpts",
    /// Labels.
    labels: Option<BTreeMap<String, String>> = omitempty "Labels",
    /// Empty: a random one.
    name: String = omitempty "Name",
}
}

document! {
/// The answer to `POST /volumes/prune`.
pub struct PruneReport {
    /// Names of removed volumes; none at all is `null`.
    volumes_deleted: Option<Vec<String>> = "VolumesDeleted",
    /// Bytes freed.
    space_reclaimed: u64 = "SpaceReclaimed",
}
}
