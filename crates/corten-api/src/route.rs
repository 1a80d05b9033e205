//! The table of routes: everything that can be asked, as data.
//!
//! A pattern is a path with at most one place `{}` for a name. A name holds at least one character and may hold slashes
//! (image names do), so that a pattern matches where its fixed parts stand at the beginning and at the end.
//! Rows are tried in order; the first one that fits wins, which is why fixed paths stand before patterns.

use crate::version::ApiVersion;

/// A request method that a route can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
}

impl Method {
    /// Reads the word of a request line; other methods have no route.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            _ => return None,
        })
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Method.
    pub method: Method,
    /// Path without version prefix; `{}` stands for a name.
    pub pattern: &'static str,
    /// What it asks for.
    pub operation: Operation,
    /// The first version that has it.
    pub since: ApiVersion,
}

macro_rules! routes {
    ($($method:ident $pattern:literal $operation:ident $since:literal $text:literal;)*) => {
        /// Everything that can be asked.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Operation {
            $(#[doc = $text] $operation,)*
        }

        impl Operation {
            /// What it asks for, for people.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$operation => $text,)*
                }
            }
        }

        /// All routes, in the order in which they are tried.
        pub const ROUTES: &[Route] = &[
            $(Route {
                method: Method::$method,
                pattern: $pattern,
                operation: Operation::$operation,
                since: ApiVersion::one($since),
            },)*
        ];
    };
}

