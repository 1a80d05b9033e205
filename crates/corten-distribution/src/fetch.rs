//! A file from an address that a person gives: no registry, no login, but the same connections, proxies and certificates.

use crate::error::DistributionError;
use crate::proxy::decode;
use crate::registry::{REDIRECTS, Registries, USER_AGENT};
use crate::transport::{Body, Response, Way};
use crate::url::Url;
use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};

/// Bytes of a refusal's text that are told.
const SAID: usize = 8 << 10;

/// A file on its way.
pub struct Fetched {
    response: Response,
    address: String,
}

impl std::fmt::Debug for Fetched {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Fetched").field("address", &self.address).finish_non_exhaustive()
    }
}

/// An address as a person writes it: `http://` may be left out, a name and a password may stand before the host.
#[derive(Debug, PartialEq, Eq)]
struct Given {
    url: Url,
    /// `name:password`
    user: Option<String>,
    /// As it may be shown.
    shown: String,
}

fn read(text: &str) -> Result<Given, DistributionError> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let failed = |shown: &str, cause: String| DistributionError::Connection {
        method: Method::GET.to_string(),
        url: shown.to_owned(),
        cause,
    };
    let (scheme, rest) = whole.split_once("://").unwrap_or(("http", &whole));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(decode(user)), host),
        None => (None, authority),
    };
    // A password is nobody's business but the host's.
    let before = match user.as_deref().map(|user| user.split_once(':')) {
        None => String::new(),
        Some(None) => format!("{}@", user.as_deref().unwrap_or_default()),
        Some(Some((name, _))) => format!("{name}:xxxxx@"),
    };
    let shown = format!("{scheme}://{before}{host}{path}");
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(failed(&shown, format!("unsupported protocol scheme \"{scheme}\"")));
    }
    if host.is_empty() {
        return Err(failed(&shown, "http: no Host in request URL".to_owned()));
    }
    let path: String = path
        .chars()
        .map(|character| {
            // Spaces and letters of other scripts, as browsers send them.
            if character.is_ascii_graphic() {
                character.to_string()
            } else {
                crate::url::encode(&character.to_string())
            }
        })
        .collect();
    let url = Url::parse(&format!("{scheme}://{host}{path}")).ok_or_else(|| {
        DistributionError::Configuration { path: shown.clone(), what: "it is no address".to_owned() }
    });
    Ok(Given { url: url?, user, shown })
}

impl Registries {
    /// Asks for the file at an address, redirections followed. An address without `http://` gets it.
    pub async fn fetch(&self, address: &str) -> Result<Fetched, DistributionError> {
        let Given { mut url, user, shown } = read(address)?;
        let first = url.clone();
        let authorization = user.and_then(|user| {
            let text = base64::engine::general_purpose::STANDARD.encode(user);
            HeaderValue::from_str(&format!("Basic {text}")).ok()
        });
        let way = Way::default();
        for _ in 0..=REDIRECTS {
            let mut headers = HeaderMap::new();
            headers.insert(header::USER_AGENT, USER_AGENT);
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            if let Some(authorization) = authorization.as_ref().filter(|_| url.same_origin(&first)) {
                headers.insert(header::AUTHORIZATION, authorization.clone());
            }
            let mut response =
                self.shared.transport.request(&Method::GET, &url, &headers, Body::Empty, &way).await?;
            if let Some(next) = response.redirects_to(false) {
                let next = next?;
                response.finish().await;
                url = next;
                continue;
            }
            if response.status.as_u16() < 400 {
                return Ok(Fetched { response, address: shown });
            }
            return Err(refusal(&mut response, &shown).await);
        }
        Err(DistributionError::Answer {
            host: url.authority(),
            what: format!("Get \"{shown}\": stopped after {REDIRECTS} redirects"),
        })
    }
}

/// In Docker's words: with what the server said, as far as that is short.
async fn refusal(response: &mut Response, shown: &str) -> DistributionError {
    let status = response.status;
    let mut said = Vec::new();
    while let Ok(Some(piece)) = response.piece().await {
        said.extend_from_slice(&piece[..piece.len().min(SAID - said.len())]);
        if said.len() == SAID {
            break;
        }
    }
    let said = String::from_utf8_lossy(&said);
    DistributionError::Refused {
        host: response.url.authority(),
        status: status.as_u16(),
        message: format!(
            "failed to GET {shown} with status {} {}: {}",
            status.as_u16(),
            status.canonical_reason().unwrap_or_default(),
            said.trim()
        ),
        retry_after: None,
    }
}

impl Fetched {
    /// The address as it was given, without a password.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Bytes in all, where the server says so.
    pub fn length(&self) -> Option<u64> {
        self.response.header("content-length").parse().ok()
    }

    /// The next piece; none at the end.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, DistributionError> {
        self.response.piece().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_people_write_them() {
        let check = |text: &str, url: &str, user: Option<&str>, shown: &str| {
            let given = read(text).unwrap();
            assert_eq!(given.url.to_string(), url, "{text}");
            assert_eq!(given.user.as_deref(), user, "{text}");
            assert_eq!(given.shown, shown, "{text}");
        };
        check("host.example/x.tar", "http://host.example/x.tar", None, "http://host.example/x.tar");
        check("HTTPS://h:81/a?b=c", "https://h:81/a?b=c", None, "HTTPS://h:81/a?b=c");
        check("http://u:p%40@h/a", "http://h/a", Some("u:p@"), "http://u:xxxxx@h/a");
        check("http://h/a b\u{e9}", "http://h/a%20b%C3%A9", None, "http://h/a b\u{e9}");
    }

    #[test]
    fn what_is_no_address_is_refused_in_dockers_words() {
        let check = |text: &str, said: &str| {
            let error = corten_std::chain(&read(text).unwrap_err());
            assert!(error.contains(said), "{text}: {error}");
        };
        check("", "http: no Host in request URL");
        check("http:///x", "http: no Host in request URL");
        check("ftp://h/x", "Get \"ftp://h/x\": unsupported protocol scheme \"ftp\"");
        check("http://[bad", "`http://[bad`");
        check("http://h:99999/", "`http://h:99999/`");
    }
}
