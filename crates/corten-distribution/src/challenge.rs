//! `WWW-Authenticate`: what a registry wants to be shown (RFC 9110 section 11.6.1). Pure.

use std::collections::BTreeMap;

/// Most challenges that are looked at.
const LIMIT: usize = 16;

/// One challenge: a scheme and its parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// In small letters: `basic`, `bearer`.
    pub scheme: String,
    /// Names in small letters.
    pub parameters: BTreeMap<String, String>,
}

impl Challenge {
    /// A parameter; empty where it is not there.
    pub fn get(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }
}

/// The challenges of one header value. What is not understood ends the reading; what was read before is given.
pub fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = Scanner(header);
    loop {
        rest.skip(|byte| byte == b' ' || byte == b'\t' || byte == b',');
        let word = rest.token();
        if word.is_empty() {
            return challenges;
        }
        let gap = rest.spaces();
        if rest.take(b'=') && !rest.0.starts_with('=') {
            // A parameter of the scheme before it.
            rest.spaces();
            let Some(value) = rest.value() else { return challenges };
            let Some(challenge) = challenges.last_mut() else { return challenges };
            // The first one counts: a second of the same name is nobody's honest work.
            challenge.parameters.entry(word.to_ascii_lowercase()).or_insert(value);
        } else {
            if challenges.len() == LIMIT {
                return challenges;
            }
            challenges.push(Challenge { scheme: word.to_ascii_lowercase(), ..Challenge::default() });
            if !gap && !rest.0.is_empty() && !rest.0.starts_with(',') {
                return challenges;
            }
        }
    }
}

struct Scanner<'a>(&'a str);

impl<'a> Scanner<'a> {
    fn skip(&mut self, wanted: impl Fn(u8) -> bool) -> &'a str {
        let end = self.0.bytes().position(|byte| !wanted(byte)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn token(&mut self) -> &'a str {
        self.skip(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    }

    fn spaces(&mut self) -> bool {
        !self.skip(|byte| byte == b' ' || byte == b'\t').is_empty()
    }

    fn take(&mut self, byte: u8) -> bool {
        let taken = self.0.as_bytes().first() == Some(&byte);
        if taken {
            self.0 = &self.0[1..];
        }
        taken
    }

    /// A token or a quoted string.
    fn value(&mut self) -> Option<String> {
        if !self.take(b'"') {
            // Registries in the field leave the quotes out around addresses too.
            return Some(self.skip(|byte| byte != b',' && byte != b' ' && byte != b'\t').to_owned());
        }
        let mut value = String::new();
        let mut characters = self.0.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.0 = &self.0[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(characters.next()?.1),
                other => value.push(other),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn challenges_of_the_field() {
        let found = parse(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/a:pull,push""#,
        );
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].scheme, "bearer");
        assert_eq!(found[0].get("realm"), "https://auth.docker.io/token");
        assert_eq!(found[0].get("scope"), "repository:library/a:pull,push");
        let found = parse(r#"Basic realm="a, \"b\"", bearer REALM=https://x/t, service = y"#);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].get("realm"), "a, \"b\"");
        assert_eq!((found[1].get("realm"), found[1].get("service")), ("https://x/t", "y"));
        assert_eq!(parse("Basic").len(), 1);
        assert_eq!(parse("Negotiate, Basic realm=x").len(), 2);
        assert!(parse("").is_empty() && parse("=x").is_empty());
        assert_eq!(parse(r#"Bearer realm="open"#)[0].get("realm"), "");
    }

    proptest! {
        #[test]
        fn anything_is_read(text in ".{0,200}") {
            assert!(parse(&text).len() <= LIMIT);
        }

        #[test]
        fn what_is_written_is_read(realm in "[^\u{0}-\u{1f}]{0,40}", scope in "[a-z:/,]{0,40}") {
            let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let header = format!(r#"Bearer realm="{}",scope="{}""#, quote(&realm), quote(&scope));
            let found = parse(&header);
            prop_assert_eq!(found[0].get("realm"), realm);
            prop_assert_eq!(found[0].get("scope"), scope);
        }
    }
}
