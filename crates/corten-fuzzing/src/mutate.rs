//! Changes of examples. The same seed gives the same changes.

/// No input grows beyond this, in bytes.
const LONGEST: usize = 64 << 10;

/// Numbers at which things break.
const EDGES: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// A stream of numbers (xorshift).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Begins at a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end.max(1) as u64) as usize
    }
}

/// Changes `input` in one to eight places. `others` are examples of the same target, `words` what its inputs are made of.
pub fn change(input: &mut Vec<u8>, others: &[Vec<u8>], words: &[&str], random: &mut Random) {
    let times = 1 << random.below(4);
    for _ in 0..times {
        change_once(input, others, words, random);
    }
    input.truncate(LONGEST);
}

fn change_once(input: &mut Vec<u8>, others: &[Vec<u8>], words: &[&str], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let byte = random.number() as u8;
    match random.below(13) {
        0 => input.insert(at, byte),
        1 | 2 if !input.is_empty() => {
            let at = random.below(input.len());
            input[at] ^= 1 << random.below(8);
        }
        3 if !input.is_empty() => {
            let at = random.below(input.len());
            input[at] = byte;
        }
        4 if !input.is_empty() => {
            let end = (at + 1 + random.below(32)).min(input.len());
            input.drain(at.min(end)..end);
        }
        5 if !input.is_empty() => {
            // A piece again, perhaps many times: nesting, repeated headers.
            let end = (at + 1 + random.below(64)).min(input.len());
            let piece = input[at.min(end)..end].to_vec();
            let times = if random.below(20) == 0 { 300 } else { 1 + random.below(3) };
            let repeated = piece.repeat(times.min(LONGEST / piece.len().max(1)));
            input.splice(at..at, repeated);
        }
        6 => edge(input, at, random),
        7 => digits(input, random),
        8 | 9 if !words.is_empty() => {
            let word = words[random.below(words.len())].as_bytes();
            let end = if random.below(2) == 0 { at } else { (at + word.len()).min(input.len()) };
            input.splice(at..end, word.iter().copied());
        }
        10 if !others.is_empty() => {
            let other = &others[random.below(others.len())];
            let from = random.below(other.len() + 1);
            let length = random.below(other.len() - from + 1);
            let end = (at + random.below(length + 1)).min(input.len());
            input.splice(at..end, other[from..from + length].iter().copied());
        }
        11 if random.below(4) == 0 => input.truncate(at),
        _ => input.push(byte),
    }
}

/// Puts an edge number in, of some width and order.
fn edge(input: &mut [u8], at: usize, random: &mut Random) {
    let number = EDGES[random.below(EDGES.len())];
    let bytes = if random.below(2) == 0 { number.to_le_bytes() } else { number.to_be_bytes() };
    let width = [1, 2, 4, 8][random.below(4)];
    for (place, byte) in input.iter_mut().skip(at).zip(&bytes[..width]) {
        *place = *byte;
    }
}

/// Replaces a number that is written out by another.
fn digits(input: &mut Vec<u8>, random: &mut Random) {
    let Some(start) = input.iter().position(u8::is_ascii_digit) else { return };
    let skip = random.below(input.len() - start);
    let Some(start) =
        input.iter().skip(start + skip).position(u8::is_ascii_digit).map(|at| at + start + skip)
    else {
        return;
    };
    let length = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = EDGES[random.below(EDGES.len())];
    let text = if random.below(8) == 0 { format!("-{number}e{number}") } else { number.to_string() };
    input.splice(start..start + length, text.bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_repeat_and_stay_in_bounds() {
        let others = [b"{\"a\": 17}".to_vec(), Vec::new()];
        let changed = || {
            let (mut random, mut all) = (Random::new(7), Vec::new());
            for _ in 0..5000 {
                let mut input = others[random.below(2)].clone();
                change(&mut input, &others, &["word", ""], &mut random);
                assert!(input.len() <= LONGEST);
                all.push(input);
            }
            all
        };
        let all = changed();
        assert_eq!(all, changed());
        assert!(all.iter().collect::<std::collections::BTreeSet<_>>().len() > 1500);
    }
}
