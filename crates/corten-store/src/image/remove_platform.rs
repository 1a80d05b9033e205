//! Removing what an image holds for some platforms; its names, its ID and the rest stay.

use super::remove::check_users;
use super::{ImageIndex, ImageRow, ImageUser, Images, ManifestKind, ManifestSummary, Removed, is_wanted};
use crate::store::Store;
use crate::{Result, StoreError};
use corten_oci::{Digest, Platform};
use std::collections::BTreeSet;

impl Images<'_> {
    /// Removes the manifests of these platforms with all that only they name, durably and all at once, and what
    /// speaks of them (attestations). Another platform becomes the image's own where its own one goes. An image
    /// that is one manifest alone goes as by [`Self::remove`].
    ///
    /// Gives the removed manifests. Refused, with nothing changed, where a platform is not here, and where a
    /// container uses the image's own platform that is to go: a running one always, a stopped one unless by `force`.
    pub fn remove_platforms(
        self,
        text: &str,
        platforms: &[Platform],
        force: bool,
        users: &dyn Fn(&Digest) -> Vec<ImageUser>,
    ) -> Result<Vec<Removed>> {
        let (id, _) = self.find(text)?;
        let plan = Plan::new(self.manifests(&id)?, &id, platforms)?;
        if plan.going.contains(&id) {
            return self.remove(text, force, users);
        }
        // Outside of the lock: unpacking takes long.
        let own =
            self.index().row(&id).ok_or_else(|| StoreError::NoSuchImage(text.to_owned()))?.manifest.digest;
        if plan.going.contains(&own)
            && let Some(next) = plan.next()
        {
            self.store.platform_row(&id, &next.descriptor)?;
        }
        let _change = self.store.changing();
        let row = self.index().row(&id).ok_or_else(|| StoreError::NoSuchImage(text.to_owned()))?;
        let plan = Plan::new(self.manifests(&id)?, &id, platforms)?;
        if plan.going.contains(&row.manifest.digest) {
            check_users(&id, force, &users(&id))?;
        }
        let changed = plan.apply(self.store, &row)?;
        self.store.inner.database.write(ImageIndex::changes(&[(id, changed.clone())], &[])?)?;
        self.index().settle(vec![(id, changed)], Vec::new());
        self.store.collect_while_changing()?;
        Ok(plan.going.into_iter().map(Removed::Deleted).collect())
    }
}

/// Which manifests go and which stay.
struct Plan {
    going: Vec<Digest>,
    gone: Vec<ManifestSummary>,
    kept: Vec<ManifestSummary>,
}

impl Plan {
    fn new(manifests: Vec<ManifestSummary>, id: &Digest, platforms: &[Platform]) -> Result<Self> {
        let going = chosen(id, &manifests, platforms)?;
        let (gone, kept) = manifests.into_iter().partition(|one| going.contains(&one.descriptor.digest));
        Ok(Self { going, gone, kept })
    }

    /// What becomes the image's own platform where that goes: what suits this machine best, else the first.
    fn next(&self) -> Option<&ManifestSummary> {
        let host = Platform::host();
        // What is no program's image calls its platform so, as buildkit's attestations do.
        let runs = |one: &&ManifestSummary| {
            one.available && one.kind == ManifestKind::Image && one.platform.os != "unknown"
        };
        let images = self.kept.iter().filter(runs);
        images
            .enumerate()
            .max_by_key(|(at, one)| (host.suits(&one.platform), std::cmp::Reverse(*at)))
            .map(|(_, one)| one)
    }

    /// The row of the image without what goes.
    fn apply(&self, store: &Store, row: &ImageRow) -> Result<ImageRow> {
        let needed: BTreeSet<&Digest> = self.kept.iter().flat_map(|one| &one.content).collect();
        let free: BTreeSet<&Digest> =
            self.gone.iter().flat_map(|one| &one.content).filter(|one| !needed.contains(one)).collect();
        let mut changed = row.clone();
        // What refers to the image may share parts with what goes.
        let referring = store.images().content_of(&row.referrers)?;
        changed.content.retain(|digest| !free.contains(digest) || referring.contains(digest));
        if self.going.contains(&row.manifest.digest) {
            if let Some(next) = self.next() {
                let unpacked = row.platforms.iter().find(|one| one.manifest.digest == next.descriptor.digest);
                let platform = unpacked.cloned().ok_or_else(|| {
                    StoreError::ImageConflict("the image was changed meanwhile, try again".to_owned())
                })?;
                changed.manifest = platform.manifest;
                changed.config = platform.config;
                changed.chain = platform.chain;
                changed.content_size = platform.content_size;
                changed.unpacked_size = platform.unpacked_size;
            } else {
                let sizes = changed.content.iter().filter_map(|digest| store.content_size(digest));
                changed.content_size = sizes.sum();
                changed.manifest = row.target.clone();
                changed.config = row.target.digest;
                changed.chain = Vec::new();
                changed.runnable = false;
                changed.unpacked_size = 0;
            }
        }
        let stays = |digest: &Digest| *digest != changed.manifest.digest && !self.going.contains(digest);
        changed.platforms.retain(|one| stays(&one.manifest.digest));
        changed.others.retain(stays);
        changed.kept_size = changed.content.iter().filter_map(|digest| store.kept_size(digest)).sum();
        Ok(changed)
    }
}

/// The manifests that stand for these platforms, and the attestations of those.
fn chosen(id: &Digest, manifests: &[ManifestSummary], platforms: &[Platform]) -> Result<Vec<Digest>> {
    let mut going: Vec<Digest> = Vec::new();
    for platform in platforms {
        let found = manifests
            .iter()
            .filter(|one| {
                one.available && one.kind == ManifestKind::Image && is_exactly(platform, &one.platform)
            })
            .map(|one| one.descriptor.digest);
        let before = going.len();
        going.extend(found);
        if going.len() == before {
            return Err(StoreError::NoPlatform { image: *id, platform: platform.to_string() });
        }
    }
    going.extend(
        manifests
            .iter()
            .filter(|one| one.available)
            .filter_map(|one| match one.kind {
                ManifestKind::Attestation { of } if going.contains(&of) => Some(one.descriptor.digest),
                _ => None,
            })
            .collect::<Vec<_>>(),
    );
    going.sort_unstable();
    going.dedup();
    Ok(going)
}

/// Whether both are the same platform: neither suits the other only because it is older.
fn is_exactly(wanted: &Platform, offered: &Platform) -> bool {
    is_wanted(wanted, offered) && is_wanted(offered, wanted)
}
