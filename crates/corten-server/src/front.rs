//! Every request and every answer pass here: version prefix, route, the headers of all answers, errors.

use std::future::Future;
use std::pin::Pin;

use corten_api::query::{Plus, Query, unescape};
use corten_api::route::{self, Method, Operation};
use corten_api::version::ApiVersion;
use corten_http::server::{Answer, Handler, Request, Response};

use crate::call::Call;
use crate::error::ApiError;

/// What the header `Server` says: clients read the version of the engine whose behaviour this is from it.
const SERVER: &str = "Docker/28.5.2 (linux)";

/// What a route answers.
pub(crate) type Outcome<'a> = Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send + 'a>>;

/// What stands behind the front.
pub(crate) trait Api: Send + Sync + 'static {
    /// Does what a request asks for.
    fn call(&self, operation: Operation, call: Call) -> Outcome<'_>;
}

/// The front of an API.
pub(crate) struct Front<A> {
    api: A,
}

impl<A: Api> Front<A> {
    pub(crate) fn new(api: A) -> Self {
        Self { api }
    }

    async fn answer(&self, request: Request) -> Response {
        if request.head.method == "OPTIONS" {
            return Response::empty(200);
        }
        let path = match unescape(&request.head.path, Plus::Itself) {
            Ok(path) => path,
            Err(error) => return ApiError::from(error).response(),
        };
        let (asked, path) = split_version(&path);
        let found = Method::from_name(&request.head.method).and_then(|method| route::find(method, path, ApiVersion::NEWEST));
        let Some(found) = found else { return ApiError::page_not_found().response() };
        let version = match asked.map_or(Ok(ApiVersion::NEWEST), ApiVersion::check) {
            Ok(version) => version,
            Err(error) if asked < Some(ApiVersion::OLDEST) => return ApiError::from(error).plain_response(),
            Err(error) => return ApiError::from(error).response(),
        };
        let query = match Query::parse(&request.head.query) {
            Ok(query) => query,
            Err(error) => return ApiError::from(error).response(),
        };
        let operation = found.operation;
        let call = Call::new(version, found.name.to_owned(), query, request);
        match self.api.call(operation, call).await {
            Ok(response) => response,
            Err(error) => {
                tracing::debug!(?operation, status = error.status(), message = error.message, "refused");
                error.response()
            }
        }
    }
}

impl<A: Api> Handler for Front<A> {
    fn handle(&self, request: Request) -> Answer<'_> {
        Box::pin(async move {
            self.answer(request)
                .await
                .header("Api-Version", "1.51")
                .header("Docker-Experimental", "false")
                .header("Ostype", "linux")
                .header("Server", SERVER)
        })
    }
}

/// Takes `/v1.51` off a path. What is no version is a part of the path.
fn split_version(path: &str) -> (Option<ApiVersion>, &str) {
    let split = || {
        let rest = path.strip_prefix("/v")?;
        let end = rest.find('/')?;
        Some((Some(rest[..end].parse().ok()?), &rest[end..]))
    };
    split().unwrap_or((None, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_prefix_is_digits_and_points() {
        let cases = [
            ("/v1.51/info", Some(ApiVersion::one(51)), "/info"),
            ("/v1.24/volumes/v1.2/x", Some(ApiVersion::one(24)), "/volumes/v1.2/x"),
            ("/volumes/a", None, "/volumes/a"),
            ("/version", None, "/version"),
            ("/v1.51", None, "/v1.51"),
            ("/vx/info", None, "/vx/info"),
        ];
        for (path, version, rest) in cases {
            assert_eq!(split_version(path), (version, rest), "{path}");
        }
    }
}
