//! Sends the spans of requests to an OpenTelemetry collector, as OTLP in JSON over HTTP. A thread of its own gathers them and waits
//! for the collector; it is there only where `OTEL_EXPORTER_OTLP_ENDPOINT` asks for it.

use corten_http::client::{Body, Connection, Endpoint, Request};
use corten_http::tls::TlsFiles;
use corten_server::{Span, SpanSink};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Spans that wait to be sent; more are dropped, and counted.
const MOST_WAITING: usize = 2048;
/// Spans in one request.
const MOST_AT_ONCE: usize = 512;
/// How long the end of the daemon waits for the last spans.
const LAST: Duration = Duration::from_secs(2);

/// Where spans go, and what is told of us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    endpoint: Endpoint,
    /// Path of the collector.
    target: String,
    headers: Vec<(String, String)>,
    resource: Vec<(String, String)>,
    /// How long spans are gathered.
    delay: Duration,
}

impl Settings {
    /// From OpenTelemetry's variables; none where nothing is asked for.
    ///
    /// # Errors
    /// Where what is asked for cannot be.
    pub(crate) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let said =
            |name: &str| variable(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        // A variable for traces alone outweighs the one for everything.
        let of = |name: &str| {
            said(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))
                .or_else(|| said(&format!("OTEL_EXPORTER_OTLP_{name}")))
        };
        let is_off = said("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"))
            || said("OTEL_TRACES_EXPORTER").is_some_and(|text| text == "none");
        let url = match (said("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), said("OTEL_EXPORTER_OTLP_ENDPOINT")) {
            _ if is_off => return Ok(None),
            (Some(url), _) => url,
            (None, Some(url)) => format!("{}/v1/traces", url.trim_end_matches('/')),
            (None, None) => return Ok(None),
        };
        if of("PROTOCOL").is_some_and(|protocol| protocol == "grpc") {
            return Err(
                "OTEL_EXPORTER_OTLP_PROTOCOL=grpc is not built: say http/json, and the collector's port for \
                        HTTP (4318)"
                    .to_owned(),
            );
        }
        let wrong = || format!("OTEL_EXPORTER_OTLP_ENDPOINT: {url} is not like http://HOST:PORT");
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let is_secure = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(wrong()),
        };
        let (host, port) = split_port(authority, if is_secure { 443 } else { 80 }).ok_or_else(wrong)?;
        let endpoint = if is_secure {
            let files = TlsFiles {
                authority: of("CERTIFICATE").map(Into::into),
                certificate: of("CLIENT_CERTIFICATE").map(Into::into),
                key: of("CLIENT_KEY").map(Into::into),
                verify: true,
            };
            Endpoint::Secure(host, port, files)
        } else {
            Endpoint::Tcp(host, port)
        };
        let mut resource = said("OTEL_RESOURCE_ATTRIBUTES").map_or_else(Vec::new, |text| pairs(&text));
        resource.retain(|(name, _)| name != "service.name" || said("OTEL_SERVICE_NAME").is_none());
        if !resource.iter().any(|(name, _)| name == "service.name") {
            let name = said("OTEL_SERVICE_NAME").unwrap_or_else(|| "corten".to_owned());
            resource.insert(0, ("service.name".to_owned(), name));
        }
        resource.push(("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()));
        let delay = said("OTEL_BSP_SCHEDULE_DELAY").and_then(|text| text.parse().ok()).unwrap_or(5000);
        Ok(Some(Self {
            endpoint,
            target: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
            headers: of("HEADERS").map_or_else(Vec::new, |text| pairs(&text)),
            resource,
            delay: Duration::from_millis(delay),
        }))
    }
}

/// `HOST[:PORT]`, an IPv6 address in brackets.
fn split_port(authority: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Some(default), |port| port.parse().ok())?;
    (!host.is_empty() && !host.contains('@')).then(|| (host.to_owned(), port))
}

/// `name=value,…`, values with percent escapes.
fn pairs(text: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| {
        corten_api::query::unescape(text.trim(), corten_api::query::Plus::Itself)
            .unwrap_or_else(|_| text.trim().to_owned())
    };
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), decoded(value))).collect()
}

/// Takes spans from requests and hands them to the thread.
pub(crate) struct Exporter {
    spans: Mutex<Option<SyncSender<Span>>>,
    dropped: Arc<AtomicU64>,
    /// Tells that the thread has ended.
    ended: Mutex<Receiver<()>>,
}

