//! Any bytes as a DNS query: refused or read; a reply to what was read is known as one, and never longer than asked for. The
//! same bytes as a server's reply to a query are passed on in bounds.
#![no_main]

use corten_network::names::message::{
    Answer, Code, HEAD, LEAST, LONGEST, Refusal, id, is_failure, pass_on, read_query, refuse, reply, reverse,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let query = match read_query(bytes) {
        Ok(query) => query,
        Err(Refusal::Answered(code)) => return assert_eq!(refuse(bytes, code).len(), HEAD),
        Err(Refusal::Ignored) => return,
    };
    let number = id(bytes).unwrap();
    if let Some(name) = query.name.text() {
        let _ = reverse(name);
        assert!(name.len() < 255 && !name.bytes().any(|byte| byte.is_ascii_uppercase()));
    }
    for limit in [query.limit(false), LEAST, LONGEST] {
        let answers = [Answer::Address([1, 2, 3, 4].into()); 60];
        let written = reply(&query, Code::NoError, &answers, 1, limit);
        assert!(written.len() <= limit && !is_failure(&written));
        assert!(query.is_answered_by(&written, number));
        let mut long = written.clone();
        long.extend_from_slice(bytes);
        let passed = pass_on(&query, long, limit);
        assert!(passed.len() <= limit && query.is_answered_by(&passed, number));
    }
});
