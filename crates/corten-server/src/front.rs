//! Every request and every answer pass here: version prefix, route, the headers of all answers, errors.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use corten_api::query::{Plus, Query, unescape};
use corten_api::route::{self, Method, Operation};
use corten_api::version::ApiVersion;
use corten_http::server::{Answer, Handler, Request, Response};

use crate::authorize::Authorization;
use crate::call::Call;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::traces::{Begun, SpanSink};

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
    authorization: Option<Authorization>,
    metrics: Arc<Metrics>,
    traces: Option<Arc<dyn SpanSink>>,
}

impl<A: Api> Front<A> {
    pub(crate) fn new(api: A) -> Self {
        Self { api, authorization: None, metrics: Arc::default(), traces: None }
    }

    /// With plugins that are asked.
    pub(crate) fn authorized(mut self, authorization: Option<Authorization>) -> Self {
        self.authorization = authorization;
        self
    }

    /// What is done is counted there.
    pub(crate) fn measured(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// Spans go there; none: there are none.
    pub(crate) fn traced(mut self, traces: Option<Arc<dyn SpanSink>>) -> Self {
        self.traces = traces;
        self
    }

    async fn answer(&self, mut request: Request, span: &mut Option<Begun>) -> Response {
        if request.head.method == "OPTIONS" {
            return Response::empty(200);
        }
        let path = match unescape(&request.head.path, Plus::Itself) {
            Ok(path) => path,
            Err(error) => return ApiError::from(error).response(),
        };
        let (asked, path) = split_version(&path);
        let found = Method::from_name(&request.head.method)
            .and_then(|method| route::find(method, path, ApiVersion::NEWEST));
        let Some(found) = found else { return ApiError::page_not_found().response() };
        if let Some(span) = span {
            span.route(found.pattern);
        }
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
        // A plugin reads what the route will read, to the last byte.
        let asked = match &self.authorization {
            Some(authorization) => match authorization.request(&mut request).await {
                Ok(asked) => Some((authorization, asked)),
                Err(error) => return error.response(),
            },
            None => None,
        };
        let call = Call::new(version, found.name.to_owned(), query, request);
        let start = Instant::now();
        let response = match self.api.call(operation, call).await {
            Ok(response) => {
                self.metrics.done(operation, start.elapsed());
                response
            }
            Err(error) => {
                tracing::debug!(?operation, status = error.status(), message = error.message, "refused");
                error.response()
            }
        };
        match asked {
            Some((authorization, asked)) => {
                authorization.response(asked, response).await.unwrap_or_else(|error| error.response())
            }
            None => response,
        }
    }
}

impl<A: Api> Handler for Front<A> {
    fn handle(&self, request: Request) -> Answer<'_> {
        Box::pin(async move {
            let mut span = self.traces.as_ref().and_then(|sink| Begun::new(sink, &request.head));
            let response = self.answer(request, &mut span).await;
            if let Some(span) = span {
                span.end(&response);
            }
            response
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
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};

    use corten_http::server::{Listener, Settings, serve};
    use corten_std::ErrorClass;

    use super::*;
    use crate::reply;

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

    /// Shows what it was called with; some operations fail, one for each class.
    struct Fake;

    impl Api for Fake {
        fn call(&self, operation: Operation, mut call: Call) -> Outcome<'_> {
            Box::pin(async move {
                let class = match operation {
                    Operation::ContainerStart => ErrorClass::NotModified,
                    Operation::ContainerRename => ErrorClass::Conflict,
                    Operation::NodeList => ErrorClass::Unavailable,
                    Operation::NetworkRemove => ErrorClass::Forbidden,
                    Operation::Build => ErrorClass::NotImplemented,
                    Operation::VolumeCreate => {
                        let document: serde_json::Map<String, serde_json::Value> = call.json().await?;
                        return Ok(reply::json(201, &document));
                    }
                    Operation::ContainerCreate => {
                        let document: serde_json::Map<String, serde_json::Value> =
                            call.required_json().await?;
                        return Ok(reply::json(201, &document));
                    }
                    _ => {
                        return Ok(reply::json(
                            200,
                            &format!("{operation:?} {} {}", call.version, call.name),
                        ));
                    }
                };
                Err(ApiError::new(class, "why"))
            })
        }
    }

    /// Keeps spans.
    #[derive(Default)]
    struct Kept(std::sync::Mutex<Vec<crate::traces::Span>>);

    impl SpanSink for Kept {
        fn take(&self, span: crate::traces::Span) {
            self.0.lock().unwrap().push(span);
        }
    }

