//! Addresses, as far as registries need them. Pure.

use std::fmt::{self, Write as _};

/// `http://` or `https://`, a host, a port, a path with its query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    /// Whether TLS is spoken.
    pub secure: bool,
    /// Name or address; an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// From the first slash on, with the query.
    pub path: String,
}

impl Url {
    /// Reads an absolute address.
    pub fn parse(text: &str) -> Option<Self> {
        let (secure, rest) = match text.split_once("://")? {
            (scheme, rest) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            (scheme, rest) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            _ => return None,
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        // A name before `@` is a way to make an address look like another; none of ours has one.
        let (host, port) = split_host(authority, if secure { 443 } else { 80 })?;
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        Some(Self { secure, host, port, path })
    }

    /// Another address as this one's answer gives it: absolute, from the root, or beside it.
    pub fn join(&self, text: &str) -> Option<Self> {
        // What stands behind the path may hold an address of its own.
        let head = &text[..text.find(['/', '?', '#']).unwrap_or(text.len())];
        if head.ends_with(':') && text[head.len()..].starts_with("//") {
            return Self::parse(text);
        }
        if let Some(rest) = text.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme()));
        }
        let path = if text.starts_with('/') {
            text.to_owned()
        } else {
            let base = self.path.split('?').next().unwrap_or_default();
            let folder = base.rfind('/').map_or("/", |at| &base[..=at]);
            format!("{folder}{text}")
        };
        Self::parse(&format!("{}{path}", self.origin()))
    }

    /// The same place with another path.
    pub fn with_path(&self, path: impl Into<String>) -> Self {
        Self { path: path.into(), ..self.clone() }
    }

    /// With one more part of the query.
    pub fn with_query(&self, name: &str, value: &str) -> Self {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        self.with_path(format!("{}{separator}{name}={}", self.path, encode(value)))
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// Host, and port where it is not the scheme's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == if self.secure { 443 } else { 80 } { host } else { format!("{host}:{}", self.port) }
    }

    /// Scheme and authority.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme(), self.authority())
    }

    /// Whether secrets for one may be shown to the other.
    pub fn same_origin(&self, other: &Self) -> bool {
        self.secure == other.secure && self.host.eq_ignore_ascii_case(&other.host) && self.port == other.port
    }
}

impl fmt::Display for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.origin(), self.path)
    }
}

/// `host`, `host:port`, `[v6]:port`.
pub(crate) fn split_host(authority: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        (host, rest.strip_prefix(':'))
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    let port = match port {
        None | Some("") => default,
        Some(port) => port.parse().ok()?,
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    (!host.is_empty() && host.bytes().all(is_host)).then(|| (host.to_owned(), port))
}

/// A value of a query.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/,".contains(&byte) {
            encoded.push(byte as char);
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The address that a `Link` header gives for `rel=next` (RFC 8288), as it stands there.
pub fn next_link(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (target, parameters) = after.split_once('>')?;
        let end = parameters.find('<').unwrap_or(parameters.len());
        let own = &parameters[..end];
        let is_next = own.split([';', ',']).any(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
            })
        });
        if is_next {
            return Some(target);
        }
        rest = &parameters[end..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses() {
        let url = Url::parse("https://a.example:5000/v2/?x=1#y").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("a.example", 5000, "/v2/?x=1"));
        assert_eq!(url.join("/b").unwrap().to_string(), "https://a.example:5000/b");
        assert_eq!(url.join("c?d=1").unwrap().to_string(), "https://a.example:5000/v2/c?d=1");
        assert_eq!(url.join("http://b/").unwrap().to_string(), "http://b/");
        assert_eq!(url.join("//b/c").unwrap().to_string(), "https://b/c");
        assert_eq!(url.join("ftp://b/"), None);
        let with_another = url.join("/login?next=https://b.example/").unwrap();
        assert_eq!(with_another.to_string(), "https://a.example:5000/login?next=https://b.example/");
        assert_eq!(url.join("c?u=http://b").unwrap().path, "/v2/c?u=http://b");
        assert_eq!(Url::parse("http://[::1]:80").unwrap().to_string(), "http://[::1]/");
        assert!(!url.same_origin(&Url::parse("http://a.example:5000/").unwrap()));
        for wrong in ["ftp://a/", "http://", "http://a@b/", "http://a:99999/", "http://a/ b", "a/b"] {
            assert_eq!(Url::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn links() {
        assert_eq!(
            next_link(r#"</v2/a/tags/list?last=b&n=2>; rel="next""#),
            Some("/v2/a/tags/list?last=b&n=2")
        );
        assert_eq!(next_link("<a>; rel=prev, <b>; rel=next"), Some("b"));
        assert_eq!(next_link("<a>; rel=prev"), None);
        assert_eq!(next_link("nothing"), None);
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_again(text in ".{0,80}") {
            let _ = next_link(&text);
            if let Some(url) = Url::parse(&text) {
                prop_assert_eq!(Url::parse(&url.to_string()), Some(url));
            }
        }
    }
}
