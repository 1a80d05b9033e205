//! Cuts a stream of output into the entries of the log: at line feeds, and at 16 KiB.

/// Longest text of one entry in bytes, as Docker's.
pub const LONGEST_PART: usize = 16 * 1024;

/// Holds the beginning of a line until its end comes. Empty, it owns no memory.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    held: Vec<u8>,
}

impl Splitter {
    /// Takes output; calls `emit` for each entry that is complete.
    pub(super) fn feed(&mut self, mut output: &[u8], mut emit: impl FnMut(&[u8])) {
        while !output.is_empty() {
            let room = LONGEST_PART - self.held.len();
            let window = &output[..output.len().min(room)];
            let end = memchr::memchr(b'\n', window).map(|at| at + 1);
            let (taken, complete) = match end {
                Some(end) => (end, true),
                None => (window.len(), window.len() == room),
            };
            if complete && self.held.is_empty() {
                let taken = if end.is_some() { taken } else { whole_characters(&output[..taken]) };
                emit(&output[..taken]);
                output = &output[taken..];
                continue;
            }
            self.held.extend_from_slice(&output[..taken]);
            output = &output[taken..];
            if complete {
                let length = if end.is_some() { self.held.len() } else { whole_characters(&self.held) };
                emit(&self.held[..length]);
                let rest = self.held.split_off(length);
                self.held = rest;
            }
        }
    }

    /// The stream has ended: a line without its end is emitted as it is.
    pub(super) fn finish(&mut self, mut emit: impl FnMut(&[u8])) {
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            emit(&held);
        }
    }
}

/// Length without the beginning of a character that the cut would tear apart. Bytes that are no text are not
/// held back: at most three, and only where they can begin a character.
fn whole_characters(bytes: &[u8]) -> usize {
    let length = bytes.len();
    for back in 1..=length.min(3) {
        let byte = bytes[length - back];
        let width = match byte {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return length,
        };
        return if width > back { length - back } else { length };
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut splitter = Splitter::default();
        let mut entries = Vec::new();
        for piece in pieces {
            splitter.feed(piece, |entry| entries.push(entry.to_vec()));
        }
        splitter.finish(|entry| entries.push(entry.to_vec()));
        entries
    }

    #[test]
    fn a_long_line_is_cut_and_a_character_is_not() {
        let mut long = vec![b'x'; LONGEST_PART - 1];
        long.extend_from_slice("é\n".as_bytes());
        let entries = split(&[&long]);
        assert_eq!(entries.iter().map(Vec::len).collect::<Vec<_>>(), [LONGEST_PART - 1, 3]);
        let plain = vec![b'x'; 40_000];
        assert_eq!(split(&[&plain]).iter().map(Vec::len).collect::<Vec<_>>(), [16384, 16384, 7232]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn nothing_is_lost_whatever_the_pieces(
            text in proptest::collection::vec(prop_oneof![9 => Just(b'x'), 1 => any::<u8>()], 0..60_000),
            cuts in proptest::collection::vec(0_usize..60_000, 0..5),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
            let entries = split(&pieces);
            prop_assert_eq!(&entries, &split(&[&text]));
            prop_assert_eq!(entries.concat(), text);
            for entry in &entries {
                prop_assert!(entry.len() <= LONGEST_PART && !entry.is_empty());
                prop_assert!(!entry[..entry.len() - 1].contains(&b'\n'));
            }
        }
    }
}
