//! Authorization plugins: asked about every request before anything is done, and about every answer before it goes out.
//!
//! A plugin that cannot be asked, and a body that it cannot be shown whole, are refusals. What the plugin is shown is what
//! the route reads: the body is read once, by the same reader, and kept.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_engine::plugin::PluginCaller;
use corten_http::server::{Body, Request, Response};
use corten_std::ErrorClass;
use serde_json::{Map, Value, json};

use crate::error::ApiError;

/// Bytes of a body that is shown; a larger document is refused, as it would pass unseen.
const MAX_BODY: usize = 1 << 20;

/// Headers that hold credentials and are not shown.
const SECRET: [&str; 2] = ["x-registry-auth", "x-registry-config"];

/// The plugins, in the order in which they are asked.
#[derive(Clone, Debug)]
pub(crate) struct Authorization {
    plugins: Vec<String>,
    caller: Arc<dyn PluginCaller>,
}

/// What was asked about a request; the answer is asked about with it.
pub(crate) struct Asked(Map<String, Value>);

impl Authorization {
    pub(crate) fn new(plugins: Vec<String>, caller: Arc<dyn PluginCaller>) -> Self {
        Self { plugins, caller }
    }

    /// Whether the request may go on.
    pub(crate) async fn request(&self, request: &mut Request) -> Result<Asked, ApiError> {
        let head = &request.head;
        let mut document = Map::new();
        document.insert("RequestMethod".to_owned(), json!(head.method));
        let query = if head.query.is_empty() { String::new() } else { format!("?{}", head.query) };
        document.insert("RequestUri".to_owned(), json!(format!("{}{query}", head.path)));
        let shown = head.headers.iter().filter(|(name, _)| !SECRET.contains(&name.as_str()));
        let headers: Map<String, Value> =
            shown.map(|(name, value)| (canonical(name), json!(value))).collect();
        document.insert("RequestHeaders".to_owned(), Value::Object(headers));
        let kind = head.header("content-type").unwrap_or_default();
        let is_document =
            kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json");
        // Credentials are nobody's business; archives are no documents.
        if is_document && head.has_body() && !head.path.ends_with("/auth") {
            let body = request.body.look_ahead(MAX_BODY).await.map_err(|error| {
                ApiError::new(
                    ErrorClass::Forbidden,
                    format!("the request cannot be authorized: {}", corten_std::chain(&error)),
                )
            })?;
            if !body.is_empty() {
                document.insert("RequestBody".to_owned(), json!(STANDARD.encode(body)));
            }
        }
        self.ask("AuthZReq", &document).await?;
        Ok(Asked(document))
    }

    /// Whether the answer may go out. Of a stream, or a connection that is taken over, the head is shown.
    pub(crate) async fn response(&self, asked: Asked, response: Response) -> Result<Response, ApiError> {
        let Asked(mut document) = asked;
        document.insert("ResponseStatusCode".to_owned(), json!(response.status));
        let headers = response.headers.iter();
        let headers: Map<String, Value> =
            headers.map(|(name, value)| (name.clone().into_owned(), json!(value))).collect();
        document.insert("ResponseHeaders".to_owned(), Value::Object(headers));
        if let Body::Full(body) = &response.body
            && !body.is_empty()
            && body.len() <= MAX_BODY
        {
            document.insert("ResponseBody".to_owned(), json!(STANDARD.encode(body)));
        }
        self.ask("AuthZRes", &document).await?;
        Ok(response)
    }

    async fn ask(&self, method: &'static str, document: &Map<String, Value>) -> Result<(), ApiError> {
        let document = Arc::new(Value::Object(document.clone()));
        for plugin in &self.plugins {
            let (caller, document, name) = (Arc::clone(&self.caller), Arc::clone(&document), plugin.clone());
            let asked = tokio::task::spawn_blocking(move || {
                caller.call(&name, &format!("AuthZPlugin.{method}"), &document)
            });
            let failed = |why: &str| {
                ApiError::new(ErrorClass::System, format!("plugin {plugin} failed with error: {why}"))
            };
            let answer = match asked.await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => return Err(failed(&error.to_string())),
                Err(_) => return Err(failed("the call was broken off")),
            };
            let text = |key: &str| answer[key].as_str().unwrap_or_default();
            if !text("Err").is_empty() {
                return Err(failed(text("Err")));
            }
            if answer["Allow"] != true {
                return Err(ApiError::new(
                    ErrorClass::Forbidden,
                    format!("authorization denied by plugin {plugin}: {}", text("Msg")),
                ));
            }
        }
        Ok(())
    }
}

/// A header's name as Go writes it: `content-type` becomes `Content-Type`.
fn canonical(name: &str) -> String {
    let mut begins = true;
    let letters = name.chars().map(|letter| {
        let letter = if begins { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() };
        begins = letter == '-';
        letter
    });
    letters.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_headers() {
        assert_eq!(canonical("x-registry-auth"), "X-Registry-Auth");
        assert_eq!(canonical("content-TYPE"), "Content-Type");
    }
}
