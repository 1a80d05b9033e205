//! Files begin with what they are, no work is left marked on a path that users reach, tests are not forgotten.

use crate::{files, root};
use std::fs;

#[test]
fn each_file_begins_with_its_comment() {
    for path in files("rs") {
        let text = fs::read_to_string(&path).expect("readable");
        let head = text.trim_start_matches(|letter| letter != '/' && letter != '#');
        assert!(
            head.starts_with("//!") || text.starts_with("//!"),
            "{} begins with no //! comment",
            path.display()
        );
    }
}

#[test]
fn nothing_unfinished_is_left() {
    // Spelt in parts, so that this file does not find itself.
    let marks = [
        ["to", "do!("].concat(),
        ["unimple", "mented!("].concat(),
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
    ];
    for path in files("rs") {
        let text = fs::read_to_string(&path).expect("readable");
        for mark in &marks {
            assert!(!text.contains(mark.as_str()), "{} contains {mark}", path.display());
        }
    }
}

#[test]
fn unsafe_code_has_one_home() {
    let word = ["unsafe", " "].concat();
    for path in files("rs") {
        if path.starts_with(root().join("crates/corten-sys")) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("readable");
        for line in text.lines() {
            let code = line.split("//").next().unwrap_or_default();
            assert!(!code.contains(&format!("{word}{{")), "{}: unsafe outside corten-sys", path.display());
        }
    }
}

#[test]
fn no_integration_test_file_is_forgotten() {
    for entry in fs::read_dir(root().join("crates")).expect("crates").flatten() {
        let tests = entry.path().join("tests");
        let programs: Vec<_> =
            fs::read_dir(&tests).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
        assert!(
            programs.iter().all(|name| name == "it"),
            "{}: one integration program per crate, tests/it",
            tests.display()
        );
        let Ok(main) = fs::read_to_string(tests.join("it/main.rs")) else { continue };
        for file in fs::read_dir(tests.join("it")).into_iter().flatten().flatten() {
            let name = file.file_name().into_string().expect("text");
            let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "main") else { continue };
            assert!(
                main.contains(&format!("mod {module};")),
                "{}: {name} is not in main.rs",
                tests.display()
            );
        }
    }
}
