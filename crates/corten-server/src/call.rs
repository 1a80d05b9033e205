//! One request on its way to its route: what the path, the query and the body say.

use corten_api::filter::Filters;
use corten_api::query::Query;
use corten_api::version::ApiVersion;
use corten_http::server::{Request, RequestBody, RequestHead};
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// Bytes that a document may have.
const MAX_DOCUMENT: usize = 16 << 20;

/// A request that has a route.
#[derive(Debug)]
pub(crate) struct Call {
    /// Which version's shapes the client expects.
    pub(crate) version: ApiVersion,
    /// The name in the path; empty where the route has none.
    pub(crate) name: String,
    /// What follows the question mark.
    pub(crate) query: Query,
    pub(crate) head: RequestHead,
    body: Option<RequestBody>,
}

impl Call {
    pub(crate) fn new(version: ApiVersion, name: String, query: Query, request: Request) -> Self {
        Self { version, name, query, head: request.head, body: Some(request.body) }
    }

    /// The `filters` parameter.
    pub(crate) fn filters(&self) -> Result<Filters, ApiError> {
        Ok(Filters::parse(self.query.get("filters"))?)
    }

    /// The body, once.
    pub(crate) fn body(&mut self) -> Result<RequestBody, ApiError> {
        self.body.take().ok_or_else(|| ApiError::invalid("the request body was read already"))
    }

    /// The body as a document; no body is the default document.
    pub(crate) async fn json<T: DeserializeOwned + Default>(&mut self) -> Result<T, ApiError> {
        Ok(self.json_if_any().await?.unwrap_or_default())
    }

    /// The body as a document, which must be there.
    pub(crate) async fn required_json<T: DeserializeOwned + Default>(&mut self) -> Result<T, ApiError> {
        Ok(self.required_json_with_text().await?.0)
    }

    /// The same with its text.
    pub(crate) async fn required_json_with_text<T: DeserializeOwned + Default>(
        &mut self,
    ) -> Result<(T, Vec<u8>), ApiError> {
        self.json_with_text()
            .await?
            .ok_or_else(|| ApiError::invalid("invalid JSON: got EOF while reading request body"))
    }

    /// The body as a document; none where there is no body.
    pub(crate) async fn json_if_any<T: DeserializeOwned + Default>(&mut self) -> Result<Option<T>, ApiError> {
        Ok(self.json_with_text().await?.map(|(document, _)| document))
    }

    async fn json_with_text<T: DeserializeOwned + Default>(
        &mut self,
    ) -> Result<Option<(T, Vec<u8>)>, ApiError> {
        self.check_json()?;
        if !self.head.has_body() {
            return Ok(None);
        }
        let bytes = self.body()?.collect(MAX_DOCUMENT).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(None);
        }
        // As in Go, a whole document of `null` is none.
        let document: Option<T> = serde_json::from_slice(&bytes).map_err(|error| {
            ApiError::invalid(if error.is_syntax() && error.to_string().starts_with("trailing characters") {
                "unexpected content after JSON".to_owned()
            } else {
                format!("invalid JSON: {error}")
            })
        })?;
        Ok(Some((document.unwrap_or_default(), bytes)))
    }

    /// Only JSON is taken for a document; nothing needs no type.
    fn check_json(&self) -> Result<(), ApiError> {
        let given = self.head.header("content-type").unwrap_or_default();
        if given.is_empty() && !self.head.has_body() {
            return Ok(());
        }
        let kind = given.split(';').next().unwrap_or_default().trim();
        if kind.is_empty() {
            return Err(ApiError::invalid(format!(
                "malformed Content-Type header ({given}): mime: no media type"
            )));
        }
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(ApiError::invalid(format!(
                "unsupported Content-Type header ({given}): must be 'application/json'"
            )));
        }
        Ok(())
    }
}
