//! Who we are to a registry: Basic, and tokens that are asked for, kept by what they open, and renewed in time.

use crate::challenge::Challenge;
use crate::error::DistributionError;
use crate::transport::{Body, Response, Transport, Way};
use crate::url::{Url, encode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Method, header};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that the answer of a token server may have.
const LIMIT: usize = 1 << 20;
/// A token without a time lives so long (the token specification's default).
const LIFE: u64 = 60;
/// A token is not used any more so long before its end.
const MARGIN: Duration = Duration::from_secs(10);

/// What a person logged in with.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// Name; empty where there is none.
    pub username: String,
    /// Password or access token of that name.
    pub password: String,
    /// What a token server gave in place of a password.
    pub identity_token: String,
    /// A token that the registry itself takes.
    pub registry_token: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a request must be able to do, as the registry protocol writes it: `repository:NAME:pull,push`.
pub(crate) fn scope(repository: &str, push: bool) -> String {
    format!("repository:{repository}:{}", if push { "pull,push" } else { "pull" })
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    origin: String,
    scopes: Vec<String>,
    credentials: Credentials,
}

struct Known {
    value: HeaderValue,
    /// None for what does not end.
    until: Option<Instant>,
}

/// What is known of how registries want to be shown who asks.
#[derive(Default)]
pub(crate) struct Authorizations {
    known: Mutex<HashMap<Key, Known>>,
}

impl std::fmt::Debug for Authorizations {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Authorizations").finish_non_exhaustive()
    }
}

/// What is not given is left out, or null.
#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<u64>,
}

/// A token server's answer.
pub(crate) struct Token {
    value: HeaderValue,
    life: Duration,
    /// What may be kept in place of the password.
    pub(crate) identity: String,
}

impl Authorizations {
    /// The header's value, as far as it is known without asking.
    pub(crate) fn known(
        &self,
        origin: &str,
        scopes: &[String],
        credentials: &Credentials,
    ) -> Option<HeaderValue> {
        if !credentials.registry_token.is_empty() {
            return HeaderValue::from_str(&format!("Bearer {}", credentials.registry_token)).ok();
        }
        let key = key(origin, scopes, credentials);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(&key)?;
        known.until.is_none_or(|until| Instant::now() < until).then(|| known.value.clone())
    }

    /// Forgets what turned out not to be taken any more.
    pub(crate) fn forget(&self, origin: &str, scopes: &[String], credentials: &Credentials) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(origin, scopes, credentials));
    }

    /// Answers challenges; none where none of them can be answered.
    pub(crate) async fn answer(
        &self,
        transport: &Transport,
        registry: &Url,
        way: &Way,
        challenges: &[Challenge],
        scopes: &[String],
        credentials: &Credentials,
    ) -> Result<Option<HeaderValue>, DistributionError> {
        let of = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let (value, until) = if let Some(bearer) = of("bearer") {
            let token = token(transport, registry, way, bearer, scopes, credentials, false).await?;
            let life = token.life.saturating_sub(MARGIN).max(token.life / 2);
            (token.value, Some(Instant::now() + life))
        } else if of("basic").is_some() && !credentials.username.is_empty() {
            (basic(credentials), None)
        } else {
            return Ok(None);
        };
        let known = Known { value: value.clone(), until };
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, known| known.until.is_none_or(|until| Instant::now() < until));
        all.insert(key(&registry.origin(), scopes, credentials), known);
        Ok(Some(value))
    }
}

fn key(origin: &str, scopes: &[String], credentials: &Credentials) -> Key {
    Key { origin: origin.to_owned(), scopes: scopes.to_vec(), credentials: credentials.clone() }
}

