//! Tests of the store as a whole, from outside.

mod archive;
mod forms;
mod images;
mod kill;
mod opening;
mod platforms;
mod snapshots;

use corten_std::Paths;
use corten_store::{Store, StoreOptions};
use corten_testing::Scratch;

/// A store in a folder of its own.
struct Fixture {
    scratch: Scratch,
    store: Option<Store>,
    options: StoreOptions,
}

impl Fixture {
    fn new() -> Self {
        Self::with(StoreOptions::default())
    }

    fn with(options: StoreOptions) -> Self {
        let scratch = Scratch::new("store");
        let mut fixture = Self { scratch, store: None, options };
        fixture.reopen();
        fixture
    }

    fn paths(&self) -> Paths {
        Paths::new(self.scratch.path().join("data"), self.scratch.path().join("exec"))
    }

    /// Closes the store and opens it again.
    fn reopen(&mut self) {
        self.store = None;
        self.store = Some(Store::open(&self.paths(), self.options.clone()).unwrap());
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }
}

/// What is being written or removed, and when nothing is, what was left over.
fn unfinished(paths: &corten_std::Paths) -> Vec<std::path::PathBuf> {
    let list = |folder: std::path::PathBuf| {
        let names = corten_std::file::list(&folder).unwrap();
        names.into_iter().map(move |name| folder.join(name))
    };
    list(paths.temporary()).chain(list(paths.birthplaces()).flat_map(list)).collect()
}
