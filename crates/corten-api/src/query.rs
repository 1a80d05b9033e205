//! Query strings as Go reads them: what is a number, what is true, what may be missing.

use corten_std::{Classified, ErrorClass};

/// The parameters of a request in order; a name may stand several times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

/// What is wrong with a query string. The texts are Go's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// A per cent sign without two hexadecimal digits.
    #[error("invalid URL escape \"{0}\"")]
    Escape(String),
    /// A semicolon, which Go refuses as a separator.
    #[error("invalid semicolon separator in query")]
    Semicolon,
    /// A parameter that must be a number and is none.
    #[error("strconv.Atoi: parsing \"{value}\": invalid syntax")]
    Number {
        /// Which one.
        name: String,
        /// What it was.
        value: String,
    },
}

impl Classified for QueryError {
    fn class(&self) -> ErrorClass {
        ErrorClass::InvalidParameter
    }
}

impl Query {
    /// Reads the part of a target after the question mark.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let mut pairs = Vec::new();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            if part.contains(';') {
                return Err(QueryError::Semicolon);
            }
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            pairs.push((unescape(name, Plus::Space)?, unescape(value, Plus::Space)?));
        }
        Ok(Self { pairs })
    }

    /// The first value of that name; empty when there is none.
    pub fn get(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    /// The first value of that name.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Docker's truth: everything is true but nothing, `0`, `no`, `false` and `none` in any case.
    pub fn flag(&self, name: &str) -> bool {
        is_true(self.get(name))
    }

    /// As [`Self::flag`], with a value for when the parameter is missing.
    pub fn flag_or(&self, name: &str, default: bool) -> bool {
        self.find(name).map_or(default, is_true)
    }

    /// A number; `None` when missing or empty.
    pub fn number(&self, name: &str) -> Result<Option<i64>, QueryError> {
        match self.get(name) {
            "" => Ok(None),
            value => match value.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(QueryError::Number { name: name.to_owned(), value: value.to_owned() }),
            },
        }
    }
}

fn is_true(value: &str) -> bool {
    !matches!(value.trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
}

/// What a plus sign means: a space in a query, itself in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plus {
    /// In a query.
    Space,
    /// In a path.
    Itself,
}

/// Resolves per cent escapes. Bytes that are not UTF-8 become replacement characters.
pub fn unescape(text: &str, plus: Plus) -> Result<String, QueryError> {
    if !text.contains(['%', '+']) {
        return Ok(text.to_owned());
    }
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'%' => {
                let digits = bytes.get(at..at + 2).and_then(|pair| Some(hex(pair[0])? << 4 | hex(pair[1])?));
                let Some(value) = digits else {
                    let wrong = &bytes[at - 1..bytes.len().min(at + 2)];
                    return Err(QueryError::Escape(String::from_utf8_lossy(wrong).into_owned()));
                };
                plain.push(value);
                at += 2;
            }
            b'+' if plus == Plus::Space => plain.push(b' '),
            other => plain.push(other),
        }
    }
    Ok(String::from_utf8(plain)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_is_dockers() {
        let query = Query::parse("a=1&b=True&c=0&d=No&e=FALSE&f=none&g=&h&i=-1&j=%20no%20").unwrap();
        let truth: String = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "missing"]
            .map(|name| if query.flag(name) { '1' } else { '0' })
            .iter()
            .collect();
        assert_eq!(truth, "11000000100");
        assert!(query.flag_or("missing", true));
        assert!(!query.flag_or("g", true));
    }

    #[test]
    fn escapes_and_repeats() {
        let query = Query::parse("names=a%2Fb&names=c+d&x=%7B%7D").unwrap();
        assert_eq!(query.all("names").collect::<Vec<_>>(), ["a/b", "c d"]);
        assert_eq!(query.get("x"), "{}");
        assert_eq!(Query::parse("a=%zz").unwrap_err().to_string(), "invalid URL escape \"%zz\"");
        assert_eq!(Query::parse("a=%2").unwrap_err().to_string(), "invalid URL escape \"%2\"");
        assert!(Query::parse("a=1;b=2").is_err());
        assert_eq!(unescape("/a+b%20c", Plus::Itself).unwrap(), "/a+b c");
    }

    #[test]
    fn numbers() {
        let query = Query::parse("t=10&n=-1&w=x").unwrap();
        assert_eq!(query.number("t").unwrap(), Some(10));
        assert_eq!(query.number("n").unwrap(), Some(-1));
        assert_eq!(query.number("none").unwrap(), None);
        assert!(query.number("w").is_err());
    }
}
