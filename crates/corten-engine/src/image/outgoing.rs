//! What goes out to a registry, piece by piece. A layer that is kept as a plain tar goes compressed: into a file without a
//! name, once, while its digest is taken; from there it is sent.

use super::progress::{Progress, Tell, of_layer};
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::volume::blocking;
use corten_distribution::{DistributionError, Open, Pushed, Repository};
use corten_oci::image::{Descriptor, media_type};
use corten_oci::{Digest, Hasher};
use corten_std::file::{SharedReader, unnamed};
use corten_store::Store;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bars are told at most so often.
const BAR: Duration = Duration::from_millis(100);

/// The table of what layers are when they are compressed; the words after the name tell by what.
const COMPRESSED: &str = "compressed-gzip-own-1";

/// One layer or configuration.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    /// As the store has it.
    pub(super) kept: Descriptor,
    /// Whether it is told; configurations are not.
    pub(super) told: bool,
}

/// The media type that a layer goes out with instead of its own, which is a plain tar's; none: it goes as it is, as one does
/// that somebody named by another digest than we would.
pub(super) fn compressed_type(layer: &Descriptor) -> Option<&'static str> {
    if !layer.digest.is_own() {
        return None;
    }
    match layer.media_type.as_str() {
        media_type::OCI_LAYER => Some(media_type::OCI_LAYER_GZIP),
        media_type::DOCKER_LAYER => Some(media_type::DOCKER_LAYER_GZIP),
        _ => None,
    }
}

impl Outgoing {
    /// Sends it; gives it as the registry has it. `failed` puts the registry's errors into words.
    pub(super) async fn send(
        self,
        engine: &Engine,
        repository: &Repository,
        sources: &[String],
        tell: &Tell,
        failed: &(dyn Fn(DistributionError) -> EngineError + Send + Sync),
    ) -> Result<Descriptor> {
        let id = self.kept.digest.short();
        let store = engine.inner.store.clone();
        let pushed = if let Some(kind) = compressed_type(&self.kept) {
            let spooler = Arc::new(Spooler {
                store,
                content: self.kept.digest,
                folder: engine.inner.settings.paths.temporary(),
                made: Mutex::new(None),
            });
            let maker = Arc::clone(&spooler);
            let (digest, size) = blocking(move || maker.known_or_made()).await?;
            let mut sent = Descriptor { media_type: kind.to_owned(), digest, size, ..self.kept.clone() };
            loop {
                let (maker, digest) = (Arc::clone(&spooler), sent.digest);
                let open: Open = Arc::new(move || maker.open(&digest));
                match self.push(repository, &sent, sources, open, tell).await {
                    Ok(pushed) => break (sent, pushed),
                    // What was known of it came from another compressor: it goes as it is now.
                    Err(error) => match spooler.made().filter(|made| made.digest != sent.digest) {
                        Some(made) => (sent.digest, sent.size) = (made.digest, made.size),
                        None => return Err(failed(error)),
                    },
                }
            }
        } else {
            let content = self.kept.digest;
            // Nobody drops it while it goes out.
            let mut holding = store.hold();
            holding.has(&content);
            // What was dropped because a registry has it, this one may have too.
            for (digest, size, from) in store.elsewhere([&content]) {
                if !repository.has_blob(&digest).await.map_err(failed)? {
                    engine.fetch_dropped(digest, size, &from).await?;
                }
            }
            let open: Open = Arc::new(move || {
                let reader = store.open_content(&content).map_err(io::Error::other)?;
                Ok(Box::new(reader) as Box<dyn Read + Send>)
            });
            let pushed = self.push(repository, &self.kept, sources, open, tell).await.map_err(failed)?;
            (self.kept.clone(), pushed)
        };
        let (sent, pushed) = pushed;
        if self.told {
            match pushed {
                Pushed::Present => of_layer(tell, &id, "Layer already exists"),
                Pushed::Mounted(from) => of_layer(tell, &id, format!("Mounted from {from}")),
                Pushed::Sent => of_layer(tell, &id, "Pushed"),
            }
        }
        Ok(sent)
    }

