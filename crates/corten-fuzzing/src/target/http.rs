//! What a client sends: the head of a request, a chunked body, a query, filters.

use std::collections::BTreeMap;

use corten_api::filter::Filters;
use corten_api::query::Query;
use corten_api::route;
use corten_api::version::ApiVersion;
use corten_http::server::chunk::Decoder;
use corten_http::server::head::{Framing, parse};

use super::texts;
use crate::Target;

pub(super) const HEAD: Target = Target {
    name: "http_head",
    run: head,
    seeds: || {
        texts(&[
            "GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n",
            "POST /v1.51/containers/create?name=x HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\n{}",
            "POST /build HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n4;a=b\r\nWiki\r\n0\r\nX: y\r\n\r\n",
            "POST /containers/a/attach HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nhello",
            "GET http://h/x HTTP/1.0\nHost: x\n\n",
        ])
    },
    words: &[
        "\r\n",
        "\r\n\r\n",
        "Transfer-Encoding: chunked",
        "Content-Length: 5",
        "Connection: close",
        "Upgrade: h2c",
        "Expect: 100-continue",
        " HTTP/1.1",
        "0\r\n\r\n",
        "ffffffff\r\n",
        "\0",
        "\n",
        "%2f..%2f",
    ],
};

/// A head is refused, incomplete or accepted; an accepted one cannot be read in two ways, and its chunked body gives the same
/// data however it was cut.
fn head(bytes: &[u8]) {
    let Ok(Some((head, length))) = parse(bytes) else { return };
    // What was accepted ends in a blank line, holds no lone line end, and is not already whole before its end.
    assert!(bytes[..length].ends_with(b"\r\n\r\n"));
    assert!(bytes[..length].windows(2).all(|pair| pair[1] != b'\n' || pair[0] == b'\r'));
    assert!(!matches!(parse(&bytes[..length - 1]), Ok(Some(_))));
    let count = |name| head.headers.iter().filter(|(key, _)| key == name).count();
    let (lengths, encodings) = (count("content-length"), count("transfer-encoding"));
    assert!(lengths + encodings <= 1);
    assert_eq!(head.framing == Framing::Chunked, encodings == 1);
    assert!(head.path.starts_with('/') || head.path == "*");

    let body = &bytes[length..];
    let (mut whole, mut data) = (Decoder::default(), Vec::new());
    let taken = whole.decode(body, &mut data);
    let (mut cut, mut pieces, mut pieces_taken) = (Decoder::default(), Vec::new(), Ok(0));
    for byte in body {
        pieces_taken =
            pieces_taken.and_then(|before| Ok(before + cut.decode(std::slice::from_ref(byte), &mut pieces)?));
    }
    assert_eq!(taken.is_ok(), pieces_taken.is_ok());
    if taken.is_ok() {
        assert_eq!((taken, data, whole.is_done()), (pieces_taken, pieces, cut.is_done()));
    }
}

pub(super) const QUERY: Target = Target {
    name: "api_query",
    run: query,
    seeds: || {
        texts(&[
            "all=1&limit=5&filters=%7B%22label%22%3A%5B%22a%22%5D%7D",
            "/v1.51/containers/abc/json",
            "/v1.24/images/reg.example:5000/a/b@sha256:00/json",
            "name=%ff%zz&x=+&=&",
        ])
    },
    words: &["%00", "%2e%2e%2f", "/v1.", "/containers/", "/images/", "/json", "&", "=", "+", "%"],
};

/// A path and a query.
fn query(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(query) = Query::parse(text) {
        let _ = (query.get("all"), query.flag("all"), query.number("limit"), query.all("x").count());
    }
    for method in ["GET", "POST", "DELETE", "HEAD", "PUT"] {
        let version: ApiVersion = "1.51".parse().expect("a version");
        if let Some(method) = route::Method::from_name(method) {
            let _ = route::find(method, text, version);
        }
    }
    if let Ok(version) = text.parse::<ApiVersion>() {
        assert_eq!(version.to_string().parse::<ApiVersion>().ok(), Some(version));
    }
}

pub(super) const FILTERS: Target = Target {
    name: "api_filters",
    run: filters,
    seeds: || {
        texts(&[
            r#"{"label":{"a=b":true},"name":["x","y"]}"#,
            r#"{"status":["running"],"dangling":["true"],"until":["24h"]}"#,
            r#"{"name":["^(a|b)*$","[","*a*"]}"#,
            "{}",
        ])
    },
    words: &["\"name\":[", "true", "{", "}", "[", "]", "\\u0000", "(a+)+$", "a=b", "null"],
};

/// Filters that were read are written and read again as the same, and match without end of nothing.
fn filters(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(filters) = Filters::parse(text) else { return };
    let again = filters.to_parameter();
    assert_eq!(Filters::parse(&again).as_ref(), Ok(&filters), "{again}");
    let labels: BTreeMap<String, String> = [("a".to_owned(), "b".to_owned())].into();
    let _ = filters.validate(&["name", "label", "status"]);
    for key in ["name", "label", "dangling"] {
        let _ = filters.matches_exactly(key, "aaaaaaaaaaaaaaaaaaaaaaaaaa!");
        let _ = filters.matches_prefix(key, "abc");
        let _ = filters.matches_pattern(key, "aaaaaaaaaaaaaaaaaaaaaaaaaa!");
        let _ = filters.matches_labels(key, &labels);
        let _ = filters.flag(key);
    }
}
