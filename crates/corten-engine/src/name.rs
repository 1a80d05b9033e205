//! Names for containers that were given none: an adjective and a thing of ports and ships.
//!
//! Docker joins an adjective and a scientist's name by `_`; scripts only rely on the shape `word_word`.

use corten_std::id::random_bytes;

const ADJECTIVES: &[&str] = &[
    "able", "agile", "amber", "ample", "aqua", "awake", "bold", "brave", "bright", "brisk", "calm",
    "careful", "cheerful", "clear", "clever", "copper", "crisp", "curious", "deft", "eager", "early", "easy",
    "fair", "fast", "festive", "firm", "fond", "frank", "fresh", "gentle", "glad", "golden", "good", "grand",
    "great", "happy", "hardy", "hearty", "honest", "jolly", "keen", "kind", "lively", "loyal", "lucid",
    "lucky", "mellow", "merry", "mighty", "modest", "neat", "nimble", "noble", "open", "patient", "plucky",
    "polite", "proud", "quick", "quiet", "ready", "robust", "rosy", "rustic", "serene", "sharp", "silver",
    "sincere", "smart", "smooth", "solid", "spry", "stable", "steady", "stoic", "strong", "sturdy", "sunny",
    "sure", "swift", "tender", "thrifty", "tidy", "tough", "tranquil", "trusty", "upbeat", "vivid", "warm",
    "wise", "witty", "zesty",
];

const THINGS: &[&str] = &[
    "anchor",
    "ballast",
    "barge",
    "barnacle",
    "beacon",
    "berth",
    "bollard",
    "boom",
    "bow",
    "breeze",
    "bridge",
    "buoy",
    "cabin",
    "cable",
    "canal",
    "capstan",
    "cargo",
    "channel",
    "chart",
    "cleat",
    "clipper",
    "coast",
    "compass",
    "coral",
    "cove",
    "crane",
    "crate",
    "current",
    "cutter",
    "davit",
    "deck",
    "delta",
    "dock",
    "dory",
    "ferry",
    "fjord",
    "fleet",
    "frigate",
    "galley",
    "gantry",
    "gull",
    "halyard",
    "harbor",
    "hatch",
    "hawser",
    "helm",
    "hold",
    "hull",
    "inlet",
    "island",
    "jetty",
    "jib",
    "keel",
    "ketch",
    "lagoon",
    "lantern",
    "locker",
    "lugger",
    "mast",
    "mooring",
    "oar",
    "ocean",
    "outrigger",
    "paddle",
    "pallet",
    "pelican",
    "pier",
    "pilot",
    "porthole",
    "prow",
    "pulley",
    "quay",
    "raft",
    "reef",
    "rigging",
    "rivet",
    "rope",
    "rudder",
    "sail",
    "schooner",
    "seal",
    "sextant",
    "shackle",
    "shore",
    "signal",
    "sloop",
    "spar",
    "spinnaker",
    "squall",
    "stern",
    "strait",
    "tanker",
    "tide",
    "tiller",
    "trawler",
    "trident",
    "tug",
    "wake",
    "wave",
    "wharf",
    "winch",
    "yawl",
];

/// A random name `adjective_thing`. From the second `attempt` on a digit is added, as the plain ones may be taken.
pub fn random_name(attempt: u32) -> String {
    let [first, second, third, fourth, digit] = random_bytes::<5>();
    let pick = |words: &'static [&'static str], high: u8, low: u8| {
        words[(usize::from(high) << 8 | usize::from(low)) % words.len()]
    };
    let mut name = format!("{}_{}", pick(ADJECTIVES, first, second), pick(THINGS, third, fourth));
    if attempt > 0 {
        name.push_str(&(digit % 10).to_string());
        if attempt > 4 {
            name.push_str(&corten_std::id::hex(&random_bytes::<2>()));
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_dockers_shape() {
        for attempt in 0..8 {
            let name = random_name(attempt);
            assert_eq!(name.matches('_').count(), 1, "{name}");
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            );
        }
        let distinct: std::collections::HashSet<_> = (0..200).map(|_| random_name(0)).collect();
        assert!(distinct.len() > 150);
    }
}