pub(crate) fn basic(credentials: &Credentials) -> HeaderValue {
    let pair = STANDARD.encode(format!("{}:{}", credentials.username, credentials.password));
    // Base64 is always a header's value.
    let mut value =
        HeaderValue::from_str(&format!("Basic {pair}")).unwrap_or(HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

/// Asks a token server. With `offline` also for what may be kept in place of the password.
pub(crate) async fn token(
    transport: &Transport,
    registry: &Url,
    way: &Way,
    challenge: &Challenge,
    scopes: &[String],
    credentials: &Credentials,
    offline: bool,
) -> Result<Token, DistributionError> {
    let wrong = |what: String| DistributionError::Answer { host: registry.authority(), what };
    let realm = Url::parse(challenge.get("realm")).ok_or_else(|| {
        wrong(format!("the token server's address `{}` is not one", challenge.get("realm")))
    })?;
    if registry.secure && !realm.secure {
        return Err(wrong(format!(
            "its token server {} does not speak TLS: no password is sent there",
            realm.origin()
        )));
    }
    // The registry's certificates are for its host; a token server elsewhere is checked like any other.
    let mut way = way.clone();
    if !realm.same_origin(registry) {
        way.files.pair = None;
    }
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, crate::registry::USER_AGENT);
    let service = challenge.get("service");
    let (method, url, body) = if credentials.identity_token.is_empty() {
        let mut url = realm;
        if !service.is_empty() {
            url = url.with_query("service", service);
        }
        for scope in scopes {
            url = url.with_query("scope", scope);
        }
        if !credentials.username.is_empty() {
            url = url.with_query("account", &credentials.username);
            headers.insert(header::AUTHORIZATION, basic(credentials));
        }
        if offline {
            url = url.with_query("client_id", "docker").with_query("offline_token", "true");
        }
        (Method::GET, url, Body::Empty)
    } else {
        let form = format!(
            "grant_type=refresh_token&service={}&client_id=docker&scope={}&refresh_token={}",
            encode(service),
            encode(&scopes.join(" ")),
            encode(&credentials.identity_token)
        );
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        (Method::POST, realm, Body::Full(form.into()))
    };
    let mut answer = follow(transport, registry, (method, url.clone(), body), headers, way).await?;
    let bytes = answer.whole(LIMIT).await?;
    if !answer.status.is_success() {
        return Err(crate::registry::refusal(&answer, &bytes));
    }
    let wrong = |what: &str| DistributionError::Answer { host: url.authority(), what: what.to_owned() };
    let answer: TokenAnswer =
        serde_json::from_slice(&bytes).map_err(|_| wrong("the token server's answer is not understood"))?;
    let mut given = [answer.token, answer.access_token].into_iter().flatten();
    let Some(text) = given.find(|text| !text.is_empty()) else {
        return Err(wrong("authorization server did not include a token in the response"));
    };
    let mut value = HeaderValue::from_str(&format!("Bearer {text}"))
        .map_err(|_| wrong("the token server's token cannot be sent"))?;
    value.set_sensitive(true);
    let life = Duration::from_secs(answer.expires_in.unwrap_or(LIFE).clamp(LIFE, 24 * 3600));
    Ok(Token { value, life, identity: answer.refresh_token.unwrap_or_default() })
}

/// Asks, redirections followed. Names, passwords and tokens are for the place that the registry named and for no other.
async fn follow(
    transport: &Transport,
    registry: &Url,
    (mut method, mut url, mut body): (Method, Url, Body),
    mut headers: HeaderMap,
    mut way: Way,
) -> Result<Response, DistributionError> {
    let wrong = |host: &Url, what: String| DistributionError::Answer { host: host.authority(), what };
    for _ in 0..=crate::registry::REDIRECTS {
        let again = if let Body::Full(bytes) = &body { Body::Full(bytes.clone()) } else { Body::Empty };
        let answer = transport.request(&method, &url, &headers, body, &way).await?;
        let Some(next) = answer.redirects_to(url.secure || registry.secure) else { return Ok(answer) };
        let next = next?;
        body = again;
        if method == Method::POST && !matches!(answer.status.as_u16(), 307 | 308) {
            (method, body) = (Method::GET, Body::Empty);
            headers.remove(header::CONTENT_TYPE);
        }
        if !next.same_origin(&url) {
            headers.remove(header::AUTHORIZATION);
            way.files.pair = None;
            if matches!(body, Body::Full(_)) {
                return Err(wrong(
                    &url,
                    format!("it redirects to {}: no token is shown there", next.origin()),
                ));
            }
        }
        answer.finish().await;
        url = next;
    }
    Err(wrong(&url, format!("stopped after {} redirects", crate::registry::REDIRECTS)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::challenge;
    use crate::proxy::ProxySettings;
    use std::sync::Arc;

    /// Names and passwords are not sent where others can read them, and not to what is no address.
    #[tokio::test]
    async fn a_realm_that_fishes_gets_nothing() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let place = listener.local_addr().unwrap();
        let transport = Transport::new(ProxySettings::default(), Arc::default());
        let registry = Url::parse("https://registry.example/v2").unwrap();
        let credentials =
            Credentials { username: "u".to_owned(), password: "p".to_owned(), ..Credentials::default() };
        for realm in [
            format!("http://{place}/token"),
            format!("https://registry.example@{place}/token"),
            format!("//{place}/token"),
            "file:///etc/passwd".to_owned(),
        ] {
            let header = format!("Bearer realm=\"{realm}\",service=\"registry.example\"");
            let challenges = challenge::parse(&header);
            let asked =
                token(&transport, &registry, &Way::default(), &challenges[0], &[], &credentials, true).await;
            let error = asked.err().expect("it is refused");
            assert!(error.to_string().starts_with("registry.example: "), "{error}");
        }
        let nobody = listener.accept().map_err(|error| error.kind());
        assert_eq!(nobody.err(), Some(std::io::ErrorKind::WouldBlock), "nobody was asked");
    }

    /// A server that answers each request in turn, and tells what it was asked.
    fn serve(answers: Vec<String>) -> (std::net::SocketAddr, std::thread::JoinHandle<Vec<String>>) {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let one = |answer: String| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = Vec::new();
                let mut byte = [0];
                while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                    asked.push(byte[0]);
                }
                stream.write_all(answer.as_bytes()).unwrap();
                String::from_utf8(asked).unwrap().to_ascii_lowercase()
            };
            answers.into_iter().map(one).collect()
        });
        (place, thread)
    }

    /// A token server that sends on is followed; the password stays with the place that the registry named.
    #[tokio::test]
    async fn redirections_are_followed_without_the_password() {
        let token_body = r#"{"token":"t"}"#;
        let good = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{token_body}",
            token_body.len()
        );
        let (elsewhere, last) = serve(vec![good]);
        let to = |address: &str| {
            format!(
                "HTTP/1.1 302 Found\r\nLocation: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
        };
        let (named, first) = serve(vec![to("/again"), to(&format!("http://{elsewhere}/token"))]);
        let (transport, way) = (Transport::new(ProxySettings::default(), Arc::default()), Way::default());
        let registry = Url::parse(&format!("http://{named}/v2")).unwrap();
        let credentials =
            Credentials { username: "u".to_owned(), password: "p".to_owned(), ..Credentials::default() };
        let challenges = challenge::parse(&format!("Bearer realm=\"http://{named}/token\""));
        let asked = token(&transport, &registry, &way, &challenges[0], &[], &credentials, false);
        assert_eq!(asked.await.unwrap().value, "Bearer t");
        let first = first.join().unwrap();
        assert!(first.iter().all(|asked| asked.contains("authorization: basic")), "{first:?}");
        assert!(!last.join().unwrap()[0].contains("authorization"));

        // A refresh token is in the body, which is sent nowhere else.
        let (named, first) =
            serve(vec![to(&format!("http://{elsewhere}/token")).replace("302 Found", "307 Temporary")]);
        let challenges = challenge::parse(&format!("Bearer realm=\"http://{named}/token\""));
        let credentials = Credentials { identity_token: "secret".to_owned(), ..Credentials::default() };
        let asked = token(&transport, &registry, &way, &challenges[0], &[], &credentials, false);
        let error = asked.await.err().expect("it is refused").to_string();
        assert!(error.contains("no token is shown there"), "{error}");
        first.join().unwrap();
    }
}
