//! Every parser of foreign bytes as a function of bytes: it may refuse them, it must not panic, hang, or say what is not so.
//!
//! A [`Target`] has a name, the function and a few examples to begin with; more are in `fuzz/corpus/NAME`. The same
//! functions are driven three ways: by `cargo test` (every example, and some changes of each), by the driver of this
//! crate (`cargo xtask fuzz`, any stable toolchain), and by libFuzzer, which sees what code an input reaches (`fuzz/`).

pub mod mutate;
mod target;

use std::path::{Path, PathBuf};

/// One parser.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name; also that of the folder of its examples.
    pub name: &'static str,
    /// Feeds it. Panics where it does what it must not.
    pub run: fn(&[u8]),
    /// Examples to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words that its inputs are made of.
    pub words: &'static [&'static str],
}

pub use target::TARGETS;

/// The target of this name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Feeds one target: what the programs of `fuzz/` call.
///
/// # Panics
/// Where there is no such target, or it does what it must not.
pub fn run(name: &str, bytes: &[u8]) {
    let target = find(name).expect("a target of this name");
    (target.run)(bytes);
}

impl Target {
    /// The folder of its kept examples in the checkout.
    pub fn folder(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(self.name)
    }

    /// All examples: those made by code and those kept, in a fixed order.
    pub fn examples(&self) -> Vec<Vec<u8>> {
        let mut examples = (self.seeds)();
        let mut paths: Vec<PathBuf> = std::fs::read_dir(self.folder())
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        paths.sort();
        examples.extend(paths.iter().filter_map(|path| std::fs::read(path).ok()));
        if examples.is_empty() {
            examples.push(Vec::new());
        }
        examples
    }
}