    async fn push(
        &self,
        repository: &Repository,
        sent: &Descriptor,
        sources: &[String],
        open: Open,
        tell: &Tell,
    ) -> std::result::Result<Pushed, DistributionError> {
        let (id, total) = (self.kept.digest.short(), sent.size);
        let last = Mutex::new(Instant::now());
        let bar = |current: u64| {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if self.told && last.elapsed() >= BAR {
                *last = Instant::now();
                tell(Progress::Bar { id: id.clone(), status: "Pushing", current, total });
            }
        };
        repository.push_blob(sent, sources, open, &bar).await
    }
}

/// A layer's tar, compressed at most once. Blocking.
struct Spooler {
    store: Store,
    content: Digest,
    /// Where the file without a name is made.
    folder: PathBuf,
    made: Mutex<Option<Spool>>,
}

#[derive(Clone)]
struct Spool {
    file: Arc<File>,
    digest: Digest,
    size: u64,
}

impl Spooler {
    /// Digest and length: as an earlier push found them, or found out by compressing it.
    fn known_or_made(&self) -> Result<(Digest, u64)> {
        let of = |error| EngineError::because("", error);
        let table = self.store.records::<(String, u64)>(COMPRESSED);
        if let Some((digest, size)) = table.get(&self.content.to_string()).map_err(of)? {
            let digest = Digest::parse(&digest).map_err(|error| EngineError::because("", error))?;
            return Ok((digest, size));
        }
        let spool = self.make()?;
        Ok((spool.digest, spool.size))
    }

    fn made(&self) -> Option<Spool> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn make(&self) -> Result<Spool> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spool) = &*made {
            return Ok(spool.clone());
        }
        let of = |error| EngineError::because("", error);
        let mut tar = self.store.open_content(&self.content).map_err(of)?;
        let mut file = unnamed(&self.folder).map_err(EngineError::from)?;
        let mut hasher = Hasher::new();
        corten_layer::compress(&mut tar, &mut Hashed { file: &mut file, hasher: &mut hasher })
            .map_err(|error| EngineError::from_error("compressing a layer", error))?;
        let size = hasher.length();
        let spool = Spool { file: Arc::new(file), digest: hasher.finish(), size };
        let table = self.store.records::<(String, u64)>(COMPRESSED);
        table.put(&self.content.to_string(), &(spool.digest.to_string(), size)).map_err(of)?;
        *made = Some(spool.clone());
        Ok(spool)
    }

    /// Reads what has that digest; fails where compressing makes something else by now.
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send>> {
        let spool = self.make().map_err(io::Error::other)?;
        if spool.digest != *digest {
            return Err(io::Error::other("the layer is compressed to other bytes than at its last push"));
        }
        Ok(Box::new(SharedReader::new(spool.file)))
    }
}

struct Hashed<'a> {
    file: &'a mut File,
    hasher: &'a mut Hasher,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.hasher.update(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_std::Paths;
    use corten_store::StoreOptions;
    use corten_testing::fixture;

    #[test]
    fn what_another_compressor_made_is_found_out_and_made_again() {
        let scratch = corten_testing::Scratch::new("spooler");
        let paths = Paths::new(scratch.path().join("data"), scratch.path().join("run"));
        let store = Store::open(&paths, StoreOptions::default()).unwrap();
        let layer = fixture::tar(&[]);
        let archive = fixture::docker_archive("app:1", &layer, &serde_json::json!({}));
        store.images().load(&archive[..], &mut |_| {}).unwrap();
        let content = Digest::of(&layer);
        let spooler =
            || Spooler { store: store.clone(), content, folder: paths.temporary(), made: Mutex::new(None) };
        let first = spooler();
        let (digest, size) = first.known_or_made().unwrap();
        let mut sent = Vec::new();
        first.open(&digest).unwrap().read_to_end(&mut sent).unwrap();
        assert_eq!((Digest::of(&sent), sent.len() as u64), (digest, size));
        // The next push knows without compressing.
        let next = spooler();
        assert_eq!(next.known_or_made().unwrap(), (digest, size));
        assert!(next.made().is_none());
        let other = Digest::of(b"what an older version made");
        let table = store.records::<(String, u64)>(COMPRESSED);
        table.put(&content.to_string(), &(other.to_string(), 5)).unwrap();
        assert_eq!(next.known_or_made().unwrap(), (other, 5));
        assert!(next.open(&other).is_err());
        assert_eq!(next.made().unwrap().digest, digest);
        assert_eq!(spooler().known_or_made().unwrap(), (digest, size));
        assert!(std::fs::read_dir(paths.temporary()).unwrap().next().is_none());
    }
}
