//! Images that come from elsewhere piece by piece: what a pull needs of the store.
//!
//! ```text
//! download ─▶ ingest/DIGEST (grows; stays after a failure, a kill, a restart)
//!                  └─▶ [`Store::receive`] reads it while it grows: hash, inflate, unpack below tmp/
//! all blobs received ─▶ [`Images::receive`]: one sync, one commit; the image is there
//! ```
//!
//! The file in `ingest/` is not part of the store: nothing of it is believed before its digest was computed from its
//! first byte on. Several pulls may read one such file; each unpacks for itself, and the first that commits wins.

use crate::archive::{Assembler, Item, give_up};
use crate::blob::{CHUNK, StagedBlob};
use crate::garbage::PinSet;
use crate::image::{Image, Images, TagRow};
use crate::ingest::{discard, discard_layer, looks_like_tar};
use crate::snapshots::SnapshotKey;
use crate::store::Store;
use crate::{Result, StoreError};
use corten_layer::{Compression, sniff};
use corten_oci::image::Descriptor;
use corten_oci::{Algorithm, Digest, Hasher, Reference};
use corten_std::{PathError, Timestamp, file};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What was broken off and not gone on with for so long goes when the store opens, and when it is looked after.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(168);
/// The same where the disk is full.
const FORGOTTEN_AFTER_IN_NEED: Duration = Duration::from_mins(15);
/// Bytes that are free on a disk that is not full.
const FREE: u64 = 256 << 20;

/// Removes what nobody went on with for long.
pub(crate) fn sweep(folder: &Path) -> Result<()> {
    sweep_older(folder, FORGOTTEN_AFTER).map(drop)
}

/// Removes what nobody went on with for so long. What is being written is younger. Tells whether there was something.
fn sweep_older(folder: &Path, forgotten_after: Duration) -> Result<bool> {
    let mut swept = false;
    file::create_dir_all(folder)?;
    for name in file::list(folder)? {
        let path = folder.join(&name);
        let modified = std::fs::symlink_metadata(&path).and_then(|about| about.modified());
        let age = modified.ok().and_then(|then| SystemTime::now().duration_since(then).ok());
        if age.is_some_and(|age| age > forgotten_after) {
            file::remove_file(&path)?;
            swept = true;
        }
    }
    Ok(swept)
}

