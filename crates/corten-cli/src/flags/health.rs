//! Health checks.

use super::create::CreateFlags;
use corten_api::container::Healthcheck;

/// What the flags come to; nothing where none is given.
pub(crate) fn parse(flags: &CreateFlags) -> Result<Option<Healthcheck>, String> {
    let durations =
        [flags.health_interval, flags.health_timeout, flags.health_start_period, flags.health_start_interval];
    let any = !flags.health_cmd.is_empty()
        || durations.iter().any(|nanos| *nanos != 0)
        || flags.health_retries != 0;
    if flags.no_healthcheck {
        if any {
            return Err("--no-healthcheck conflicts with --health-* options".to_owned());
        }
        return Ok(Some(Healthcheck { test: Some(vec!["NONE".to_owned()]), ..Healthcheck::default() }));
    }
    if !any {
        return Ok(None);
    }
    if flags.health_retries < 0 {
        return Err("--health-retries cannot be negative".to_owned());
    }
    let test = (!flags.health_cmd.is_empty()).then(|| vec!["CMD-SHELL".to_owned(), flags.health_cmd.clone()]);
    Ok(Some(Healthcheck {
        test,
        interval: flags.health_interval,
        timeout: flags.health_timeout,
        start_period: flags.health_start_period,
        start_interval: flags.health_start_interval,
        retries: flags.health_retries,
    }))
}