    #[test]
    fn each_request_is_a_span_below_that_of_its_client() {
        let parent =
            "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b";
        let silent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        let kept = Arc::new(Kept::default());
        let front = Front::new(Fake).traced(Some(Arc::clone(&kept) as Arc<dyn SpanSink>));
        let requests = ["GET /v1.51/containers/a%2Fb/json?x=secret", "GET /nothing", "POST /build"];
        let mut all: Vec<String> = requests.iter().map(|line| format!("{line}|{parent}")).collect();
        all.push(format!("GET /info|{silent}"));
        all.push("GET /info".to_owned());
        ask_front(front, &all.iter().map(String::as_str).collect::<Vec<_>>());
        let spans = kept.0.lock().unwrap();
        let told: Vec<_> = spans
            .iter()
            .map(|span| (span.path.as_str(), span.route, span.status, span.parent.is_some()))
            .collect();
        assert_eq!(
            told,
            [
                ("/v1.51/containers/a%2Fb/json", Some("/containers/{}/json"), 200, true),
                ("/nothing", None, 404, true),
                ("/build", Some("/build"), 501, true),
                ("/info", Some("/info"), 200, false),
            ]
        );
        assert_eq!(
            (spans[0].trace[0], spans[0].parent.unwrap()[0], spans[0].state.as_str()),
            (0x0a, 0xb7, "a=b")
        );
        assert!(spans[3].trace != spans[0].trace && spans.iter().all(|span| span.start <= span.end));
    }

    fn ask(requests: &[&str]) -> Vec<String> {
        ask_front(Front::new(Fake), requests)
    }

    /// Sends requests, each a request line, a header and a body; gives status and body of each answer.
    fn ask_front(front: Front<Fake>, requests: &[&str]) -> Vec<String> {
        let path =
            std::env::temp_dir().join(format!("corten-front-{}-{:p}.sock", std::process::id(), requests));
        let _ = std::fs::remove_file(&path);
        let listener = Listener::Unix(UnixListener::bind(&path).unwrap());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(serve(vec![listener], Arc::new(front), Settings::default(), std::future::pending()));
        let answers = requests.iter().map(|request| {
            let (line, rest) = request.split_once('|').unwrap_or((request, ""));
            let (header, body) = rest.split_once('|').unwrap_or((rest, ""));
            let header = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
            let mut stream = UnixStream::connect(&path).unwrap();
            write!(
                stream,
                "{line} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n{header}Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            for header in
                ["Api-Version: 1.51", "Docker-Experimental: false", "Ostype: linux", "Server: Docker/"]
            {
                assert!(head.contains(header), "{header} is missing in {head}");
            }
            format!("{} {}", &head[9..12], body.trim_end())
        });
        let answers = answers.collect();
        let _ = std::fs::remove_file(&path);
        answers
    }

    #[test]
    fn routes_versions_and_what_is_none() {
        let answers = ask(&[
            "GET /info",
            "GET /v1.40/images/r:5000/a%2Fb/json",
            "GET /v1.99/info",
            "GET /v1.12/info",
            "GET /v1.51/nothing",
            "DELETE /info",
            "BREW /info",
            "OPTIONS /anything",
            "GET /info?x=%zz",
            "GET /v1.51/networks/",
        ]);
        let too_new =
            r#"400 {"message":"client version 1.99 is too new. Maximum supported API version is 1.51"}"#;
        assert_eq!(
            answers,
            [
                r#"200 "Info 1.51 ""#,
                r#"200 "ImageInspect 1.40 r:5000/a/b""#,
                too_new,
                "400 client version 1.12 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version",
                r#"404 {"message":"page not found"}"#,
                r#"404 {"message":"page not found"}"#,
                r#"404 {"message":"page not found"}"#,
                "200 ",
                r#"400 {"message":"invalid URL escape \"%zz\""}"#,
                r#"200 "NetworkListSlash 1.51 ""#,
            ]
        );
    }

    #[test]
    fn classes_become_status_codes() {
        let answers = ask(&[
            "POST /containers/a/start",
            "POST /containers/a/rename",
            "GET /nodes",
            "DELETE /networks/a",
            "POST /build",
        ]);
        let why = |status| format!("{status} {{\"message\":\"why\"}}");
        assert_eq!(answers, ["304 ".to_owned(), why(409), why(503), why(403), why(501)]);
    }

    #[test]
    fn documents_must_be_json_and_may_be_missing_where_nothing_is_needed() {
        let json = "Content-Type: application/json; charset=utf-8";
        let answers = ask(&[
            &format!("POST /volumes/create|{json}|{{\"a\":1}}"),
            "POST /volumes/create",
            &format!("POST /volumes/create|{json}|null"),
            &format!("POST /volumes/create|{json}|{{\"a\":1}} x"),
            &format!("POST /volumes/create|{json}|{{"),
            "POST /volumes/create|Content-Type: text/plain|{}",
            "POST /volumes/create||{}",
            "POST /containers/create",
        ]);
        assert_eq!(
            answers,
            [
                r#"201 {"a":1}"#,
                "201 {}",
                "201 {}",
                r#"400 {"message":"unexpected content after JSON"}"#,
                r#"400 {"message":"invalid JSON: EOF while parsing an object at line 1 column 1"}"#,
                r#"400 {"message":"unsupported Content-Type header (text/plain): must be 'application/json'"}"#,
                r#"400 {"message":"malformed Content-Type header (): mime: no media type"}"#,
                r#"400 {"message":"invalid JSON: got EOF while reading request body"}"#,
            ]
        );
    }
}
