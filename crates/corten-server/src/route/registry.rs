//! What routes about registries share: who asks, and progress as Docker writes it.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use corten_engine::image::{Credentials, LayerForms, Progress, PushOptions, Tell};
use corten_engine::{Engine, EngineError};
use corten_http::server::Response;
use corten_oci::Reference;
use corten_std::{ErrorClass, size};
use serde::Deserialize;
use serde_json::{Value, json};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

use super::Result;
use super::image::{platform, progress_line};
use crate::call::Call;
use crate::error::ApiError;
use crate::reply;
use crate::stream::unfold;

/// Lines that may wait for a slow client; one that is slower misses some.
const QUEUE: usize = 4096;
/// So many places of the queue are kept for what is not only a bar's next step.
const RESERVED: usize = 2048;

/// Clients write Base64 for addresses, with and without its end.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a client logged in with, as it stands in requests.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AuthDocument {
    pub(super) username: String,
    pub(super) password: String,
    /// Both, as one word.
    auth: String,
    pub(super) serveraddress: String,
    pub(super) identitytoken: String,
    registrytoken: String,
}

impl AuthDocument {
    pub(super) fn credentials(self) -> Credentials {
        let (mut username, mut password) = (self.username, self.password);
        if username.is_empty()
            && let Ok(pair) = base64::engine::general_purpose::STANDARD.decode(&self.auth)
            && let Some((name, secret)) = String::from_utf8_lossy(&pair).split_once(':')
        {
            (username, password) = (name.to_owned(), secret.trim_end_matches('\0').to_owned());
        }
        Credentials {
            username,
            password,
            identity_token: self.identitytoken,
            registry_token: self.registrytoken,
        }
    }
}

/// The header `X-Registry-Auth`; what cannot be read is nobody, as with Docker.
pub(super) fn credentials(call: &Call) -> Credentials {
    let given = call.head.header("x-registry-auth").unwrap_or_default().trim();
    let bytes = BASE64.decode(given).unwrap_or_default();
    serde_json::from_slice::<AuthDocument>(&bytes).map(AuthDocument::credentials).unwrap_or_default()
}

/// Whether a login is right.
pub(crate) async fn auth(engine: &Engine, mut call: Call) -> Result {
    let document: AuthDocument = call.json().await?;
    let address = document.serveraddress.clone();
    let token = engine.registry_login(&address, &document.credentials()).await?;
    Ok(reply::json(200, &json!({"Status": "Login Succeeded", "IdentityToken": token})))
}

/// Sends an image, or all of a repository's.
pub(crate) async fn push(engine: &Engine, call: Call) -> Result {
    let name = match call.query.get("tag") {
        "" => call.name.clone(),
        tag => format!("{}:{tag}", call.name),
    };
    let name = Reference::parse_bare(&name).map_err(|error| ApiError::of(&error))?;
    let options = PushOptions { name, platform: platform(&call, 46)?, credentials: credentials(&call) };
    let engine = engine.clone();
    progress(move |tell| async move { engine.image_push(&options, &tell).await }).await
}

/// Keys that are asked for, by their names.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct VerifyDocument {
    keys: Vec<VerifyKey>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct VerifyKey {
    name: String,
    text: String,
}

/// Whether an image has the signatures that are asked for.
pub(crate) async fn verify(engine: &Engine, mut call: Call) -> Result {
    let document: VerifyDocument = call.json().await?;
    let keys: Vec<(String, String)> = document.keys.into_iter().map(|key| (key.name, key.text)).collect();
    Ok(reply::json(200, &engine.image_verify(&call.name, &keys, &credentials(&call)).await?))
}

/// Drops forms of layers that can be had again.
pub(crate) async fn compact(engine: &Engine, call: Call) -> Result {
    let unpacked_for = match call.query.get("unpackedFor") {
        "" => None,
        text => Some(Duration::from_secs(text.parse().map_err(|_| {
            ApiError::invalid(format!("unpackedFor takes a number of seconds, not {text:?}"))
        })?)),
    };
    let forms = LayerForms { drop_compressed: call.query.flag_or("compressed", true), unpacked_for };
    let dry = call.query.flag_or("dryRun", false);
    Ok(reply::json(200, &engine.image_compact(forms, dry).await?))
}

/// What a registry has under a name.
pub(crate) async fn inspect(engine: &Engine, call: Call) -> Result {
    let name = Reference::parse(&call.name).map_err(|error| ApiError::of(&error))?;
    let (descriptor, platforms) = engine.distribution_inspect(&name, &credentials(&call)).await?;
    let descriptor = json!({
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest.to_string(),
        "size": descriptor.size,
    });
    Ok(reply::json(200, &json!({"Descriptor": descriptor, "Platforms": platforms})))
}

