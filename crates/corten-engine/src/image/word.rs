//! The words of Dockerfile instructions: quotes, escapes, variables, lists in JSON.

/// A list of texts in JSON; none where the text is no such list.
pub(super) fn json_list(text: &str) -> Option<Vec<String>> {
    if text.starts_with('[') { serde_json::from_str(text).ok() } else { None }
}

/// The words of a line, with their quotes and escapes; white space within quotes separates nothing.
pub(super) struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.rest.trim_start();
        if text.is_empty() {
            self.rest = text;
            return None;
        }
        let mut quote = None;
        let mut characters = text.char_indices();
        let mut end = text.len();
        while let Some((at, character)) = characters.next() {
            match (quote, character) {
                // What follows a backslash is part of the word; in single quotes it is a character as any other.
                (None | Some('"'), '\\') => drop(characters.next()),
                (None, '"' | '\'') => quote = Some(character),
                (Some(open), _) if open == character => quote = None,
                (None, _) if character.is_whitespace() => {
                    end = at;
                    break;
                }
                _ => {}
            }
        }
        let (word, rest) = text.split_at(end);
        self.rest = rest;
        Some(word)
    }
}

/// Takes away quotes and escapes, and puts in variables: `$A`, `${A}`, `${A:-word}`, `${A:+word}`, `${A:?word}`, each of
/// the last three also without the colon.
pub(super) fn expand(text: &str, environment: &[String]) -> Result<String, String> {
    let mut reader = Reader { text, at: 0, environment, depth: 0 };
    let expanded = reader.until(None)?;
    Ok(expanded)
}

/// How deep `${A:-${B:-…}}` may go.
const DEPTH: u32 = 32;

struct Reader<'a> {
    text: &'a str,
    at: usize,
    environment: &'a [String],
    depth: u32,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    fn wrong(&self, what: &str) -> String {
        format!("failed to process {:?}: {what}", self.text)
    }

    /// Reads up to `end`, which is taken too, or to the end of the text.
    fn until(&mut self, end: Option<char>) -> Result<String, String> {
        let mut out = String::new();
        while let Some(character) = self.take() {
            match character {
                _ if Some(character) == end => return Ok(out),
                '\'' => self.single(&mut out)?,
                '"' => self.double(&mut out)?,
                '$' => self.variable(&mut out)?,
                // At the very end a backslash is itself nothing, as in Docker.
                '\\' => out.extend(self.take()),
                _ => out.push(character),
            }
        }
        match end {
            None => Ok(out),
            Some(_) => Err(self.wrong("unexpected end of statement while looking for matching }")),
        }
    }

    fn single(&mut self, out: &mut String) -> Result<(), String> {
        while let Some(character) = self.take() {
            if character == '\'' {
                return Ok(());
            }
            out.push(character);
        }
        Err(self.wrong("unexpected end of statement while looking for matching single-quote"))
    }

    fn double(&mut self, out: &mut String) -> Result<(), String> {
        while let Some(character) = self.take() {
            match character {
                '"' => return Ok(()),
                '$' => self.variable(out)?,
                '\\' => match self.take() {
                    Some(escaped @ ('"' | '$' | '\\')) => out.push(escaped),
                    Some(other) => out.extend(['\\', other]),
                    None => break,
                },
                _ => out.push(character),
            }
        }
        Err(self.wrong("unexpected end of statement while looking for matching double-quote"))
    }

    /// What follows a `$`.
    fn variable(&mut self, out: &mut String) -> Result<(), String> {
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                out.push('$');
            }
            out.push_str(self.value(&name).unwrap_or_default());
            return Ok(());
        }
        self.take();
        let name = self.name();
        if name.is_empty() {
            return Err(self.wrong("bad substitution"));
        }
        let value = self.value(&name).map(str::to_owned);
        let colon = self.peek() == Some(':');
        if colon {
            self.take();
        }
        let operator = self.take();
        if operator == Some('}') && !colon {
            out.push_str(value.as_deref().unwrap_or_default());
            return Ok(());
        }
        let Some(operator @ ('-' | '+' | '?')) = operator else {
            return Err(self.wrong("unsupported modifier in substitution"));
        };
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.wrong("substitutions are nested too deep"));
        }
        let other = self.until(Some('}'))?;
        self.depth -= 1;
        let set = value.as_ref().is_some_and(|value| !colon || !value.is_empty());
        match operator {
            '-' => out.push_str(if set { value.as_deref().unwrap_or_default() } else { &other }),
            '+' if set => out.push_str(&other),
            '+' => {}
            _ if set => out.push_str(value.as_deref().unwrap_or_default()),
            _ => {
                let why = if other.is_empty() { "is not allowed to be unset" } else { &other };
                return Err(self.wrong(&format!("{name}: {why}")));
            }
        }
        Ok(())
    }

    /// A name at this place; digits alone are one digit, and the like of `$@` one character.
    fn name(&mut self) -> String {
        let rest = &self.text[self.at..];
        let mut characters = rest.chars();
        let length = match characters.next() {
            Some(first) if first.is_ascii_digit() || "@*#".contains(first) => 1,
            Some(first) if first.is_ascii_alphabetic() || first == '_' => rest
                .find(|character: char| !character.is_ascii_alphanumeric() && character != '_')
                .unwrap_or(rest.len()),
            _ => 0,
        };
        self.at += length;
        rest[..length].to_owned()
    }

    fn value(&self, name: &str) -> Option<&str> {
        // Of several the last, as a program would see it.
        self.environment
            .iter()
            .rev()
            .find_map(|entry| entry.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_what_is_quoted_together() {
        let words: Vec<_> = Words::new(r#"a=1  b="two words" c='x y' d=e\ f "#).collect();
        assert_eq!(words, ["a=1", r#"b="two words""#, "c='x y'", r"d=e\ f"]);
    }

    #[test]
    fn variables_and_quotes() {
        let environment = ["A=x".to_owned(), "E=".to_owned()];
        for (text, expanded) in [
            ("$A", "x"),
            ("${A}y", "xy"),
            ("'$A'", "$A"),
            (r#""$A\"z""#, "x\"z"),
            (r"\$A", "$A"),
            ("${N:-d}", "d"),
            ("${E:-d}", "d"),
            ("${E-d}", ""),
            ("${A:+s}", "s"),
            ("${N:+s}", ""),
            ("${N:-${A}}", "x"),
            ("$", "$"),
            ("$N.", "."),
            ("a\\", "a"),
        ] {
            assert_eq!(expand(text, &environment).unwrap(), expanded, "{text}");
        }
        for text in ["'", "\"", "${", "${A", "${}", "${A:}", "${A!}", "${N:?no}"] {
            assert!(expand(text, &environment).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_breaks_it() {
        // Every short text over the characters that mean something.
        let alphabet: Vec<char> = "$A{}:-'\"\\ é".chars().collect();
        let mut texts = vec![String::new()];
        for _ in 0..4 {
            texts = texts
                .iter()
                .flat_map(|text| alphabet.iter().map(move |character| format!("{text}{character}")))
                .collect();
            for text in &texts {
                let _ = expand(text, &["A=1".to_owned()]);
                let joined: usize = Words::new(text).map(str::len).sum();
                assert!(joined <= text.len());
            }
        }
        assert!(expand(&"${A:-".repeat(100), &[]).is_err());
        assert!(expand(&"${N:-".repeat(10_000), &[]).is_err());
    }
}
