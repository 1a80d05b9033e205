//! Queries as resolvers write them, replies as servers do, and bytes that are neither.

use super::*;
use proptest::prelude::*;

/// A query for a name; with a size, EDNS says it.
pub(crate) fn query(id: u16, name: &str, kind: u16, size: Option<u16>) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(size.is_some())]);
    write_name(&mut message, name);
    for part in [kind, INTERNET] {
        message.extend(part.to_be_bytes());
    }
    if let Some(size) = size {
        message.push(0);
        for part in [kind::OPT, size, 0, 0, 0] {
            message.extend(part.to_be_bytes());
        }
    }
    message
}

#[test]
fn a_query_is_read_in_lower_case() {
    let message = query(7, "Web.Example", kind::AAAA, Some(4096));
    let read = read_query(&message).unwrap();
    assert_eq!(read.name.text(), Some("web.example"));
    assert_eq!((read.kind, read.class, read.size), (kind::AAAA, INTERNET, Some(4096)));
    assert_eq!((read.limit(false), read.limit(true)), (4096, LONGEST));
    let message = query(7, "web", kind::A, None);
    assert_eq!(read_query(&message).unwrap().limit(false), LEAST);
    let message = query(7, "", kind::A, Some(0));
    let root = read_query(&message).unwrap();
    assert_eq!((root.name.text(), root.limit(false)), (Some(""), LEAST));
}

#[test]
fn what_is_no_query_is_refused() {
    let whole = query(7, "web", kind::A, Some(1232));
    for length in 0..whole.len() {
        let expected = if length < HEAD { Refusal::Ignored } else { Refusal::Answered(Code::FormatError) };
        assert_eq!(read_query(&whole[..length]).unwrap_err(), expected, "{length}");
    }
    let changed = |at: usize, value: u8| {
        let mut message = whole.clone();
        message[at] = value;
        read_query(&message).unwrap_err()
    };
    assert_eq!(changed(2, 0x81), Refusal::Ignored);
    assert_eq!(changed(2, 0x29), Refusal::Answered(Code::NotImplemented));
    assert_eq!(changed(5, 2), Refusal::Answered(Code::FormatError));
    // A pointer where the question's name should be, to itself at that.
    assert_eq!(changed(HEAD, 0xc0), Refusal::Answered(Code::FormatError));
    assert_eq!(refuse(&whole, Code::FormatError), [0, 7, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn labels_that_cannot_be_ours_have_no_text() {
    let mut message = query(7, "a-b", kind::A, None);
    message[HEAD + 2] = b'.';
    assert_eq!(read_query(&message).unwrap().name.text(), None);
}

#[test]
fn a_reply_repeats_the_question_and_fits() {
    let message = query(0x1234, "WEB", kind::A, Some(1232));
    let read = read_query(&message).unwrap();
    let address = Answer::Address([10, 1, 2, 3].into());
    let written = reply(&read, Code::NoError, &[address], 600, read.limit(false));
    let expected = [
        &[0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 1][..],
        &message[HEAD..HEAD + 9],
        &[0xc0, 12, 0, 1, 0, 1, 0, 0, 2, 88, 0, 4, 10, 1, 2, 3],
        &[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    assert_eq!(written, expected);
    let many = vec![address; 100];
    let message = query(1, "web", kind::A, None);
    let read = read_query(&message).unwrap();
    let cut = reply(&read, Code::NoError, &many, 600, read.limit(false));
    assert!(cut.len() <= LEAST && cut.len() > LEAST - 16);
    assert_eq!(cut[2] & 2, 2);
    assert_eq!(usize::from(cut[7]), (cut.len() - HEAD - 9) / 16);
    let whole = reply(&read, Code::NoError, &many, 600, read.limit(true));
    assert_eq!((whole[2] & 2, whole[7]), (0, 100));
}

#[test]
fn a_servers_reply_is_known_and_passed_on() {
    let message = query(7, "Example.test", kind::A, None);
    let read = read_query(&message).unwrap();
    let mut answer = query(99, "example.TEST", kind::A, None);
    answer[2] |= 0x80;
    answer.extend([0; 600]);
    assert!(read.is_answered_by(&answer, 99));
    assert!(!read.is_answered_by(&answer, 98));
    assert!(!read.is_answered_by(&query(99, "example.test", kind::A, None), 99));
    assert!(!read.is_answered_by(&answer[..20], 99));
    let mut other = query(99, "example.tesu", kind::A, None);
    other[2] |= 0x80;
    assert!(!read.is_answered_by(&other, 99));
    let cut = pass_on(&read, answer.clone(), LEAST);
    assert_eq!((id(&cut), cut.len(), cut[2] & 2), (Some(7), read.end, 2));
    assert_eq!(pass_on(&read, answer.clone(), LONGEST).len(), answer.len());
    assert!(!is_failure(&answer));
    answer[3] = 2;
    assert!(is_failure(&answer));
}

#[test]
fn names_of_addresses() {
    assert_eq!(reverse("4.3.2.1.in-addr.arpa"), Some([1, 2, 3, 4].into()));
    let six = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
    assert_eq!(reverse(six), Some("fd00::1".parse().unwrap()));
    for wrong in [
        "3.2.1.in-addr.arpa",
        "5.4.3.2.1.in-addr.arpa",
        "x.3.2.1.in-addr.arpa",
        "1.ip6.arpa",
        "in-addr.arpa",
        "web",
        "+1.0.ip6.arpa",
    ] {
        assert_eq!(reverse(wrong), None, "{wrong}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes);
    }

    #[test]
    fn damaged_queries_are_read_or_refused(name in "[a-zA-Z0-9._-]{0,80}", kind in any::<u16>(), size in any::<Option<u16>>(), at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut message = query(1, &name, kind, size);
        check(&message);
        let at = at.index(message.len());
        message[at] = value;
        check(&message);
    }

    #[test]
    fn what_is_written_is_read(name in "[a-z0-9-]{1,60}(\\.[a-z0-9-]{1,60}){0,3}", kind in any::<u16>()) {
        let message = query(1, &name, kind, None);
        let read = read_query(&message).unwrap();
        prop_assert_eq!(read.name.text(), Some(name.as_str()));
    }

    #[test]
    fn any_name_is_reversed_or_not(name in "[0-9a-f.]{0,70}(\\.in-addr\\.arpa|\\.ip6\\.arpa)?") {
        let _ = reverse(&name);
    }
}

fn check(bytes: &[u8]) {
    match read_query(bytes) {
        Ok(read) => {
            for limit in [LEAST, LONGEST] {
                let answers = [Answer::Address([1, 2, 3, 4].into()), Answer::Name("a.b")];
                let written = reply(&read, Code::NoError, &answers, 1, limit);
                assert!(written.len() <= limit);
                assert!(read.is_answered_by(&written, id(bytes).unwrap()));
                assert!(!is_failure(&written));
            }
        }
        Err(Refusal::Answered(code)) => assert_eq!(refuse(bytes, code).len(), HEAD),
        Err(Refusal::Ignored) => {}
    }
}
