//! `--filter key=value`.

use corten_client::Filters;

/// Reads all of them.
pub(crate) fn parse(flags: &[String]) -> Filters {
    let mut filters = Filters::new();
    for (key, value) in flags.iter().filter_map(|flag| flag.split_once('=')) {
        filters.add(key.trim().to_lowercase(), value.trim());
    }
    filters
}

/// A filter as a flag: it must have a value; nothing at all is none.
pub(crate) fn checked(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains('=') {
        return Ok(text.to_owned());
    }
    Err("bad format of filter (expected name=value)".to_owned())
}

/// As [`parse`], with the filters that the configuration adds to every prune; a label asked for on the command line
/// outweighs its opposite there.
pub(crate) fn for_prune(flags: &[String], configured: &[String]) -> Filters {
    let mut filters = parse(flags);
    for entry in configured {
        let Some((key, value)) = entry.split_once('=') else { continue };
        let opposite = match key {
            "label" => "label!",
            "label!" => "label",
            _ => key,
        };
        if !filters.get(opposite).any(|other| other == value) || opposite == key {
            filters.add(key, value);
        }
    }
    filters
}
