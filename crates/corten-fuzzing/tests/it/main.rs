//! Every kept example, and some changes of each, go through every target.

use corten_fuzzing::TARGETS;
use corten_fuzzing::mutate::{Random, change};

#[test]
fn every_example_is_survived() {
    for target in TARGETS {
        let examples = target.examples();
        let mut random = Random::new(1);
        for example in &examples {
            (target.run)(example);
            for _ in 0..(400 / examples.len()).clamp(2, 100) {
                let mut input = example.clone();
                change(&mut input, &examples, target.words, &mut random);
                (target.run)(&input);
            }
        }
    }
}

#[test]
fn every_target_has_a_program_for_the_fuzzer_and_examples() {
    let fuzz = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for target in TARGETS {
        assert!(
            target.examples().iter().any(|example| !example.is_empty()),
            "{} has no examples",
            target.name
        );
        let program = fuzz.join(format!("fuzz_targets/{}.rs", target.name));
        let text = std::fs::read_to_string(&program).unwrap_or_default();
        assert!(text.contains(&format!("\"{}\"", target.name)), "{} is missing", program.display());
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{}", target.name);
    }
    for entry in std::fs::read_dir(fuzz.join("fuzz_targets")).unwrap().flatten() {
        let name = entry.path().file_stem().unwrap().to_string_lossy().into_owned();
        assert!(corten_fuzzing::find(&name).is_some(), "{name} is no target of corten-fuzzing");
    }
    for entry in std::fs::read_dir(fuzz.join("corpus")).unwrap().flatten() {
        if !entry.path().is_dir() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(corten_fuzzing::find(&name).is_some(), "examples of no target: {name}");
    }
}