impl SpanSink for Exporter {
    fn take(&self, span: Span) {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spans) = spans.as_ref()
            && let Err(TrySendError::Full(_)) = spans.try_send(span)
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Exporter {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub(crate) fn start(settings: Settings) -> Result<Self, String> {
        let (spans, receiver) = sync_channel(MOST_WAITING);
        let (end, ended) = channel();
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        std::thread::Builder::new()
            .name("traces".to_owned())
            .spawn(move || {
                gather(&settings, &receiver, &counter);
                let _ = end.send(());
            })
            .map_err(|error| format!("cannot start the thread for traces: {error}"))?;
        Ok(Self { spans: Mutex::new(Some(spans)), dropped, ended: Mutex::new(ended) })
    }

    /// Sends what is left, for a moment. Blocking.
    pub(crate) fn finish(&self) {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = self.ended.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(LAST);
    }
}

/// Until nobody gives spans any more.
fn gather(settings: &Settings, spans: &Receiver<Span>, dropped: &AtomicU64) {
    let mut connection = None;
    // One line for a collector that is away, not one for each request.
    let mut was_told = false;
    while let Ok(first) = spans.recv() {
        let mut batch = vec![first];
        let until = Instant::now() + settings.delay;
        while batch.len() < MOST_AT_ONCE {
            match spans.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(span) => batch.push(span),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!("{lost} spans were dropped: the collector of traces is too slow");
        }
        match send(settings, &mut connection, &batch) {
            Ok(()) => was_told = false,
            Err(error) if was_told => tracing::debug!("{} spans were lost: {error}", batch.len()),
            Err(error) => {
                was_told = true;
                tracing::warn!("traces cannot be sent to {}: {error}", settings.endpoint);
            }
        }
    }
}

fn send(settings: &Settings, kept: &mut Option<Connection>, batch: &[Span]) -> Result<(), String> {
    let document = serde_json::to_vec(&document(settings, batch)).map_err(|error| error.to_string())?;
    let mut headers = vec![("Content-Type", "application/json")];
    headers.extend(settings.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let ask = |connection: Connection| {
        let body = Body::Bytes(&document);
        let request = Request { method: "POST", target: &settings.target, headers: &headers, body };
        connection.send(request).map_err(|error| (error.is_broken(), corten_std::chain(&error)))
    };
    let open = || Connection::open(&settings.endpoint).map_err(|error| corten_std::chain(&error));
    let mut answer = match kept.take().filter(Connection::is_usable).map(ask) {
        // The collector closed it just now.
        None | Some(Err((true, _))) => ask(open()?),
        Some(other) => other,
    }
    .map_err(|(_, told)| told)?;
    let status = answer.head.status;
    answer.read_all().map_err(|error| error.to_string())?;
    *kept = answer.into_connection();
    if (200..300).contains(&status) { Ok(()) } else { Err(format!("it answered {status}")) }
}

fn document(settings: &Settings, batch: &[Span]) -> Value {
    let resource: Vec<Value> = settings.resource.iter().map(|(name, value)| text(name, value)).collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{
            "scope": {"name": "corten-server", "version": env!("CARGO_PKG_VERSION")},
            "spans": batch.iter().map(span).collect::<Vec<Value>>(),
        }],
    }]})
}

/// One span, with the names of OpenTelemetry's conventions for HTTP servers.
fn span(span: &Span) -> Value {
    let mut attributes = vec![
        text("http.request.method", &span.method),
        text("url.path", &span.path),
        json!({"key": "http.response.status_code", "value": {"intValue": span.status.to_string()}}),
    ];
    if let Some(route) = span.route {
        attributes.push(text("http.route", route));
    }
    if !span.agent.is_empty() {
        attributes.push(text("user_agent.original", &span.agent));
    }
    let name = span.route.map_or_else(|| span.method.clone(), |route| format!("{} {route}", span.method));
    let mut document = json!({
        "traceId": hex(&span.trace),
        "spanId": hex(&span.id),
        "name": name,
        "kind": 2,
        "startTimeUnixNano": span.start.to_string(),
        "endTimeUnixNano": span.end.to_string(),
        "attributes": attributes,
        // What a client does wrong is no error of the server's.
        "status": if span.status >= 500 { json!({"code": 2}) } else { json!({}) },
    });
    if let Some(parent) = &span.parent {
        document["parentSpanId"] = hex(parent).into();
    }
    if !span.state.is_empty() {
        document["traceState"] = span.state.clone().into();
    }
    document
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        Settings::read(|name| {
            variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn variables_say_where_and_nothing_says_nowhere() {
        assert_eq!(read(&[]).unwrap(), None);
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318/");
        for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(read(&[endpoint, off]).unwrap(), None);
        }
        let settings = read(&[
            endpoint,
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, x=y"),
            ("OTEL_RESOURCE_ATTRIBUTES", "host.name=h,service.name=other"),
            ("OTEL_SERVICE_NAME", "mine"),
            ("OTEL_BSP_SCHEDULE_DELAY", "7"),
        ])
        .unwrap()
        .unwrap();
        assert_eq!(settings.endpoint, Endpoint::Tcp("localhost".to_owned(), 4318));
        assert_eq!((settings.target.as_str(), settings.delay), ("/v1/traces", Duration::from_millis(7)));
        let named = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(settings.headers, [named("api-key", "a b"), named("x", "y")]);
        assert_eq!(settings.resource[..2], [named("service.name", "mine"), named("host.name", "h")]);
        let whole =
            read(&[endpoint, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://[::1]/take")]).unwrap().unwrap();
        assert!(matches!(&whole.endpoint, Endpoint::Secure(host, 443, _) if host == "::1"));
        assert_eq!(whole.target, "/take");
        for bad in ["localhost:4318", "ftp://x", "http://", "http://x:y", "http://user@x"] {
            assert!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", bad)]).is_err(), "{bad}");
        }
        assert!(read(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).is_err());
    }
}