routes! {
    Head "/_ping" PingHead 24 "Is the daemon there, and which versions does it speak; no body";
    Get "/_ping" Ping 24 "Is the daemon there, and which versions does it speak";
    Get "/version" Version 24 "Versions of the engine and its parts";
    Get "/info" Info 24 "The daemon and its host";
    Get "/events" Events 24 "Stream of events";
    Get "/system/df" DiskUsage 24 "What takes up space";
    Post "/auth" Auth 24 "Check credentials with a registry";

    Get "/containers/json" ContainerList 24 "List of containers";
    Post "/containers/create" ContainerCreate 24 "Make a container";
    Post "/containers/prune" ContainerPrune 24 "Remove stopped containers";
    Get "/containers/{}/json" ContainerInspect 24 "Everything about a container";
    Get "/containers/{}/top" ContainerTop 24 "Processes of a container";
    Get "/containers/{}/logs" ContainerLogs 24 "Output of a container so far, and on";
    Get "/containers/{}/changes" ContainerChanges 24 "Changes of a container's files";
    Get "/containers/{}/export" ContainerExport 24 "A container's files as an archive";
    Get "/containers/{}/stats" ContainerStats 24 "Resource use of a container";
    Get "/containers/{}/attach/ws" ContainerAttachWebSocket 24 "Attach by WebSocket";
    Post "/containers/{}/attach" ContainerAttach 24 "Connect to a container's streams";
    Post "/containers/{}/resize" ContainerResize 24 "Size of a container's terminal";
    Post "/containers/{}/start" ContainerStart 24 "Start a container";
    Post "/containers/{}/stop" ContainerStop 24 "Stop a container";
    Post "/containers/{}/restart" ContainerRestart 24 "Stop and start a container";
    Post "/containers/{}/kill" ContainerKill 24 "Send a signal to a container";
    Post "/containers/{}/update" ContainerUpdate 24 "Change a container's limits";
    Post "/containers/{}/rename" ContainerRename 24 "Give a container another name";
    Post "/containers/{}/pause" ContainerPause 24 "Freeze a container";
    Post "/containers/{}/unpause" ContainerUnpause 24 "Thaw a container";
    Post "/containers/{}/wait" ContainerWait 24 "Wait for a container's end";
    Head "/containers/{}/archive" ArchiveStat 24 "Facts about a path in a container";
    Get "/containers/{}/archive" ArchiveGet 24 "Files of a container as an archive";
    Put "/containers/{}/archive" ArchivePut 24 "Put an archive's files into a container";
    Post "/containers/{}/exec" ExecCreate 24 "Prepare a further program in a container";
    Get "/containers/{}/checkpoints" CheckpointList 25 "List of a container's checkpoints";
    Post "/containers/{}/checkpoints" CheckpointCreate 25 "Save a container's state";
    Delete "/containers/{}" ContainerRemove 24 "Remove a container";

    Post "/exec/{}/start" ExecStart 24 "Run a prepared program";
    Post "/exec/{}/resize" ExecResize 24 "Size of an exec's terminal";
    Get "/exec/{}/json" ExecInspect 24 "Everything about an exec";

    Get "/images/json" ImageList 24 "List of images";
    Get "/images/search" ImageSearch 24 "Search a registry";
    Get "/images/get" ImageSaveMany 24 "Images as one archive";
    Post "/images/create" ImageCreate 24 "Pull or import an image";
    Post "/images/load" ImageLoad 24 "Take images from an archive";
    Post "/images/prune" ImagePrune 24 "Remove unused images";
    Get "/images/{}/json" ImageInspect 24 "Everything about an image";
    Get "/images/{}/attestations" ImageAttestations 55 "Statements about how an image was made";
    Get "/images/{}/history" ImageHistory 24 "Steps an image was made by";
    Get "/images/{}/get" ImageSave 24 "An image as an archive";
    Post "/images/{}/push" ImagePush 24 "Send an image to a registry";
    Get "/images/content" ImageInventory 24 "What the store has and need not be sent; of Corten's own";
    Post "/images/bundle" ImageBundle 24 "Save images for another store, without what that has; of Corten's own";
    Post "/images/compact" ImageCompact 24 "Drop forms of layers that can be had again; of Corten's own";
    Post "/images/{}/verify" ImageVerify 24 "Whether an image has the signatures that are asked for; of Corten's own";
    Post "/images/{}/tag" ImageTag 24 "Give an image a further name";
    Delete "/images/{}" ImageRemove 24 "Remove a name or an image";
    Post "/commit" Commit 24 "Make an image from a container";
    Get "/distribution/{}/json" DistributionInspect 24 "What a registry has under a name";

    Post "/build/prune" BuildPrune 24 "Remove build cache";
    Post "/build/cancel" BuildCancel 24 "End a build";
    Post "/build" Build 24 "Build an image";
    Post "/session" Session 24 "Let the builder call the client";
    Post "/grpc" Grpc 24 "The builder's own protocol";

    Get "/volumes" VolumeList 24 "List of volumes";
    Post "/volumes/create" VolumeCreate 24 "Make a volume";
    Post "/volumes/prune" VolumePrune 24 "Remove unused volumes";
    Get "/volumes/{}" VolumeInspect 24 "Everything about a volume";
    Put "/volumes/{}" VolumeUpdate 24 "Change a cluster volume";
    Delete "/volumes/{}" VolumeRemove 24 "Remove a volume";

    Get "/networks" NetworkList 24 "List of networks";
    Get "/networks/" NetworkListSlash 24 "List of networks, as old clients ask";
    Post "/networks/create" NetworkCreate 24 "Make a network";
    Post "/networks/prune" NetworkPrune 24 "Remove unused networks";
    Get "/networks/{}" NetworkInspect 24 "Everything about a network";
    Post "/networks/{}/connect" NetworkConnect 24 "Put a container into a network";
    Post "/networks/{}/disconnect" NetworkDisconnect 24 "Take a container out of a network";
    Delete "/networks/{}" NetworkRemove 24 "Remove a network";

    Get "/plugins" PluginList 24 "List of managed plug-ins";
    Get "/plugins/privileges" PluginPrivileges 24 "What a plug-in wants";
    Get "/plugins/{}/json" PluginInspect 24 "Everything about a plug-in";
    Post "/plugins/pull" PluginPull 24 "Install a plug-in";
    Post "/plugins/create" PluginCreate 24 "Make a plug-in";
    Post "/plugins/{}/enable" PluginEnable 24 "Turn a plug-in on";
    Post "/plugins/{}/disable" PluginDisable 24 "Turn a plug-in off";
    Post "/plugins/{}/push" PluginPush 24 "Send a plug-in to a registry";
    Post "/plugins/{}/upgrade" PluginUpgrade 24 "Replace a plug-in by another version";
    Post "/plugins/{}/set" PluginSet 24 "Change a plug-in's settings";
    Delete "/plugins/{}" PluginRemove 24 "Remove a plug-in";

    Get "/swarm" SwarmInspect 24 "The cluster";
    Get "/swarm/unlockkey" SwarmUnlockKey 24 "Key of a locked cluster";
    Post "/swarm/init" SwarmInit 24 "Begin a cluster";
    Post "/swarm/join" SwarmJoin 24 "Join a cluster";
    Post "/swarm/leave" SwarmLeave 24 "Leave a cluster";
    Post "/swarm/update" SwarmUpdate 24 "Change the cluster";
    Post "/swarm/unlock" SwarmUnlock 24 "Unlock the cluster";
    Get "/services" ServiceList 24 "List of services";
    Post "/services/create" ServiceCreate 24 "Make a service";
    Get "/services/{}/logs" ServiceLogs 24 "Output of a service";
    Post "/services/{}/update" ServiceUpdate 24 "Change a service";
    Get "/services/{}" ServiceInspect 24 "Everything about a service";
    Delete "/services/{}" ServiceRemove 24 "Remove a service";
    Get "/nodes" NodeList 24 "List of nodes";
    Post "/nodes/{}/update" NodeUpdate 24 "Change a node";
    Get "/nodes/{}" NodeInspect 24 "Everything about a node";
    Delete "/nodes/{}" NodeRemove 24 "Remove a node";
    Get "/tasks" TaskList 24 "List of tasks";
    Get "/tasks/{}/logs" TaskLogs 24 "Output of a task";
    Get "/tasks/{}" TaskInspect 24 "Everything about a task";
    Get "/secrets" SecretList 24 "List of secrets";
    Post "/secrets/create" SecretCreate 24 "Make a secret";
    Post "/secrets/{}/update" SecretUpdate 24 "Change a secret";
    Get "/secrets/{}" SecretInspect 24 "Everything about a secret";
    Delete "/secrets/{}" SecretRemove 24 "Remove a secret";
    Get "/configs" ConfigList 24 "List of configs";
    Post "/configs/create" ConfigCreate 24 "Make a config";
    Post "/configs/{}/update" ConfigUpdate 24 "Change a config";
    Get "/configs/{}" ConfigInspect 24 "Everything about a config";
    Delete "/configs/{}" ConfigRemove 24 "Remove a config";
}

