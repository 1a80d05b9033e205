//! Contexts: named daemons, in Docker's own store, so that both command lines see the same ones.

pub(crate) mod create;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod ls;
pub(crate) mod rm;
pub(crate) mod show;
pub(crate) mod update;
pub(crate) mod r#use;

use crate::context::Context;
use crate::error::{CliError, Result};
use corten_client::contexts::{self, Contexts, TLS_FILES};
use std::collections::BTreeMap;

/// The context that is always there: what options and variables say, or our own daemon.
const DEFAULT: &str = "default";

/// Its text, and that of a context that is made of it.
const DEFAULT_TEXT: &str = "Current DOCKER_HOST based configuration";

/// Said where a variable has the last word.
fn overridden(what: &str) -> String {
    format!(
        "Warning: DOCKER_HOST environment variable overrides the active context. To use {what}, either set the global --context flag, or unset DOCKER_HOST environment variable."
    )
}

fn store(context: &Context) -> Contexts {
    Contexts::of(context.folder())
}

/// Refuses what cannot be a context's name.
fn check_name(name: &str) -> Result<()> {
    let plain = |letter: char| letter.is_ascii_alphanumeric();
    let rest_fits = |letter: char| plain(letter) || "_.+-".contains(letter);
    if name.is_empty() {
        return Err(CliError::said("context name cannot be empty"));
    }
    if name == DEFAULT {
        return Err(CliError::said("\"default\" is a reserved context name"));
    }
    if name.len() < 2 || !name.starts_with(plain) || !name.chars().skip(1).all(rest_fits) {
        return Err(CliError::said(format!(
            "context name \"{name}\" is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\""
        )));
    }
    Ok(())
}

/// The context of that name; the default one is made of what is meant now.
fn get(context: &mut Context, name: &str) -> Result<contexts::Context> {
    if name == DEFAULT {
        let host = context.default_host()?;
        return Ok(contexts::Context::new(DEFAULT, "", &host, false));
    }
    Ok(store(context).get(name)?)
}

/// Sets a context's endpoint by the pairs of `--docker`: `from`, or `host` with `ca`, `cert`, `key`, `skip-tls-verify`.
fn point(context: &mut Context, target: &mut contexts::Context, pairs: &[String]) -> Result<()> {
    let failed = |why: String| CliError::said(format!("unable to create docker endpoint config: {why}"));
    let pairs: BTreeMap<&str, &str> =
        pairs.iter().flat_map(|pairs| pairs.split(',')).filter_map(|pair| pair.split_once('=')).collect();
    if let Some(name) =
        pairs.keys().find(|name| !["from", "host", "ca", "cert", "key", "skip-tls-verify"].contains(name))
    {
        return Err(failed(format!("unrecognized config key: {name}")));
    }
    if let Some(from) = pairs.get("from") {
        let source = get(context, from)?;
        target.endpoints = source.endpoints;
        target.tls = source.tls;
        return Ok(());
    }
    let host = pairs.get("host").copied().unwrap_or_default();
    if host.is_empty() {
        return Err(failed("invalid docker endpoint options: unable to parse docker host ``".to_owned()));
    }
    corten_client::target::parse_host(host)
        .map_err(|error| failed(format!("invalid docker endpoint options: {error}")))?;
    let skip = match pairs.get("skip-tls-verify").copied().unwrap_or("false") {
        "true" | "1" | "t" | "T" | "TRUE" | "True" => true,
        "false" | "0" | "f" | "F" | "FALSE" | "False" | "" => false,
        other => return Err(failed(format!("skip-tls-verify: parsing \"{other}\": invalid syntax"))),
    };
    let mut tls = BTreeMap::new();
    for (key, name) in ["ca", "cert", "key"].into_iter().zip(TLS_FILES) {
        let Some(path) = pairs.get(key).filter(|path| !path.is_empty()) else { continue };
        let content =
            corten_std::file::read(path).map_err(|error| failed(CliError::open(path, &error).text()))?;
        if !content.windows(11).any(|window| window == b"-----BEGIN ") {
            return Err(failed(format!(
                "invalid docker endpoint options: failed to retrieve context tls info: {name} seems invalid"
            )));
        }
        tls.insert(name.to_owned(), content);
    }
    target.point_to(host, skip);
    target.tls = tls;
    Ok(())
}

/// A pair of `--docker`.
fn pair(text: &str) -> Result<String, String> {
    match text.split(',').find(|pair| !pair.contains('=')) {
        Some(bad) => Err(format!("{bad} must be formatted as key=value")),
        None => Ok(text.to_owned()),
    }
}
