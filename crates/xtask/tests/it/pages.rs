//! The pages name only what exists: crates and files, and in `docs/run.md` functions too.

use crate::{files, root};
use std::fs;

/// Texts between backticks.
fn quoted(page: &str) -> Vec<&str> {
    page.split('`').skip(1).step_by(2).collect()
}

#[test]
fn pages_name_crates_and_paths_that_exist() {
    let mut wrong = Vec::new();
    for page in ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "docs/run.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        for word in quoted(&text) {
            let is_crate = word.starts_with("corten-")
                && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            if is_crate && !root().join("crates").join(word).is_dir() {
                wrong.push(format!("{page}: no crate {word}"));
            }
            let is_path =
                ["crates/", "docs/", "bench/", "fuzz/", ".ci/"].iter().any(|start| word.starts_with(start));
            if is_path && !word.contains([' ', '*', '<']) && !root().join(word).exists() {
                wrong.push(format!("{page}: no file {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_path_of_a_run_names_functions_that_exist() {
    let text = fs::read_to_string(root().join("docs/run.md")).expect("docs/run.md");
    let sources: String =
        files("rs").iter().map(|path| fs::read_to_string(path).unwrap_or_default()).collect();
    let mut count = 0;
    let mut wrong = Vec::new();
    for word in quoted(&text).into_iter().filter(|word| word.ends_with("()")) {
        let name = word.trim_end_matches("()").rsplit([':', '.']).next().unwrap_or_default();
        count += 1;
        if !sources.contains(&format!("fn {name}(")) && !sources.contains(&format!("fn {name}<")) {
            wrong.push(format!("docs/run.md: no function {word}"));
        }
    }
    assert!(count >= 15, "docs/run.md names the functions on the way, found {count}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_architecture_page_names_every_crate() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    for entry in fs::read_dir(root().join("crates")).expect("crates").flatten() {
        let name = entry.file_name().into_string().expect("crate names are text");
        assert!(text.contains(&format!("`{name}`")), "ARCHITECTURE.md says nothing of `{name}`");
    }
}