impl Operation {
    /// Whether it is about Swarm: cluster, services, nodes, tasks, secrets, configs.
    pub fn is_swarm(self) -> bool {
        ROUTES.iter().find(|route| route.operation == self).is_some_and(|route| {
            let family = route.pattern.split('/').nth(1);
            matches!(family, Some("swarm" | "services" | "nodes" | "tasks" | "secrets" | "configs"))
        })
    }
}

/// A route that fits, with the name in its path; empty when it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match<'path> {
    /// The row's pattern.
    pub pattern: &'static str,
    /// What is asked for.
    pub operation: Operation,
    /// The name in the path.
    pub name: &'path str,
}

/// Finds what a request asks for. `path` has no version prefix and no escapes.
pub fn find(method: Method, path: &str, version: ApiVersion) -> Option<Match<'_>> {
    ROUTES.iter().filter(|route| route.method == method && route.since <= version).find_map(|route| {
        let name = match route.pattern.split_once("{}") {
            None if path == route.pattern => "",
            None => return None,
            Some((before, after)) => {
                path.strip_prefix(before)?.strip_suffix(after).filter(|name| !name.is_empty())?
            }
        };
        Some(Match { operation: route.operation, pattern: route.pattern, name })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn found(method: Method, path: &str) -> Option<(Operation, &str)> {
        find(method, path, ApiVersion::NEWEST).map(|found| (found.operation, found.name))
    }

    #[test]
    fn names_may_hold_slashes_and_fixed_paths_win() {
        use Method::{Delete, Get, Head, Post, Put};
        let cases = [
            (Get, "/containers/json", Some((Operation::ContainerList, ""))),
            (Get, "/containers/a/json", Some((Operation::ContainerInspect, "a"))),
            (Get, "/images/a/b:c/json", Some((Operation::ImageInspect, "a/b:c"))),
            (Get, "/images/json", Some((Operation::ImageList, ""))),
            (Get, "/images/get", Some((Operation::ImageSaveMany, ""))),
            (Get, "/images/x/get", Some((Operation::ImageSave, "x"))),
            (Delete, "/images/r:5000/a/b", Some((Operation::ImageRemove, "r:5000/a/b"))),
            (Get, "/networks/", Some((Operation::NetworkListSlash, ""))),
            (Get, "/networks/a", Some((Operation::NetworkInspect, "a"))),
            (Post, "/build", Some((Operation::Build, ""))),
            (Head, "/_ping", Some((Operation::PingHead, ""))),
            (Head, "/info", None),
            (Put, "/containers/a/archive", Some((Operation::ArchivePut, "a"))),
            (Get, "/containers//json", None),
            (Get, "/nothing", None),
            (Delete, "/info", None),
        ];
        for (method, path, expected) in cases {
            assert_eq!(found(method, path), expected, "{method:?} {path}");
        }
    }

    #[test]
    fn every_row_can_be_reached() {
        for route in ROUTES {
            let path = route.pattern.replace("{}", "some");
            assert_eq!(
                find(route.method, &path, route.since).map(|found| found.operation),
                Some(route.operation),
                "{path}"
            );
        }
        let rows: HashSet<_> = ROUTES.iter().map(|route| (route.method, route.pattern)).collect();
        assert_eq!(rows.len(), ROUTES.len());
    }

    #[test]
    fn the_cluster_is_known() {
        assert!(Operation::NodeList.is_swarm());
        assert!(Operation::SwarmInit.is_swarm());
        assert!(!Operation::Session.is_swarm());
    }
}
