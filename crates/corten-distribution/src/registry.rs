//! Requests to the places of a registry: the right one, with who we are, again where that helps.
//!
//! ```text
//! place 1 … place n ─▶ request ─▶ 401: answer the challenge, once more
//!        ▲                    ├─▶ 408, 429, 5xx, broken: wait (Retry-After, or longer each time), again
//!        └── next place ◀─────┴─▶ anything else that is not what was asked for
//! ```

use crate::auth::{Authorizations, Credentials};
use crate::error::DistributionError;
use crate::explain::{Asked, Listener};
use crate::hosts::{Endpoint, RegistrySettings};
use crate::proxy::ProxySettings;
use crate::transport::{Body, Response, Transport};
use crate::url::Url;
use corten_oci::Reference;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// How we name ourselves.
pub(crate) const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("corten/", env!("CARGO_PKG_VERSION")));
/// Bytes of an error's text that are read.
const ERROR_LIMIT: usize = 64 << 10;
/// Redirections that are followed.
pub(crate) const REDIRECTS: usize = 10;
/// The longest that a registry's wish to wait is granted.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// The first wait where the registry says nothing; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// How long it is remembered that a registry does not know TLS.
const PLAIN_KEPT: Duration = Duration::from_mins(10);
/// How long it is remembered what a registry's name stands for.
const ADDRESSES_KEPT: Duration = Duration::from_mins(1);
/// Bytes of warnings that are kept (the specification's bound).
const WARNINGS: usize = 4096;

/// All registries, as this machine reaches them.
#[derive(Debug, Clone)]
pub struct Registries {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) transport: Transport,
    pub(crate) authorizations: Authorizations,
    settings: Arc<RwLock<RegistrySettings>>,
    /// So often a request is made at most.
    attempts: u32,
    /// Registries that were found not to know TLS, and when.
    plain: Mutex<HashMap<String, Instant>>,
    /// What the names of registries stand for, and since when that is known; none where nobody knows.
    addresses: Mutex<HashMap<String, (Instant, Vec<IpAddr>)>>,
    /// Held while a fallback index of referrers is changed: registries have no way to change one in a single step.
    pub(crate) fallback: tokio::sync::Mutex<()>,
}

/// What a registry said beside its answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notices {
    /// Texts of `Warning` headers, each once.
    pub warnings: Vec<String>,
    /// How many pulls are left, of how many, as the registry counts.
    pub rate_limit: Option<(String, String)>,
    /// What was asked and how it went, where that is wanted.
    pub asked: Vec<Asked>,
}

/// One repository of a registry, as one person sees it.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(crate) shared: Arc<Shared>,
    /// Its name in the registry: `library/alpine`.
    pub(crate) path: String,
    /// As people write it.
    pub(crate) familiar: String,
    credentials: Credentials,
    pub(crate) endpoints: Arc<Vec<Endpoint>>,
    pub(crate) notices: Arc<Mutex<Notices>>,
    pub(crate) listener: Listener,
}

/// One request.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    /// After the base; or a whole address that the registry gave.
    pub(crate) target: Target<'a>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: &'a (dyn Fn() -> Body + Sync),
    pub(crate) scopes: Vec<String>,
    /// Answers besides success that are an answer.
    pub(crate) also: &'a [u16],
}

