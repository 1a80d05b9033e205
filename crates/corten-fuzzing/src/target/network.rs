//! Names: questions of containers, answers of servers, the host's settings.

use corten_network::names::message::{
    Answer, Code, HEAD, LEAST, LONGEST, Refusal, id, is_failure, pass_on, read_query, refuse, reply, reverse,
};
use corten_network::{ResolvSettings, resolv_conf};

use super::texts;
use crate::Target;

pub(super) const DNS: Target = Target {
    name: "dns_message",
    run: dns,
    seeds: || {
        let question = |name: &[u8], kind: u8| {
            let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            message.extend_from_slice(name);
            message.extend_from_slice(&[0, kind, 0, 1]);
            message
        };
        let mut extended = question(b"\x03web\0", 28);
        extended[11] = 1;
        extended.extend_from_slice(&[0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0]);
        vec![
            question(b"\x03web\0", 1),
            question(b"\x011\x010\x0217\x03172\x07in-addr\x04arpa\0", 12),
            extended,
            question(b"\xc0\x0c", 1),
        ]
    },
    words: &["\u{3}web", "\u{7}in-addr\u{4}arpa\0", "\u{3}ip6", "\0\u{1}\0\u{1}", "\0)", "?"],
};

/// A question is refused or read; a reply to what was read is known as one, and never longer than asked for. The same bytes
/// as a server's reply to the question are passed on in bounds.
fn dns(bytes: &[u8]) {
    let query = match read_query(bytes) {
        Ok(query) => query,
        Err(Refusal::Answered(code)) => return assert_eq!(refuse(bytes, code).len(), HEAD),
        Err(Refusal::Ignored) => return,
    };
    let number = id(bytes).expect("what was read has a number");
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
}

pub(super) const RESOLV: Target = Target {
    name: "resolv_conf",
    run: resolv,
    seeds: || {
        texts(&[
            "# x\nnameserver 1.1.1.1\nnameserver ::1\nsearch a b\noptions ndots:2 rotate\n",
            "nameserver 127.0.0.53\nsortlist 1.2.3.4\n;\noptions\nsearch .\n",
        ])
    },
    words: &["nameserver ", "search ", "options ", "\n", "#", "127.0.0.1", "::1%eth0", "ndots:99999999999"],
};

fn resolv(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = resolv_conf(text, "/etc/resolv.conf", &ResolvSettings::default());
}
