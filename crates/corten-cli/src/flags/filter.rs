//! `--filter key=value`.

use crate::error::{CliError, Result};
use corten_client::Filters;

/// Reads all of them.
pub(crate) fn parse(flags: &[String]) -> Result<Filters> {
    let mut filters = Filters::new();
    for flag in flags {
        let (key, value) = flag.split_once('=').ok_or_else(|| {
            CliError::said(format!(
                "invalid argument \"{flag}\" for \"--filter\" flag: invalid filter '{flag}'"
            ))
        })?;
        filters.add(key.trim().to_lowercase(), value.trim());
    }
    Ok(filters)
}

/// As [`parse`], with the filters that the configuration adds to every prune; a label asked for on the command line
/// outweighs its opposite there.
pub(crate) fn for_prune(flags: &[String], configured: &[String]) -> Result<Filters> {
    let mut filters = parse(flags)?;
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
    Ok(filters)
}
