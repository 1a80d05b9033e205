//! Files of containers, as tar streams.

use crate::client::{Payload, Query, Reply, segment};
use crate::{Client, ClientError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::io::{self, Write};

/// What lies at a path in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct PathStat {
    /// Last part of the path.
    #[serde(default)]
    pub name: String,
    /// Bytes.
    #[serde(default)]
    pub size: i64,
    /// Go's `os.FileMode`: permissions in the low nine bits, a folder is bit 31, a symbolic link bit 27.
    #[serde(default)]
    pub mode: u32,
    /// Where a symbolic link points, resolved in the container.
    #[serde(default, rename = "linkTarget")]
    pub link_target: String,
}

impl PathStat {
    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.mode & (1 << 31) != 0
    }

    /// Whether it is a symbolic link.
    pub fn is_link(&self) -> bool {
        self.mode & (1 << 27) != 0
    }

    fn of(reply: &Reply) -> Self {
        reply
            .header("x-docker-container-path-stat")
            .and_then(|text| STANDARD.decode(text).ok())
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }
}

impl Client {
    /// What lies at a path.
    pub fn archive_stat(&self, container: &str, path: &str) -> Result<PathStat, ClientError> {
        let reply =
            self.request("HEAD", &archive(container), &Query::new().with("path", path), Payload::Empty)?;
        Ok(PathStat::of(&reply))
    }

    /// What lies at a path, and its content as a tar.
    pub fn archive_get(&self, container: &str, path: &str) -> Result<(Reply, PathStat), ClientError> {
        let reply =
            self.request("GET", &archive(container), &Query::new().with("path", path), Payload::Empty)?;
        let stat = PathStat::of(&reply);
        Ok((reply, stat))
    }

    /// Unpacks a tar, which `content` writes, into a folder.
    pub fn archive_put(
        &self,
        container: &str,
        path: &str,
        no_overwrite: bool,
        copy_owner: bool,
        content: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        let mut query = Query::new().with("path", path);
        if copy_owner {
            query = query.with("copyUIDGID", "true");
        }
        if no_overwrite {
            query = query.with("noOverwriteDirNonDir", "true");
        }
        self.request("PUT", &archive(container), &query, Payload::Produced(content))?.body().map(drop)
    }
}

fn archive(container: &str) -> String {
    format!("/containers/{}/archive", segment(container))
}
