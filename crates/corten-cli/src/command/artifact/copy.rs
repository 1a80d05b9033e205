//! `artifact copy`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};
use crate::registry::{Access, failed};
use corten_distribution::{Document, Open, Repository};
use corten_oci::image::{Descriptor, media_type};
use corten_oci::{Digest, Index, Manifest, Reference};
use corten_std::file::SharedReader;
use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;

pub(crate) const ENTRY: Entry = Entry {
    name: "artifact copy",
    aliases: &["artifact cp"],
    usage: "[OPTIONS] SOURCE[:TAG|@DIGEST] TARGET[:TAG]",
    count: Count::Exact(2),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Copy an artifact or image from one repository to another, byte for byte
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Allow communication with insecure registries
    #[arg(long)]
    insecure: bool,
    /// Copy what refers to it, too
    #[arg(short, long)]
    recursive: bool,
    /// From where
    source: String,
    /// To where
    target: String,
}

/// How deep indexes may lie in indexes.
const DEPTH: u32 = 4;

struct Copy<'a> {
    access: &'a Access,
    source: Repository,
    target: Repository,
    /// The repository that blobs can be mounted from.
    mounted: Vec<String>,
    done: HashSet<Digest>,
    moved: u64,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let from = super::parse(&arguments.source)?;
    let to = super::parse_bare(&arguments.target)?;
    if to.digest().is_some() {
        return Err(CliError::said("cannot copy to a digest: the content says which it has"));
    }
    let tag = to.tag().or(from.tag()).map(str::to_owned);
    let mut access = super::access(arguments.insecure, &[&from, &to])?;
    let (source, target) = (access.repository(context, &from)?, access.repository(context, &to)?);
    let document = super::document(&access, &source, &from)?;
    let mounted = if from.domain() == to.domain() { vec![from.path().to_owned()] } else { Vec::new() };
    let mut copy = Copy { access: &access, source, target, mounted, done: HashSet::new(), moved: 0 };
    copy.document(&document, tag.as_deref(), 0)?;
    if arguments.recursive {
        let mut seen: HashSet<Digest> = copy.done.clone();
        let mut referrers = Vec::new();
        for digest in copy.done.clone() {
            super::ls::follow(&access, &copy.source, digest, None, &mut seen, 0, &mut |entry, _| {
                referrers.push(entry.digest);
            })?;
        }
        for digest in referrers {
            let name = from.with_digest(digest);
            let document = super::document(&access, &copy.source, &name)?;
            copy.document(&document, None, 0)?;
        }
    }
    let place = match &tag {
        Some(tag) => to.with_tag(tag).map_err(|error| CliError::said(error.to_string()))?,
        None => to.with_digest(document.descriptor.digest),
    };
    report(context, &place, &document, copy.moved)?;
    Ok(0)
}

fn report(context: &mut Context, place: &Reference, document: &Document, moved: u64) -> Result<()> {
    context.ui.line(format!(
        "Copied {} ({} moved)",
        place.canonical(),
        corten_std::size::human(moved as f64)
    ))?;
    context.ui.line(format!("Digest: {}", document.descriptor.digest))
}

impl Copy<'_> {
    /// A manifest or index with all below it, what is named before what names it.
    fn document(&mut self, document: &Document, tag: Option<&str>, depth: u32) -> Result<()> {
        let digest = document.descriptor.digest;
        if !self.done.insert(digest) {
            return Ok(());
        }
        let wrong =
            |error: &serde_json::Error| CliError::said(format!("the manifest {digest} is not one: {error}"));
        if media_type::is_index(&document.descriptor.media_type) {
            if depth == DEPTH {
                return Err(CliError::said(format!("indexes lie more than {DEPTH} deep in indexes")));
            }
            let index: Index = serde_json::from_slice(&document.bytes).map_err(|error| wrong(&error))?;
            for entry in &index.manifests {
                let part = self.access.wait(self.source.manifest(&entry.digest.to_string()));
                self.document(&part.map_err(|error| failed(&error))?, None, depth + 1)?;
            }
        } else {
            let manifest: Manifest =
                serde_json::from_slice(&document.bytes).map_err(|error| wrong(&error))?;
            for blob in manifest.blobs() {
                self.blob(blob)?;
            }
        }
        let name = tag.map_or_else(|| digest.to_string(), str::to_owned);
        let pushed = self.access.wait(self.target.push_manifest(
            &name,
            &document.descriptor.media_type,
            &document.bytes,
        ));
        pushed.map_err(|error| failed(&error))
    }

    /// A blob that is not there: mounted, or through a file without a name.
    fn blob(&mut self, blob: &Descriptor) -> Result<()> {
        let there = self.access.wait(self.target.has_blob(&blob.digest)).map_err(|error| failed(&error))?;
        if there || !self.done.insert(blob.digest) {
            return Ok(());
        }
        for source in &self.mounted {
            if matches!(self.access.wait(self.target.mount_blob(&blob.digest, source)), Ok(true)) {
                return Ok(());
            }
        }
        let mut file = corten_std::file::unnamed(std::env::temp_dir())
            .map_err(|error| CliError::said(format!("cannot keep a blob on its way: {error}")))?;
        let mut hasher = blob.digest.hasher();
        let came = self.access.wait(self.source.download(blob, 0, &mut |piece| {
            hasher.update(piece);
            file.write_all(piece)
        }));
        came.map_err(|error| failed(&error))?;
        let found = hasher.finish();
        if found != blob.digest {
            return Err(CliError::said(format!(
                "{} sent other content than {}: its digest is {found}",
                self.source.host(),
                blob.digest
            )));
        }
        let file = Arc::new(file);
        let open: Open = Arc::new(move || Ok(Box::new(SharedReader::new(Arc::clone(&file)))));
        let pushed = self.access.wait(self.target.push_blob(blob, &[], open, &|_| {}));
        pushed.map_err(|error| failed(&error))?;
        self.moved += blob.size;
        Ok(())
    }
}
