//! Any bytes as the beginning of a connection: a head is refused, incomplete or accepted; an accepted one cannot be read in
//! two ways, and its chunked body gives the same data however it was cut.
#![no_main]

use corten_http::server::chunk::Decoder;
use corten_http::server::head::{Framing, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
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
        pieces_taken = pieces_taken
            .and_then(|before| Ok(before + cut.decode(std::slice::from_ref(byte), &mut pieces)?));
    }
    assert_eq!(taken.is_ok(), pieces_taken.is_ok());
    if taken.is_ok() {
        assert_eq!((taken, data, whole.is_done()), (pieces_taken, pieces, cut.is_done()));
    }
});
