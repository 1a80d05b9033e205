//! Shell patterns as Go's `path.Match` reads them: `*` and `?` stop at `/`, `[a-z]` and `[^a-z]`, `\` takes the next
//! character as it is.

/// Whether the whole text fits the pattern; a malformed pattern fits nothing.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    fits(pattern.as_bytes(), text.as_bytes())
}

fn fits(mut pattern: &[u8], mut text: &[u8]) -> bool {
    // The last star, and where in the text what follows it was tried: one retry point is enough, because a later
    // star can take over all that an earlier one could.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if pattern.first() == Some(&b'*') {
            pattern = &pattern[1..];
            retry = Some((pattern, text));
            continue;
        }
        if pattern.is_empty() && text.is_empty() {
            return true;
        }
        if let Some(rest) = one(pattern, text) {
            pattern = rest;
            text = &text[1..];
            continue;
        }
        match retry {
            Some((after_star, at)) if at.first().is_some_and(|byte| *byte != b'/') => {
                retry = Some((after_star, &at[1..]));
                pattern = after_star;
                text = &at[1..];
            }
            _ => return false,
        }
    }
}

/// Matches one character of the text; gives the rest of the pattern.
fn one<'a>(pattern: &'a [u8], text: &[u8]) -> Option<&'a [u8]> {
    let (&byte, (&first, rest)) = (text.first()?, pattern.split_first()?);
    match first {
        b'?' => (byte != b'/').then_some(rest),
        b'\\' => rest.split_first().filter(|(literal, _)| **literal == byte).map(|(_, rest)| rest),
        b'[' => class(rest, byte),
        literal => (literal == byte).then_some(rest),
    }
}

fn class(mut pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let negated = pattern.first() == Some(&b'^');
    if negated {
        pattern = &pattern[1..];
    }
    let mut found = false;
    let mut any = false;
    loop {
        if pattern.first() == Some(&b']') && any {
            return (found != negated && byte != b'/').then_some(&pattern[1..]);
        }
        let low = literal(&mut pattern)?;
        let high = if pattern.first() == Some(&b'-') {
            pattern = &pattern[1..];
            literal(&mut pattern)?
        } else {
            low
        };
        found |= (low..=high).contains(&byte);
        any = true;
    }
}

fn literal(pattern: &mut &[u8]) -> Option<u8> {
    if pattern.first() == Some(&b'\\') {
        *pattern = &pattern[1..];
    }
    let (&byte, rest) = pattern.split_first()?;
    *pattern = rest;
    Some(byte)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_fit_as_in_go() {
        for (pattern, text, fits) in [
            ("busybox", "busybox", true),
            ("busy*", "busybox:latest", true),
            ("*/*:1", "app/web:1", true),
            ("*:1", "app/web:1", false),
            ("app/*", "app/web:2", true),
            ("b?sy*", "busybox", true),
            ("[a-c]usybox", "busybox", true),
            ("[^a-c]usybox", "busybox", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("*", "", true),
            ("", "a", false),
            ("[", "[", false),
            ("a*b*c", "axxbyyc", true),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }
}
