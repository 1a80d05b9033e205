//! Detach keys: a sequence of bytes that a client types to leave without ending the process.

/// The keys that detach where nothing else was asked for: ctrl-p ctrl-q.
pub const DEFAULT: [u8; 2] = [0x10, 0x11];

/// Reads keys as Docker writes them: `ctrl-p,ctrl-q`, `a`, `ctrl-@`, comma separated.
///
/// # Errors
/// The text of Docker's refusal, for a key that is neither one character nor `ctrl-` and one of `a-z@[\]^_`.
pub fn parse(text: &str) -> Result<Vec<u8>, String> {
    text.split(',').map(parse_key).collect()
}

fn parse_key(key: &str) -> Result<u8, String> {
    let invalid = || format!("Unknown character: '{}'", key.to_lowercase());
    match key.as_bytes() {
        [single] => Ok(*single),
        _ => match key.to_lowercase().strip_prefix("ctrl-").map(str::as_bytes) {
            Some([letter @ b'a'..=b'z']) => Ok(letter - b'a' + 1),
            Some(b"@") => Ok(0),
            Some(b"[") => Ok(27),
            Some(b"\\") => Ok(28),
            Some(b"]") => Ok(29),
            Some(b"^") => Ok(30),
            Some(b"_") => Ok(31),
            _ => Err(invalid()),
        },
    }
}

/// Finds the keys in what a client types, over the borders of packets. Bytes that may be the beginning of the
/// sequence are held back until the next byte tells.
#[derive(Clone, Debug)]
pub struct Matcher {
    keys: Vec<u8>,
    /// How many of the keys have been typed.
    matched: usize,
}

impl Matcher {
    /// A matcher for these keys; empty ones never match.
    pub fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// Takes typed bytes and appends those that go on to the process; true when the keys are complete: what was
    /// typed behind them is dropped, and the matcher starts anew.
    pub fn feed(&mut self, typed: &[u8], onward: &mut Vec<u8>) -> bool {
        for &byte in typed {
            if self.keys.is_empty() {
                onward.push(byte);
                continue;
            }
            // On a wrong key the longest end of what was typed that is still a beginning of the keys stays held.
            while self.matched > 0 && self.keys[self.matched] != byte {
                let shorter = self.longest_border();
                onward.extend_from_slice(&self.keys[..self.matched - shorter]);
                self.matched = shorter;
            }
            if self.keys[self.matched] == byte {
                self.matched += 1;
            } else {
                onward.push(byte);
            }
            if self.matched == self.keys.len() {
                self.matched = 0;
                return true;
            }
        }
        false
    }

    /// What is held back; it goes on to the process when the client's input ends.
    pub fn finish(&mut self) -> &[u8] {
        let held = std::mem::take(&mut self.matched);
        &self.keys[..held]
    }

    /// Length of the longest proper end of the matched keys that is also their beginning.
    fn longest_border(&self) -> usize {
        let matched = &self.keys[..self.matched];
        (0..self.matched).rev().find(|&length| matched.ends_with(&matched[..length])).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_are_read_as_docker_reads_them() {
        let cases: [(&str, Result<Vec<u8>, &str>); 6] = [
            ("ctrl-p,ctrl-q", Ok(DEFAULT.to_vec())),
            ("a", Ok(vec![b'a'])),
            ("ctrl-@,ctrl-[,ctrl-_", Ok(vec![0, 27, 31])),
            ("CTRL-A", Ok(vec![1])),
            ("ctrl-1", Err("Unknown character: 'ctrl-1'")),
            ("", Err("Unknown character: ''")),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected.map_err(str::to_owned), "{text}");
        }
    }

    /// The plain meaning: everything before the first place where the keys stand.
    fn reference(keys: &[u8], typed: &[u8]) -> (Vec<u8>, bool) {
        match typed.windows(keys.len().max(1)).position(|window| !keys.is_empty() && window == keys) {
            Some(at) => (typed[..at].to_vec(), true),
            None => (typed.to_vec(), false),
        }
    }

    proptest! {
        #[test]
        fn packets_borders_do_not_matter(
            keys in proptest::collection::vec(0_u8..3, 0..5),
            typed in proptest::collection::vec(0_u8..3, 0..40),
            cuts in proptest::collection::vec(0_usize..40, 0..6),
        ) {
            let mut matcher = Matcher::new(keys.clone());
            let mut onward = Vec::new();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(typed.len())).chain([0, typed.len()]).collect();
            cuts.sort_unstable();
            let mut detached = false;
            for cut in cuts.windows(2) {
                if matcher.feed(&typed[cut[0]..cut[1]], &mut onward) {
                    detached = true;
                    break;
                }
            }
            if !detached {
                onward.extend_from_slice(matcher.finish());
            }
            prop_assert_eq!((onward, detached), reference(&keys, &typed));
        }
    }
}
