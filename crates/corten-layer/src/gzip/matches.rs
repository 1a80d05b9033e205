//! Finds what has stood in the window before.

/// How far back a match may lie (RFC 1951: 32 KiB).
pub(super) const WINDOW: usize = 32 << 10;
/// What a match may be long.
pub(super) const LONGEST: usize = 258;
/// A match of so many bytes is taken without a look at others.
const NICE: usize = 10;
/// Places that are tried for each position.
const TRIES: usize = 2;
/// A match of three bytes further back costs more than three bytes.
const NEAR: usize = 4 << 10;
const FOUR_BITS: u32 = 16;
const THREE_BITS: u32 = 15;

/// Bytes that stood `distance` before, `length` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) length: usize,
    pub(super) distance: usize,
}

/// Where four bytes, and where three, stood last. Positions are kept by their lowest 16 bits: what is older than the window
/// gives another place by that, so every place is looked at before it counts.
pub(super) struct Finder {
    four: Box<[u16; 1 << FOUR_BITS]>,
    three: Box<[u16; 1 << THREE_BITS]>,
    /// For each position of the window the one before it with the same hash of four bytes.
    before: Box<[u16; WINDOW]>,
}

fn hash(word: u32, bits: u32) -> usize {
    (word.wrapping_mul(0x9e37_79b1) >> (32 - bits)) as usize
}

/// The four bytes at `at`; none where the data ends before.
#[inline]
fn word(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..).and_then(|rest| rest.first_chunk()).map(|bytes| u32::from_le_bytes(*bytes))
}

/// Zeros on the heap, of a length that the compiler knows.
#[expect(clippy::unnecessary_box_returns, reason = "64 KiB and more would first lie on the stack")]
fn table<const LENGTH: usize>() -> Box<[u16; LENGTH]> {
    let Ok(table) = vec![0; LENGTH].into_boxed_slice().try_into() else { unreachable!("it has that length") };
    table
}

impl Finder {
    pub(super) fn new() -> Self {
        Self { four: table(), three: table(), before: table() }
    }

    /// Remembers a position at which `word` stands; gives where its four, and its three, stood last.
    #[inline]
    fn remember(&mut self, word: u32, at: usize) -> (u16, u16) {
        let four = std::mem::replace(&mut self.four[hash(word, FOUR_BITS)], at as u16);
        self.before[at % WINDOW] = four;
        (four, std::mem::replace(&mut self.three[hash(word << 8, THREE_BITS)], at as u16))
    }

    /// Remembers all positions from `from` up to `to`.
    #[inline]
    pub(super) fn pass(&mut self, data: &[u8], from: usize, to: usize) {
        let end = (to + 3).min(data.len());
        for (at, bytes) in (from..).zip(data.get(from..end).unwrap_or_default().windows(4)) {
            if let Some(bytes) = bytes.first_chunk() {
                self.remember(u32::from_le_bytes(*bytes), at);
            }
        }
    }

    /// Remembers a position and gives a match for it.
    #[inline]
    pub(super) fn find(&mut self, data: &[u8], at: usize) -> Option<Match> {
        let wanted = word(data, at)?;
        let (mut last, three) = self.remember(wanted, at);
        let mut best = Match { length: 0, distance: 0 };
        let mut passed = 0;
        for _ in 0..TRIES {
            let distance = usize::from((at as u16).wrapping_sub(last));
            if distance <= passed || distance > WINDOW || distance > at {
                break;
            }
            passed = distance;
            let from = at - distance;
            if word(data, from) == Some(wanted) {
                let length = common(data, from, at);
                if length > best.length {
                    best = Match { length, distance };
                    if length >= NICE {
                        break;
                    }
                }
            }
            last = self.before[from % WINDOW];
        }
        if best.length > 0 {
            return Some(best);
        }
        let distance = usize::from((at as u16).wrapping_sub(three));
        let is_same = |other: u32| (other ^ wanted) << 8 == 0;
        let near = (1..=NEAR.min(at)).contains(&distance) && word(data, at - distance).is_some_and(is_same);
        near.then_some(Match { length: 3, distance })
    }
}

/// How many bytes at `from` and `at` are the same, where four are.
#[inline]
fn common(data: &[u8], from: usize, at: usize) -> usize {
    let most = (data.len() - at).min(LONGEST);
    let (old, new) = (&data[from + 4..from + most], &data[at + 4..at + most]);
    let mut length = 4;
    let (mut old, mut new) = (old.chunks_exact(8), new.chunks_exact(8));
    for (old, new) in old.by_ref().zip(new.by_ref()) {
        if let (Some(old), Some(new)) = (old.first_chunk(), new.first_chunk()) {
            let differs = u64::from_le_bytes(*old) ^ u64::from_le_bytes(*new);
            if differs != 0 {
                return length + (differs.trailing_zeros() >> 3) as usize;
            }
        }
        length += 8;
    }
    length + old.remainder().iter().zip(new.remainder()).take_while(|(old, new)| old == new).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_are_found_in_the_window_and_not_beyond() {
        let mut data = b"abcdefgh, and something else; abcdefgh!".to_vec();
        let mut finder = Finder::new();
        finder.pass(&data, 0, 30);
        assert_eq!(finder.find(&data, 30), Some(Match { length: 8, distance: 30 }));
        assert_eq!(finder.find(&data, data.len() - 2), None);
        for (gap, found) in [(WINDOW - 4, true), (WINDOW - 3, false)] {
            data = [b"wxyz".as_slice(), &vec![0; gap], b"wxyz!"].concat();
            let mut finder = Finder::new();
            finder.pass(&data, 0, gap + 4);
            let expected = found.then_some(Match { length: 4, distance: WINDOW });
            assert_eq!(finder.find(&data, gap + 4), expected, "{gap}");
        }
    }

    #[test]
    fn a_match_may_overlap_what_it_makes() {
        let data = [b'a'; 400];
        let mut finder = Finder::new();
        finder.pass(&data, 0, 1);
        assert_eq!(finder.find(&data, 1), Some(Match { length: LONGEST, distance: 1 }));
    }

    #[test]
    fn three_bytes_count_when_they_are_near() {
        let data = b"abc-abc+";
        let mut finder = Finder::new();
        finder.pass(data, 0, 4);
        assert_eq!(finder.find(data, 4), Some(Match { length: 3, distance: 4 }));
    }
}