/// Images by a word.
pub(crate) async fn search(engine: &Engine, call: Call) -> Result {
    let term = call.query.get("term");
    if term.is_empty() {
        return Err(ApiError::invalid("no term to search for: `term` is missing"));
    }
    let limit = match call.query.get("limit") {
        "" => 25,
        text => text.parse().map_err(|_| ApiError::invalid("limit is not a number"))?,
    };
    if !(1..=100).contains(&limit) {
        return Err(ApiError::invalid(format!("limit {limit} is outside the range of [1, 100]")));
    }
    let filters = call.filters()?;
    filters.validate(&["is-automated", "is-official", "stars"])?;
    let automated = filters.flag("is-automated")?;
    let official = filters.flag("is-official")?;
    let mut stars = 0;
    for text in filters.get("stars") {
        let least: i64 =
            text.parse().map_err(|_| ApiError::invalid(format!("invalid filter 'stars={text}'")))?;
        stars = stars.max(least);
    }
    let mut found = engine.registry_search(term, limit, &credentials(&call)).await?;
    found.retain(|one| {
        one.star_count >= stars
            && official.is_none_or(|official| official == one.is_official)
            && automated.is_none_or(|automated| automated == one.is_automated)
    });
    Ok(reply::json(200, &found))
}

/// Ends the work when the client is not there any more.
struct Work(tokio::task::JoinHandle<()>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An answer that tells what work tells. Until its first line nothing is sent: a failure before that is an ordinary
/// error, a later one the last line. The work ends with the client.
pub(super) async fn progress<F, Fut>(work: F) -> Result
where
    F: FnOnce(Tell) -> Fut,
    Fut: Future<Output = std::result::Result<(), EngineError>> + Send + 'static,
{
    let (sender, mut lines) = mpsc::channel::<std::result::Result<Vec<u8>, EngineError>>(QUEUE);
    let tell: Tell = {
        let sender = sender.clone();
        Arc::new(move |progress| {
            if matches!(progress, Progress::Bar { .. }) && sender.capacity() < RESERVED {
                return;
            }
            let _ = sender.try_send(Ok(progress_line(&document(progress))));
        })
    };
    let working = work(tell);
    let work = Work(tokio::spawn(async move {
        if let Err(error) = working.await {
            let _ = sender.send(Err(error)).await;
        }
    }));
    let first = match lines.recv().await {
        None => return Ok(Response::full(200, "").header("Content-Type", reply::JSON)),
        Some(Err(error)) => return Err(error.into()),
        Some(Ok(line)) => line,
    };
    let body = unfold((Some(first), lines, work), |(first, mut lines, work)| async move {
        let line = match first {
            Some(first) => first,
            None => match lines.recv().await? {
                Ok(line) => line,
                Err(error) => {
                    if error.class() == ErrorClass::System {
                        tracing::warn!(
                            error = corten_std::chain(&error),
                            "an operation with a registry failed"
                        );
                    }
                    let text = error.message();
                    progress_line(&json!({"errorDetail": {"message": text}, "error": text}))
                }
            },
        };
        Some(((None, lines, work), Ok(line)))
    });
    Ok(Response::stream(200, body).header("Content-Type", reply::JSON))
}

fn document(progress: Progress) -> Value {
    match progress {
        Progress::Status { id: None, status } => json!({"status": status}),
        Progress::Status { id: Some(id), status } => json!({"status": status, "id": id}),
        Progress::Layer { id, status } => json!({"status": status, "progressDetail": {}, "id": id}),
        Progress::Bar { id, status, current, total } => {
            let mut document = json!({
                "status": status,
                "progressDetail": {"current": current, "total": total},
                "progress": bar(current, total),
            });
            if !id.is_empty() {
                document["id"] = id.into();
            }
            document
        }
        Progress::Aux(value) => json!({"progressDetail": {}, "aux": value}),
    }
}

/// The bar as Docker draws it for clients that do not draw themselves.
fn bar(current: u64, total: u64) -> String {
    let done = if total == 0 { 0 } else { ((current as f64 / total as f64 * 100.0) as usize / 2).min(50) };
    let number = format!("{:>8}", size::human(current as f64));
    let numbers = if current > total { number } else { format!("{number}/{}", size::human(total as f64)) };
    format!("[{}>{}] {numbers}", "=".repeat(done), " ".repeat(50 - done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars() {
        let drawn = bar(500_000, 1_000_000);
        assert_eq!(drawn, format!("[{}>{}]    500kB/1MB", "=".repeat(25), " ".repeat(25)));
        assert!(bar(0, 0).starts_with("[>"));
    }

    #[test]
    fn who_asks_is_read() {
        let document: AuthDocument = serde_json::from_str(r#"{"auth":"dTpwOnE="}"#).unwrap();
        let credentials = document.credentials();
        assert_eq!((credentials.username.as_str(), credentials.password.as_str()), ("u", "p:q"));
    }
}
