//! `import`: a tar of files becomes an image of one layer.

use super::progress::{Progress, Tell, of_all};
use super::{change, name_attribute};
use crate::container::defaults_of;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use corten_api::container::ContainerConfig;
use corten_distribution::DistributionError;
use corten_oci::image::{History, ImageConfig};
use corten_oci::{Platform, Reference};
use corten_std::Timestamp;
use corten_store::{NewImage, StoreError};
use std::io::{self, Read};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How far a download is is told at most so often.
const BAR: Duration = Duration::from_millis(100);
/// Pieces of a download that wait for whoever unpacks them.
const AHEAD: usize = 16;

/// What an image is made with.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// `name[:tag]`; none: the image gets no name.
    pub reference: Option<Reference>,
    /// A note.
    pub message: String,
    /// Changes in Dockerfile form.
    pub changes: Vec<String>,
    /// `os/architecture[/variant]` that the files are for; empty: this machine.
    pub platform: String,
}

/// An import that was asked for rightly.
#[derive(Debug)]
pub struct Import {
    config: ImageConfig,
    reference: Option<Reference>,
}

impl ImportOptions {
    /// Checks what was asked for, before the archive is read.
    pub fn check(self) -> Result<Import> {
        let platform = match self.platform.as_str() {
            "" => Platform::host(),
            text => Platform::parse(text).map_err(|error| EngineError::because("", error))?,
        };
        let mut config = ContainerConfig::default();
        change::apply(&mut config, &self.changes)?;
        let now = Timestamp::now();
        let config = ImageConfig {
            created: Some(now),
            architecture: platform.architecture,
            variant: platform.variant,
            os: platform.os,
            config: defaults_of(&config),
            history: vec![History { created: Some(now), comment: self.message, ..History::default() }],
            ..ImageConfig::default()
        };
        Ok(Import { config, reference: self.reference })
    }
}

impl Engine {
    /// `POST /images/create?fromSrc=-`: reads a tar, plain or compressed, and gives the new image's ID. Blocking.
    pub fn image_import(&self, import: Import, archive: impl Read + Send) -> Result<String> {
        self.add_import(import, archive).map_err(|error| EngineError::because("importing the archive", error))
    }

    /// `POST /images/create?fromSrc=ADDRESS`: the same with an archive that a server has. The last thing that is told is
    /// the new image's ID. Who drops the future ends it, and no image is made.
    pub async fn image_import_from(&self, import: Import, address: &str, tell: &Tell) -> Result<()> {
        let mut fetched = self.inner.registries.fetch(address).await.map_err(fetch_error)?;
        let address = fetched.address().to_owned();
        of_all(tell, format!("Downloading from {address}"));
        let (sender, receiver) = mpsc::channel(AHEAD);
        let engine = self.clone();
        let adding = tokio::task::spawn_blocking(move || engine.add_import(import, Pieces::new(receiver)));
        let total = fetched.length();
        let (mut done, mut told) = (0, Instant::now());
        let mut broken = None;
        loop {
            let piece = match fetched.piece().await {
                Ok(piece) => piece.map_or(Piece::End, |bytes| Piece::Bytes(bytes.to_vec())),
                Err(error) => {
                    broken = Some(fetch_error(error));
                    break;
                }
            };
            let is_end = matches!(piece, Piece::End);
            if let Piece::Bytes(bytes) = &piece {
                done += bytes.len() as u64;
            }
            if is_end || told.elapsed() >= BAR {
                told = Instant::now();
                tell(Progress::Bar {
                    id: String::new(),
                    status: "Importing",
                    current: done,
                    total: total.unwrap_or(done),
                });
            }
            // An archive may be over before its file is, and a wrong one is given up.
            if sender.send(piece).await.is_err() || is_end {
                break;
            }
        }
        drop(sender);
        let added = adding.await.map_err(|_| EngineError::system("the import was broken off"))?;
        match (added, broken) {
            (Ok(id), _) => {
                of_all(tell, id);
                Ok(())
            }
            (Err(_), Some(broken)) => Err(broken),
            (Err(error), None) => {
                Err(EngineError::because(&format!("importing the archive from {address}"), error))
            }
        }
    }

    fn add_import(&self, import: Import, archive: impl Read + Send) -> Result<String, StoreError> {
        let Import { config, reference } = import;
        let names = reference.into_iter().collect();
        let new = NewImage { base: None, layers: vec![Box::new(archive)], config, names };
        let image = self.inner.store.images().add(new)?;
        let id = image.id.to_string();
        self.inner.events.publish("image", "import", &id, name_attribute(&id));
        Ok(id)
    }
}

/// A file that does not come, in Docker's words.
fn fetch_error(error: DistributionError) -> EngineError {
    let is_network =
        matches!(&error, DistributionError::Connection { cause, .. } if !cause.starts_with("unsupported"));
    let told = EngineError::new(corten_std::Classified::class(&error), corten_std::chain(&error));
    if is_network {
        return told.with_hint("check the address, the network and the proxy settings of the daemon");
    }
    told
}

/// What comes from a download.
enum Piece {
    Bytes(Vec<u8>),
    /// It is whole.
    End,
}

/// The pieces as something to read. Where they stop without an end, so does the reading, with an error.
struct Pieces {
    receiver: mpsc::Receiver<Piece>,
    piece: io::Cursor<Vec<u8>>,
    is_whole: bool,
}

impl Pieces {
    fn new(receiver: mpsc::Receiver<Piece>) -> Self {
        Self { receiver, piece: io::Cursor::default(), is_whole: false }
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.piece.read(into)?;
            if read > 0 || into.is_empty() || self.is_whole {
                return Ok(read);
            }
            match self.receiver.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.piece = io::Cursor::new(bytes),
                Some(Piece::End) => self.is_whole = true,
                None => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the download was broken off"));
                }
            }
        }
    }
}