pub(crate) enum Target<'a> {
    Path(&'a str),
    Address(&'a Url),
}

impl Registries {
    /// `attempts` is how often a request is made at most.
    pub fn new(settings: RegistrySettings, proxies: ProxySettings, attempts: u32) -> Self {
        let settings = Arc::new(RwLock::new(settings));
        Self {
            shared: Arc::new(Shared {
                transport: Transport::new(proxies, Arc::clone(&settings)),
                authorizations: Authorizations::default(),
                settings,
                attempts: attempts.max(1),
                plain: Mutex::default(),
                addresses: Mutex::default(),
                fallback: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// Takes other settings for what begins from now on.
    pub fn reload(&self, settings: RegistrySettings) {
        *self.shared.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    pub(crate) fn settings(&self) -> RegistrySettings {
        self.shared.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The repository of a name, with what is known of its registry now. Reads files.
    pub fn repository(
        &self,
        name: &Reference,
        credentials: Credentials,
    ) -> Result<Repository, DistributionError> {
        Ok(Repository {
            shared: Arc::clone(&self.shared),
            path: name.path().to_owned(),
            familiar: name.familiar_name(),
            credentials,
            endpoints: Arc::new(self.settings().endpoints(name.domain())?),
            notices: Arc::default(),
            listener: Listener::default(),
        })
    }
}

impl Shared {
    /// A place as it may be reached where the networks of the insecure registries are looked at too: one of the
    /// addresses of its name in one of them is enough, as with Docker. A name that nobody knows is in none.
    pub(crate) async fn loosened<'a>(&self, endpoint: &'a Endpoint) -> Cow<'a, Endpoint> {
        // Looked at for every request: only where networks are named is there more to do.
        let settings = {
            let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner);
            if !settings.asks_for_addresses(endpoint) {
                return Cow::Borrowed(endpoint);
            }
            settings.clone()
        };
        let host = endpoint.base.host.to_ascii_lowercase();
        let lock = || self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().get(&host).filter(|(since, _)| since.elapsed() < ADDRESSES_KEPT).cloned();
        let addresses = if let Some((_, addresses)) = known {
            addresses
        } else {
            let found = Box::pin(crate::resolve::addresses(&host)).await.unwrap_or_default();
            lock().insert(host, (Instant::now(), found.clone()));
            found
        };
        let inside = addresses
            .iter()
            .any(|address| settings.is_insecure(&Url { host: address.to_string(), ..endpoint.base.clone() }));
        if !inside {
            return Cow::Borrowed(endpoint);
        }
        let mut loose = endpoint.clone();
        loose.plain_allowed = true;
        loose.way.files.skip_verify = true;
        Cow::Owned(loose)
    }
}

impl Repository {
    /// What the registry said beside its answers, so far.
    pub fn notices(&self) -> Notices {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same without mirrors: what the registry itself gives.
    #[must_use]
    pub fn without_mirrors(&self) -> Self {
        let own = self.endpoints.iter().filter(|endpoint| endpoint.stands_for.is_none()).cloned();
        Self { endpoints: Arc::new(own.collect()), ..self.clone() }
    }

    /// Host and port of the registry itself.
    pub fn host(&self) -> String {
        self.endpoints.last().map(|endpoint| endpoint.base.authority()).unwrap_or_default()
    }

    pub(crate) fn endpoints(
        &self,
        suits: impl Fn(&crate::hosts::Capabilities) -> bool,
    ) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().filter(move |endpoint| suits(&endpoint.capabilities))
    }

    /// Asks the places one after the other; the error of the last one is told.
    pub(crate) async fn ask_any<'a>(
        &self,
        suits: impl Fn(&crate::hosts::Capabilities) -> bool,
        ask: impl Fn() -> Ask<'a>,
    ) -> Result<(Response, &Endpoint), DistributionError> {
        let mut last = None;
        for endpoint in self.endpoints(suits) {
            match self.ask(endpoint, ask()).await {
                Ok(response) => return Ok((response, endpoint)),
                Err(error) => {
                    tracing::debug!(
                        place = endpoint.base.to_string(),
                        error = corten_std::chain(&error),
                        "a place of a registry does not give what was asked for"
                    );
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| DistributionError::Configuration {
            path: self.familiar.clone(),
            what: "no host of this registry may be asked for that".to_owned(),
        }))
    }

    /// Asks one place, again where that helps. An answer is one of success, or one that was named.
    pub(crate) async fn ask(&self, endpoint: &Endpoint, ask: Ask<'_>) -> Result<Response, DistributionError> {
        let endpoint = &*Box::pin(self.shared.loosened(endpoint)).await;
        // Another place is the better second try.
        let attempts =
            if endpoint.stands_for.is_some() { self.shared.attempts.min(2) } else { self.shared.attempts };
        let mut wait = FIRST_WAIT;
        let mut attempt = 1;
        loop {
            let begun = Instant::now();
            let answered = self.ask_scheme(endpoint, &ask).await;
            self.tell_asked(endpoint, &ask, &answered, begun.elapsed());
            let error = match answered {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            if attempt >= attempts || !error.is_transient() || is_final(&error) {
                return Err(error);
            }
            let asked = match &error {
                DistributionError::Refused { retry_after: Some(seconds), .. } => {
                    Some(Duration::from_secs(*seconds))
                }
                _ => None,
            };
            if asked.is_some_and(|asked| asked > LONGEST_WAIT) {
                return Err(error);
            }
            tracing::debug!(
                error = corten_std::chain(&error),
                attempt,
                "a request to a registry is made again"
            );
            match asked {
                Some(asked) => self.wait_as_asked(endpoint, asked).await,
                None => tokio::time::sleep(wait + jitter(wait)).await,
            }
            wait *= 2;
            attempt += 1;
        }
    }

    /// With TLS; without, where that is allowed and TLS is not spoken there.
    async fn ask_scheme(&self, endpoint: &Endpoint, ask: &Ask<'_>) -> Result<Response, DistributionError> {
        let place = endpoint.base.authority();
        let lock = || self.shared.plain.lock().unwrap_or_else(PoisonError::into_inner);
        if !endpoint.plain_allowed || !endpoint.base.secure {
            return self.ask_once(endpoint, &endpoint.base, ask).await;
        }
        let mut plain = endpoint.base.clone();
        plain.secure = false;
        if let Target::Address(address) = ask.target {
            // It was given by an answer: how the registry speaks is known.
            let base = if address.same_origin(&plain) { &plain } else { &endpoint.base };
            return self.ask_once(endpoint, base, ask).await;
        }
        let known = lock().get(&place).is_some_and(|since| since.elapsed() < PLAIN_KEPT);
        if known {
            return self.ask_once(endpoint, &plain, ask).await;
        }
        match self.ask_once(endpoint, &endpoint.base, ask).await {
            Err(DistributionError::Connection { .. }) => {
                let response = self.ask_once(endpoint, &plain, ask).await;
                if !matches!(response, Err(DistributionError::Connection { .. })) {
                    lock().insert(place, Instant::now());
                }
                response
            }
            other => other,
        }
    }

    async fn ask_once(
        &self,
        endpoint: &Endpoint,
        base: &Url,
        ask: &Ask<'_>,
    ) -> Result<Response, DistributionError> {
        let url = match ask.target {
            Target::Path(path) => {
                let url = base.with_path(format!("{}{path}", base.path));
                match &endpoint.stands_for {
                    Some(registry) => url.with_query("ns", registry),
                    None => url,
                }
            }
            Target::Address(url) => url.clone(),
        };
        // What somebody logged in with is for the registry and never for what stands for it.
        let nobody = Credentials::default();
        let credentials = if endpoint.stands_for.is_some() { &nobody } else { &self.credentials };
        let authorizations = &self.shared.authorizations;
        let origin = base.origin();
        let mut shown = authorizations.known(&origin, &ask.scopes, credentials);
        let mut answered = false;
        loop {
            let response = self.follow(endpoint, base, &url, ask, shown.as_ref()).await?;
            // Another host that it was redirected to may ask for what it likes.
            let may_ask = response.url.same_origin(base) && !ask.also.contains(&401);
            if response.status == StatusCode::UNAUTHORIZED && !answered && may_ask {
                answered = true;
                authorizations.forget(&origin, &ask.scopes, credentials);
                let challenges = response.challenges();
                let answer = authorizations
                    .answer(
                        &self.shared.transport,
                        base,
                        &endpoint.way,
                        &challenges,
                        &ask.scopes,
                        credentials,
                    )
                    .await?;
                if answer.is_none() && challenges.iter().any(|challenge| challenge.scheme == "basic") {
                    return Err(DistributionError::Refused {
                        host: url.authority(),
                        status: 401,
                        message: format!(
                            "{} \"{url}\": no basic auth credentials",
                            crate::error::title(ask.method.as_str())
                        ),
                        retry_after: None,
                    });
                }
                if answer.is_some() {
                    shown = answer;
                    response.finish().await;
                    continue;
                }
            }
            self.notice(&response);
            let status = response.status;
            if status.is_success() || ask.also.contains(&status.as_u16()) {
                return Ok(response);
            }
            let mut response = response;
            let text =
                if ask.method == Method::HEAD { Vec::new() } else { response.whole(ERROR_LIMIT).await? };
            return Err(refusal(&response, &text));
        }
    }

    /// One request, redirections followed. What is secret is shown to the registry's own host only.
    async fn follow(
        &self,
        endpoint: &Endpoint,
        base: &Url,
        url: &Url,
        ask: &Ask<'_>,
        shown: Option<&HeaderValue>,
    ) -> Result<Response, DistributionError> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS {
            let own = url.same_origin(base);
            let mut headers = if own { endpoint.headers.clone() } else { HeaderMap::new() };
            headers.insert(header::USER_AGENT, USER_AGENT);
            for (name, value) in &ask.headers {
                headers.append(name, value.clone());
            }
            if let Some(shown) = shown.filter(|_| own) {
                headers.insert(header::AUTHORIZATION, shown.clone());
            }
            let mut way = endpoint.way.clone();
            if !own {
                way.files.pair = None;
            }
            let response =
                self.shared.transport.request(&ask.method, &url, &headers, (ask.body)(), &way).await?;
            let keeps_method = matches!(ask.method, Method::GET | Method::HEAD)
                || matches!(response.status.as_u16(), 307 | 308);
            let next = response.redirects_to(url.secure && !endpoint.plain_allowed);
            let Some(next) = next.filter(|_| keeps_method) else { return Ok(response) };
            let next = next?;
            response.finish().await;
            url = next;
        }
        Err(DistributionError::Answer {
            host: url.authority(),
            what: format!("{} \"{url}\": stopped after {REDIRECTS} redirects", ask.method),
        })
    }

    fn notice(&self, response: &Response) {
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        for value in response.headers.get_all(header::WARNING) {
            // `299 - "text"`, nothing else has a meaning here.
            let text = value.to_str().ok().and_then(|text| text.strip_prefix("299 - \""));
            let Some(text) =
                text.and_then(|text| text.rsplit_once('"')).map(|(text, _)| text.replace("\\\"", "\""))
            else {
                continue;
            };
            let length: usize = notices.warnings.iter().map(String::len).sum();
            if length + text.len() <= WARNINGS && !notices.warnings.contains(&text) {
                notices.warnings.push(text);
            }
        }
        let (left, limit) = (response.header("ratelimit-remaining"), response.header("ratelimit-limit"));
        if !left.is_empty() {
            let number = |text: &str| text.split(';').next().unwrap_or_default().to_owned();
            notices.rate_limit = Some((number(left), number(limit)));
        }
    }
}

/// Whether it makes no sense to try again at once: nobody is there, or a certificate is wrong.
fn is_final(error: &DistributionError) -> bool {
    matches!(error, DistributionError::Connection { cause, .. }
        if cause.contains("dial tcp") || cause.contains("tls:") || cause.contains("invalid proxy"))
}

/// Something between nothing and the given time.
pub(crate) fn jitter(most: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    most.mul_f64((random % 1000) as f64 / 1000.0)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorAnswer {
    errors: Vec<ErrorItem>,
    /// Of token servers.
    details: String,
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorItem {
    code: String,
    message: String,
}

/// A refusal in Docker's words.
pub(crate) fn refusal(response: &Response, text: &[u8]) -> DistributionError {
    let status = response.status.as_u16();
    let answer: ErrorAnswer = serde_json::from_slice(text).unwrap_or_default();
    let mut seen = HashSet::new();
    let said: Vec<String> = answer
        .errors
        .iter()
        .take(8)
        .map(|item| {
            let code = item.code.to_ascii_lowercase().replace('_', " ");
            let message = if item.message.is_empty() { &code } else { &item.message };
            format!("{code}: {message}")
        })
        .filter(|text| seen.insert(text.clone()))
        .collect();
    let message = if said.is_empty() {
        let plain = [&answer.details, &answer.message].into_iter().find(|text| !text.is_empty()).cloned();
        let plain = plain.unwrap_or_else(|| String::from_utf8_lossy(text).trim().chars().take(200).collect());
        let reason = response.status.canonical_reason().unwrap_or_default();
        let what = format!(
            "unexpected status from request to {}: {status} {reason}",
            response.url.with_path(path_of(&response.url))
        );
        if plain.is_empty() || plain.contains('<') { what } else { format!("{what}: {plain}") }
    } else {
        said.join("\n")
    };
    DistributionError::Refused {
        host: response.url.authority(),
        status,
        message,
        retry_after: response.header("retry-after").trim().parse().ok(),
    }
}

/// Without what follows the question mark: signed addresses hold secrets there.
fn path_of(url: &Url) -> String {
    url.path.split('?').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A proxy that opens no tunnel, and answers requests without TLS as a registry does.
    async fn plain_proxy() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = vec![0; 4096];
                let length = stream.read(&mut head).await.unwrap();
                let answer: &[u8] = if head[..length].starts_with(b"GET http://registry.example") {
                    b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\nConnection: close\r\n\r\n{\"tags\":[\"x\"]}"
                } else {
                    b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                };
                stream.write_all(answer).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn a_name_with_an_address_in_an_insecure_network_may_speak_without_tls() {
        let proxy = plain_proxy().await;
        for (network, addresses, allowed) in [
            ("10.0.0.0/8", vec!["11.0.0.1", "10.1.2.3"], true),
            ("fd00::/8", vec!["11.0.0.1", "fd12::1"], true),
            ("10.0.0.0/8", vec!["11.0.0.1", "fd12::1"], false),
            ("10.0.0.0/8", vec![], false),
            ("other.example", vec!["10.1.2.3"], false),
        ] {
            let settings =
                RegistrySettings { insecure: vec![network.to_owned()], ..RegistrySettings::default() };
            let proxies =
                ProxySettings { http: proxy.clone(), https: proxy.clone(), ..ProxySettings::default() };
            let registries = Registries::new(settings, proxies, 1);
            let found = addresses.iter().map(|address| address.parse().unwrap()).collect();
            registries
                .shared
                .addresses
                .lock()
                .unwrap()
                .insert("registry.example".to_owned(), (Instant::now(), found));
            let name = Reference::parse("registry.example/app").unwrap();
            let tags = registries.repository(&name, Credentials::default()).unwrap().tags().await;
            assert_eq!(tags.is_ok(), allowed, "{network} {addresses:?}: {tags:?}");
        }
    }
}
