//! What plugins said of themselves, kept from one call to the next in `~/.cache/corten/plugins.json`: starting all of
//! them takes a hundred times longer than printing the help that lists them. An answer counts for the very file that
//! gave it; where the cache cannot be read or written, plugins are asked.

use crate::environment;
use corten_std::file::{self, Durability};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// More answers than these are not kept: somebody makes plugins in ever new folders.
const MOST: usize = 256;

/// The answers that are known, by path.
pub(super) struct Remembered {
    path: PathBuf,
    answers: BTreeMap<String, Answer>,
    changed: bool,
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Answer {
    file: Identity,
    about: String,
}

/// Which file it was; a changed one has another time of change, whatever else was kept.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Identity {
    fn of(program: &Path) -> Option<Self> {
        let about = std::fs::metadata(program).ok()?;
        Some(Self {
            device: about.dev(),
            inode: about.ino(),
            size: about.size(),
            changed: (about.ctime(), about.ctime_nsec()),
        })
    }
}

impl Remembered {
    /// Reads the cache of this user.
    pub(super) fn open() -> Self {
        let folder = environment::value(environment::CACHE)
            .map(PathBuf::from)
            .filter(|folder| folder.is_absolute())
            .unwrap_or_else(|| environment::home().join(".cache"));
        Self::open_at(folder.join("corten/plugins.json"))
    }

    fn open_at(path: PathBuf) -> Self {
        let read = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Self { path, answers: read.unwrap_or_default(), changed: false }
    }

    /// A program's answer; it is asked where the cache has none of this very file. What is no plugin is asked each time.
    pub(super) fn answer(
        &mut self,
        program: &Path,
        ask: impl FnOnce(&Path) -> Option<String>,
    ) -> Option<String> {
        let identity = Identity::of(program);
        let key = program.to_str();
        if let (Some(identity), Some(key)) = (identity, key)
            && let Some(known) = self.answers.get(key)
            && known.file == identity
        {
            return Some(known.about.clone());
        }
        let about = ask(program);
        if let (Some(file), Some(key), Some(about)) = (identity, key, &about) {
            self.answers.insert(key.to_owned(), Answer { file, about: about.clone() });
            self.changed = true;
        }
        about
    }

    /// Writes what is new. That a cache cannot be written is no one's concern.
    pub(super) fn keep(mut self) {
        if !self.changed {
            return;
        }
        self.answers.retain(|path, _| Path::new(path).exists());
        if self.answers.len() > MOST {
            return;
        }
        let Some(folder) = self.path.parent() else { return };
        if let Ok(text) = serde_json::to_vec(&self.answers)
            && file::create_dir_all_with_mode(folder, 0o700).is_ok()
        {
            let _ = file::write_atomic(&self.path, &text, Durability::Kernel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_for_the_file_that_gave_it() {
        let scratch = corten_testing::Scratch::new("plugin-answers");
        let (program, cache) = (scratch.path().join("docker-x"), scratch.path().join("c/plugins.json"));
        std::fs::write(&program, "one").unwrap();
        let ask = |text: &'static str| move |_: &Path| Some(text.to_owned());
        let mut first = Remembered::open_at(cache.clone());
        assert_eq!(first.answer(&program, ask("one")), Some("one".to_owned()));
        first.keep();
        let mut second = Remembered::open_at(cache.clone());
        assert_eq!(second.answer(&program, |_| None), Some("one".to_owned()), "it is not asked again");
        std::fs::write(&program, "other").unwrap();
        assert_eq!(second.answer(&program, ask("other")), Some("other".to_owned()));
        second.keep();
        std::fs::write(&cache, "{").unwrap();
        let mut third = Remembered::open_at(cache);
        assert_eq!(third.answer(&program, |_| None), None, "what is no plugin is not kept");
        assert!(!third.changed);
    }
}