impl Store {
    /// At opening: removes what has come whole and become part of the store, where the daemon died before it could.
    pub(crate) fn sweep_taken(&self) -> Result<()> {
        for name in file::list(&self.inner.ingest)? {
            let path = self.inner.ingest.join(&name);
            let is_here = Algorithm::ALL.into_iter().any(|algorithm| {
                let digest = Digest::parse(&format!("{}:{}", algorithm.name(), name.display()));
                digest.is_ok_and(|digest| self.is_kept(&digest))
            });
            if is_here {
                file::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

/// Content of the store that a piece of work relies on: while this lives, nothing of it is removed.
#[derive(Debug)]
pub struct Holding {
    store: Store,
    pins: PinSet,
}

impl Holding {
    /// Keeps a snapshot in the form that it has.
    pub(crate) fn keep_snapshot(&mut self, key: &SnapshotKey) {
        self.pins.snapshot(key);
    }

    /// Whether content is here; if so it stays.
    pub fn has(&mut self, digest: &Digest) -> bool {
        self.pins.content(*digest);
        self.store.content_size(digest).is_some()
    }
}

/// A blob that has come whole, with the digest that was asked for. Removed when dropped before it became part of an
/// image.
#[derive(Debug)]
pub struct ReceivedBlob {
    store: Store,
    digest: Digest,
    item: Option<Item>,
}

impl ReceivedBlob {
    /// Its digest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl Drop for ReceivedBlob {
    fn drop(&mut self) {
        let discarded = match self.item.take() {
            Some(Item::Layer(layer)) => discard(&self.store, layer.folder.as_deref(), layer.blob.as_ref()),
            Some(Item::Broken(_, blob)) => discard(&self.store, None, blob.as_ref()),
            Some(Item::Blob(blob)) => discard(&self.store, None, Some(&blob)),
            Some(Item::Document(_)) | None => Ok(()),
        };
        if let Err(error) = discarded {
            tracing::warn!(error = corten_std::chain(&error), "a received blob was not removed");
        }
    }
}

/// An image to be made of what has come.
#[derive(Debug)]
pub struct Received {
    /// Its manifest or index.
    pub target: Descriptor,
    /// Documents that have come, by the digests that they were asked for by.
    pub documents: Vec<(Digest, Vec<u8>)>,
    /// Blobs that have come.
    pub blobs: Vec<ReceivedBlob>,
    /// Manifests among the documents that refer to it.
    pub referrers: Vec<Descriptor>,
    /// The name that it gets; none for one that was asked for by digest.
    pub name: Option<Reference>,
    /// The canonical name of the repository that it comes from.
    pub repository: String,
}

impl Store {
    /// A hold on content, of nothing at first.
    pub fn hold(&self) -> Holding {
        Holding { store: self.clone(), pins: PinSet::new(&self.inner.pins) }
    }

    /// Removes what pulls that were broken off left and nobody went on with: for a week, or for minutes where the disk is full.
    /// Tells whether there was something.
    pub fn sweep_broken_off(&self) -> Result<bool> {
        let folder = &self.inner.ingest;
        let about = rustix::fs::statvfs(folder).map_err(|error| PathError::new("look at", folder, error))?;
        let full = about.f_bavail.saturating_mul(about.f_frsize) < FREE;
        sweep_older(folder, if full { FORGOTTEN_AFTER_IN_NEED } else { FORGOTTEN_AFTER })
    }

    /// Where the bytes of a blob that comes from elsewhere are written.
    pub fn ingest_path(&self, digest: &Digest) -> PathBuf {
        self.inner.ingest.join(digest.hex())
    }

    /// Reads a blob that is being written to `file` (by its reader `input`, from its first byte) to its end: checks
    /// length and digest, and unpacks it where it is a layer. The file may go afterwards.
    pub fn receive(
        &self,
        descriptor: &Descriptor,
        file: &Path,
        input: &mut (dyn Read + Send),
    ) -> Result<ReceivedBlob> {
        let digest = descriptor.digest;
        let mut head = Vec::with_capacity(512);
        Read::take(&mut *input, 512).read_to_end(&mut head).map_err(StoreError::Read)?;
        let is_layer = looks_like_tar(&head) || !matches!(sniff(&head), Ok(Compression::Plain));
        let mut whole = Cursor::new(head).chain(input);
        let received = |item| ReceivedBlob { store: self.clone(), digest, item: Some(item) };
        if !is_layer {
            let (found, size) = read_hashed(digest.hasher(), &mut whole)?;
            check(descriptor, &found, size)?;
            return Ok(received(Item::Blob(self.adopt(descriptor, file)?)));
        }
        let ingest = self.ingest_kept(&mut whole, &digest.to_string(), Vec::new(), digest.hasher(), false)?;
        let (found, compression) = (ingest.digest, ingest.compression);
        let (_, unpacked) = ingest.finish(self);
        if found != digest {
            discard_layer(self, unpacked, None)?;
            return Err(StoreError::Mismatch { wanted: digest, found: Box::new(found) });
        }
        // A plain tar is given back by its snapshot, by our own kind of name; else its bytes are kept.
        let kept = match (&unpacked, compression) {
            (Ok(_), Compression::Plain) if digest.is_own() => None,
            _ => match self.adopt(descriptor, file) {
                Ok(blob) => Some(blob),
                Err(error) => {
                    discard_layer(self, unpacked, None)?;
                    return Err(error);
                }
            },
        };
        Ok(received(match unpacked {
            Ok(mut layer) => {
                layer.blob = kept;
                Item::Layer(Box::new(layer))
            }
            Err(error) => Item::Broken(Some(error), kept),
        }))
    }

    /// A second name below `tmp/` for a file that has come whole.
    fn adopt(&self, descriptor: &Descriptor, file: &Path) -> Result<StagedBlob> {
        let path = self.inner.reaper.new_name();
        let length = std::fs::metadata(file).map_err(|source| PathError::new("look at", file, source))?.len();
        if length != descriptor.size {
            return Err(StoreError::Length {
                digest: descriptor.digest,
                wanted: descriptor.size,
                found: length,
            });
        }
        std::fs::hard_link(file, &path).map_err(|source| PathError::new("link", file, source))?;
        Ok(StagedBlob { digest: descriptor.digest, size: length, path })
    }
}

impl Images<'_> {
    /// Makes an image of what has come and what is here, durably and all at once.
    pub fn receive(self, received: Received) -> Result<Arc<Image>> {
        let store = self.store;
        let Received { target, documents, blobs, referrers, name, repository } = received;
        let mut assembler = Assembler::new(store);
        assembler.referrers.insert(target.digest, referrers);
        for (digest, bytes) in documents {
            // Checked when it is staged.
            assembler.items.entry(digest).or_insert(Item::Document(bytes));
        }
        for mut blob in blobs {
            if let Some(item) = blob.item.take() {
                // The same one twice: the second goes.
                blob.item = assembler.items.insert(blob.digest, item);
            }
        }
        let outcome = assembler.add_image(&target);
        let (mut batch, pins) = assembler.finish()?;
        if let Err(error) = outcome {
            give_up(store, &batch)?;
            return Err(error);
        }
        for (_, row) in batch.images.iter_mut().filter(|(id, _)| *id == target.digest) {
            row.sources.insert(repository.clone());
        }
        let tag = TagRow { image: target.digest, tagged: Timestamp::now() };
        batch.tags = name.into_iter().map(|name| (name.with_default_tag(), tag.clone())).collect();
        store.commit(batch)?;
        drop(pins);
        store.show_image(&target.digest)
    }

    /// Whether everything of one manifest is here: its configuration, its layers.
    pub fn is_complete(self, manifest: &Digest) -> Result<bool> {
        let id = self.index().by_digest(manifest);
        let Some(id) = id else { return Ok(false) };
        Ok(self.manifests(&id)?.iter().any(|one| one.available && one.descriptor.digest == *manifest))
    }

    /// The image that a name points to; none where it points to none.
    pub fn named(self, name: &Reference) -> Option<Digest> {
        self.index().tagged(&name.clone().with_default_tag())
    }
}

fn read_hashed(mut hasher: Hasher, input: &mut dyn Read) -> Result<(Digest, u64)> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = input.read(&mut buffer).map_err(StoreError::Read)?;
        if length == 0 {
            let size = hasher.length();
            return Ok((hasher.finish(), size));
        }
        hasher.update(&buffer[..length]);
    }
}

fn check(descriptor: &Descriptor, found: &Digest, size: u64) -> Result<()> {
    let digest = descriptor.digest;
    if size != descriptor.size {
        return Err(StoreError::Length { digest, wanted: descriptor.size, found: size });
    }
    if *found != digest {
        return Err(StoreError::Mismatch { wanted: digest, found: Box::new(*found) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_went_on_with_goes_and_what_is_young_stays() {
        let scratch = corten_testing::Scratch::new("broken-off");
        let age = |name: &str, age: Duration| {
            let file = std::fs::File::create(scratch.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        };
        age("old", FORGOTTEN_AFTER + Duration::from_mins(1));
        age("young", FORGOTTEN_AFTER_IN_NEED + Duration::from_mins(1));
        age("written", Duration::ZERO);
        let left = || {
            let mut names = file::list(scratch.path()).unwrap();
            names.sort();
            names
        };
        assert!(sweep_older(scratch.path(), FORGOTTEN_AFTER).unwrap());
        assert_eq!(left(), ["written", "young"]);
        assert!(!sweep_older(scratch.path(), FORGOTTEN_AFTER).unwrap());
        assert!(sweep_older(scratch.path(), FORGOTTEN_AFTER_IN_NEED).unwrap());
        assert_eq!(left(), ["written"]);
    }
}
