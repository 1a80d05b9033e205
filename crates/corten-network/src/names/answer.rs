//! What is done with a query: answered from the directory, or handed to other servers. Plain functions.

use super::directory::{Directory, Found};
use super::message::{self, Answer, Code, INTERNET, Query, kind};

/// Seconds for which a name may be remembered: Docker's.
const LIFETIME: u32 = 600;

/// What a query leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// This is sent back.
    Reply(Vec<u8>),
    /// Others may know.
    Forward,
}

/// Numbers in no order that anybody has to rely on or to guess (xorshift).
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Answers a sandbox's query where it is about our names. `own_dots`: the user set `ndots` for it, so that a name of
/// one label is none of other servers' business until the search domains were tried.
pub(crate) fn answer(
    directory: &Directory,
    sandbox: &str,
    query: &Query<'_>,
    own_dots: bool,
    limit: usize,
    dice: &mut Dice,
) -> Outcome {
    let reply = |answers: &[Answer<'_>]| {
        Outcome::Reply(message::reply(query, Code::NoError, answers, LIFETIME, limit))
    };
    let Some(name) = query.name.text().filter(|_| query.class == INTERNET) else { return Outcome::Forward };
    match query.kind {
        kind::A | kind::AAAA => match directory.find(sandbox, name, query.kind == kind::AAAA) {
            Found::Known(mut addresses) => {
                for place in (1..addresses.len()).rev() {
                    addresses.swap(place, (dice.next() % (place as u64 + 1)) as usize);
                }
                let answers: Vec<_> = addresses.into_iter().map(Answer::Address).collect();
                reply(&answers)
            }
            Found::Unknown if own_dots && !name.contains('.') => reply(&[]),
            Found::Unknown => Outcome::Forward,
        },
        // A name that is known and has no mail server: mail goes to its address.
        kind::MX => match directory.find(sandbox, name, false) {
            Found::Known(_) => reply(&[]),
            Found::Unknown => Outcome::Forward,
        },
        kind::PTR => match message::reverse(name).and_then(|address| directory.name_of(sandbox, address)) {
            Some(name) => reply(&[Answer::Name(&name)]),
            None => Outcome::Forward,
        },
        _ => Outcome::Forward,
    }
}

#[cfg(test)]
mod tests {
    use super::super::directory::Membership;
    use super::super::message::tests::query;
    use super::*;
    use crate::names::message::{LEAST, read_query};

    fn town() -> Directory {
        let mut directory = Directory::default();
        for (sandbox, address) in [("s1", "10.0.0.2"), ("s2", "10.0.0.3")] {
            directory.join(
                sandbox,
                Membership {
                    network_id: "n".to_owned(),
                    network_name: "front".to_owned(),
                    addresses: vec![address.parse().unwrap()],
                    names: vec![sandbox.to_owned(), "web".to_owned()],
                    links: Vec::new(),
                },
            );
        }
        directory
    }

    fn ask(name: &str, kind: u16, own_dots: bool) -> Outcome {
        let message = query(1, name, kind, None);
        let query = read_query(&message).unwrap();
        answer(&town(), "s1", &query, own_dots, LEAST, &mut Dice::new(1))
    }

    /// Code and number of answers.
    fn shape(outcome: &Outcome) -> Option<(u8, u8)> {
        match outcome {
            Outcome::Reply(reply) => Some((reply[3] & 15, reply[7])),
            Outcome::Forward => None,
        }
    }

    #[test]
    fn ours_are_answered_and_the_rest_is_handed_on() {
        for (name, kind, own_dots, expected) in [
            ("web", kind::A, false, Some((0, 2))),
            ("s2.front", kind::A, false, Some((0, 1))),
            ("web", kind::AAAA, false, Some((0, 0))),
            ("web", kind::MX, false, Some((0, 0))),
            ("web", 16, false, None),
            ("other", kind::A, false, None),
            ("other", kind::A, true, Some((0, 0))),
            ("other.test", kind::A, true, None),
            ("2.0.0.10.in-addr.arpa", kind::PTR, false, Some((0, 1))),
            ("9.0.0.10.in-addr.arpa", kind::PTR, false, None),
        ] {
            assert_eq!(shape(&ask(name, kind, own_dots)), expected, "{name} {kind}");
        }
    }

    #[test]
    fn addresses_come_in_changing_order() {
        let town = town();
        let mut dice = Dice::new(7);
        let message = query(1, "web", kind::A, None);
        let query = read_query(&message).unwrap();
        let mut first = std::collections::HashSet::new();
        for _ in 0..64 {
            let Outcome::Reply(reply) = answer(&town, "s1", &query, false, LEAST, &mut dice) else {
                panic!()
            };
            first.insert(reply[reply.len() - 17]);
        }
        assert_eq!(first.len(), 2);
    }
}
