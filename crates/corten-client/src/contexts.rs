//! The contexts of a configuration folder, in the form that Docker's command line keeps them:
//!
//! ```text
//! contexts/meta/SHA256-OF-NAME/meta.json                the description
//! contexts/tls/SHA256-OF-NAME/docker/{ca,cert,key}.pem  what TLS needs, where it was given
//! ```

use crate::ClientError;
use crate::target::context_folder;
use corten_std::{PathError, file};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Names of the files for TLS.
pub const TLS_FILES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];

/// A context as it is kept. What other programs put into the document stays in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    /// Its name.
    pub name: String,
    /// `Description`, and what others keep there.
    pub metadata: Map<String, Value>,
    /// By kind; `docker` is the one that counts.
    pub endpoints: Map<String, Value>,
    /// The content of the files for TLS of the `docker` endpoint, by [`TLS_FILES`].
    pub tls: BTreeMap<String, Vec<u8>>,
}

impl Context {
    /// A context for a daemon's address.
    pub fn new(name: &str, description: &str, host: &str, skip_tls_verify: bool) -> Self {
        let mut context =
            Self { name: name.to_owned(), metadata: Map::new(), endpoints: Map::new(), tls: BTreeMap::new() };
        if !description.is_empty() {
            context.describe(description);
        }
        context.point_to(host, skip_tls_verify);
        context
    }

    /// Reads the document; `None` where it is none.
    pub fn parse(name: &str, document: &[u8]) -> Option<Self> {
        let document: Value = serde_json::from_slice(document).ok()?;
        let part = |key: &str| match document.get(key) {
            Some(Value::Object(part)) => part.clone(),
            _ => Map::new(),
        };
        document.as_object()?;
        Some(Self {
            name: name.to_owned(),
            metadata: part("Metadata"),
            endpoints: part("Endpoints"),
            tls: BTreeMap::new(),
        })
    }

    /// The document.
    pub fn document(&self) -> Value {
        json!({ "Name": self.name, "Metadata": self.metadata, "Endpoints": self.endpoints })
    }

    /// The text for people; empty where there is none.
    pub fn description(&self) -> &str {
        self.metadata.get("Description").and_then(Value::as_str).unwrap_or_default()
    }

    /// Sets the text for people.
    pub fn describe(&mut self, description: &str) {
        self.metadata.insert("Description".to_owned(), description.into());
    }

    /// The daemon's address; empty where there is none.
    pub fn host(&self) -> &str {
        self.endpoints
            .get("docker")
            .and_then(|docker| docker.get("Host"))
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Sets the daemon's address.
    pub fn point_to(&mut self, host: &str, skip_tls_verify: bool) {
        let docker = json!({ "Host": host, "SkipTLSVerify": skip_tls_verify });
        self.endpoints.insert("docker".to_owned(), docker);
    }
}

/// The contexts below one configuration folder.
#[derive(Clone, Debug)]
pub struct Contexts {
    root: PathBuf,
}

impl Contexts {
    /// Those of a configuration folder, which need not be there.
    pub fn of(configuration: &Path) -> Self {
        Self { root: configuration.join("contexts") }
    }

    /// The folder of a context's document.
    pub fn metadata_folder(&self, name: &str) -> PathBuf {
        self.root.join("meta").join(context_folder(name))
    }

    /// The folder of a context's files for TLS.
    pub fn tls_folder(&self, name: &str) -> PathBuf {
        self.root.join("tls").join(context_folder(name))
    }

    /// All contexts by name. A folder whose document cannot be read is passed over.
    pub fn list(&self) -> Result<Vec<Context>, PathError> {
        let meta = self.root.join("meta");
        let mut all = Vec::new();
        for folder in file::list(&meta)? {
            let Some(document) = file::read_optional(meta.join(&folder).join("meta.json"))? else { continue };
            let name = serde_json::from_slice::<Value>(&document).ok();
            let name = name.as_ref().and_then(|document| document.get("Name")?.as_str());
            all.extend(name.and_then(|name| Context::parse(name, &document)));
        }
        all.sort_by(|one: &Context, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// Whether there is one of that name.
    pub fn has(&self, name: &str) -> bool {
        self.metadata_folder(name).join("meta.json").exists()
    }

    /// One context with its files for TLS. Fails in Docker's words where there is none.
    pub fn get(&self, name: &str) -> Result<Context, ClientError> {
        let path = self.metadata_folder(name).join("meta.json");
        let document = file::read(&path).map_err(|_| {
            ClientError::BadTarget(format!(
                "context \"{name}\": context not found: open {}: no such file or directory",
                path.display()
            ))
        })?;
        let mut context = Context::parse(name, &document).ok_or_else(|| {
            ClientError::BadTarget(format!("context \"{name}\": {} is damaged", path.display()))
        })?;
        for name in TLS_FILES {
            let path = self.tls_folder(&context.name).join("docker").join(name);
            if let Some(content) = file::read_optional(path).map_err(|error| local(&error))? {
                context.tls.insert(name.to_owned(), content);
            }
        }
        Ok(context)
    }

    /// Writes a context, in the place of one of that name. The document is written last: it makes the context be.
    pub fn save(&self, context: &Context) -> Result<(), PathError> {
        let tls = self.tls_folder(&context.name);
        file::remove_tree(&tls)?;
        if !context.tls.is_empty() {
            let folder = tls.join("docker");
            file::create_dir_all_with_mode(&folder, 0o700)?;
            for (name, content) in &context.tls {
                file::write_atomic(folder.join(name), content, file::Durability::Disk)?;
            }
        }
        let folder = self.metadata_folder(&context.name);
        file::create_dir_all_with_mode(&folder, 0o755)?;
        let document = context.document().to_string();
        file::write_atomic(folder.join("meta.json"), document.as_bytes(), file::Durability::Disk)
    }

    /// Removes a context. A missing one is fine.
    pub fn remove(&self, name: &str) -> Result<(), PathError> {
        file::remove_tree(self.metadata_folder(name))?;
        file::remove_tree(self.tls_folder(name))
    }
}

fn local(error: &PathError) -> ClientError {
    ClientError::BadTarget(corten_std::chain(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_comes_back_as_it_was_saved() {
        let folder = std::env::temp_dir().join(format!("corten-client-contexts-{}", std::process::id()));
        let contexts = Contexts::of(&folder);
        assert!(contexts.list().unwrap().is_empty());
        let mut context = Context::new("far", "over there", "tcp://10.0.0.1:2376", true);
        context.metadata.insert("Other".to_owned(), json!({"kept": true}));
        context.tls.insert("ca.pem".to_owned(), b"pem".to_vec());
        contexts.save(&context).unwrap();
        assert_eq!(contexts.get("far").unwrap(), context);
        assert_eq!(contexts.list().unwrap().len(), 1);
        context.tls.clear();
        contexts.save(&context).unwrap();
        assert!(contexts.get("far").unwrap().tls.is_empty());
        contexts.remove("far").unwrap();
        assert!(contexts.get("far").unwrap_err().to_string().contains("context not found"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
