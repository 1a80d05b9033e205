//! Deflate (RFC 1951), as fast as it goes at the size that gzip's usual level gives: the first match is taken, two places
//! are tried for it, and each piece of 64 KiB gets codes of its own.

use super::bits::Bits;
use super::huffman::{LENGTH_BITS, codes, lengths};
use super::matches::{Finder, LONGEST, Match, WINDOW};

/// After so many bytes, or so many matches, other codes may be shorter.
const PIECE: usize = 64 << 10;
const MATCHES: usize = 8 << 10;
/// Where nothing matches for long, ever more positions are passed over: one more for so many, as a power of two.
const PATIENCE: u32 = 7;
/// Literals, the block's end, lengths.
const LITERALS: usize = 286;
const END: usize = 256;
const DISTANCES: usize = 30;
/// So that four of them fit behind seven waiting bits.
const LONGEST_LITERAL: usize = 14;
const LONGEST_DISTANCE: usize = 15;
/// The order in which the lengths of the lengths' codes stand.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
const LENGTH_BASE: [u16; 29] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195,
    227, 258,
];
const LENGTH_EXTRA: [u8; 29] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];

/// For each length, less 3, which of the 29 codes it has.
const LENGTH_SLOT: [u8; 256] = {
    let mut slots = [0; 256];
    let (mut length, mut slot) = (3, 0);
    while length <= LONGEST {
        while slot < 28 && length >= LENGTH_BASE[slot + 1] as usize {
            slot += 1;
        }
        slots[length - 3] = slot as u8;
        length += 1;
    }
    slots
};

/// Which of the 30 codes a distance has, its first value and how many extra bits tell the rest.
#[inline]
fn distance_slot(distance: usize) -> (usize, u32) {
    let less = (distance - 1) as u32;
    if less < 4 {
        return (less as usize, 0);
    }
    let extra = 30 - less.leading_zeros();
    ((2 * extra + 2 + (less >> extra & 1)) as usize, extra)
}

/// What is in a piece: bytes as they are, and matches.
struct Piece {
    /// Each match with the number of literals before it.
    matches: Vec<(u32, Match)>,
    literals: [u32; LITERALS],
    distances: [u32; DISTANCES],
}

impl Piece {
    fn clear(&mut self) {
        self.matches.clear();
        self.literals = [0; LITERALS];
        self.distances = [0; DISTANCES];
        self.literals[END] = 1;
    }

    fn count(&mut self, literals: &[u8]) {
        for byte in literals {
            self.literals[usize::from(*byte)] += 1;
        }
    }

    fn add(&mut self, literals: &[u8], found: Match) {
        self.count(literals);
        self.literals[END + 1 + usize::from(LENGTH_SLOT[found.length - 3])] += 1;
        self.distances[distance_slot(found.distance).0] += 1;
        self.matches.push((literals.len() as u32, found));
    }
}

/// Deflates `data` from `start` on; what lies before is the window. Without `is_last` the result ends on a byte's border, and
/// more may follow.
pub(super) fn deflate(data: &[u8], start: usize, is_last: bool) -> Vec<u8> {
    let mut finder = Finder::new();
    finder.pass(data, start.saturating_sub(WINDOW), start);
    let mut bits = Bits::new((data.len() - start) / 2 + 64);
    let mut piece =
        Piece { matches: Vec::with_capacity(MATCHES), literals: [0; LITERALS], distances: [0; DISTANCES] };
    let mut at = start;
    loop {
        let begin = at;
        let mut pending = at;
        let stop = (begin + PIECE).min(data.len());
        piece.clear();
        while at < stop && piece.matches.len() < MATCHES {
            let Some(found) = finder.find(data, at) else {
                at += 1 + ((at - pending) >> PATIENCE);
                continue;
            };
            piece.add(&data[pending..at], found);
            finder.pass(data, at + 1, at + found.length);
            at += found.length;
            pending = at;
        }
        at = at.min(data.len());
        piece.count(&data[pending..at]);
        let ends = at == data.len();
        write(&data[begin..at], &piece, ends && is_last, &mut bits);
        if ends {
            break;
        }
    }
    if !is_last {
        // An empty stored block goes to the border.
        bits.put(0, 3);
        bits.stored(&[]);
    }
    bits.finish()
}

/// Writes a piece as a block with codes of its own, or as it is where that is shorter.
fn write(data: &[u8], piece: &Piece, is_last: bool, bits: &mut Bits) {
    let literal_lengths = lengths(&piece.literals, LONGEST_LITERAL);
    let distance_lengths = lengths(&piece.distances, LONGEST_DISTANCE);
    let head = Head::new(&literal_lengths, &distance_lengths);
    let cost = head.cost() + body_cost(piece, &literal_lengths, &distance_lengths);
    let stored = data.len() as u64 + 5 * (data.len() as u64 / 0xffff + 1);
    if cost / 8 > stored {
        let mut rest = data;
        loop {
            let (chunk, after) = rest.split_at(rest.len().min(0xffff));
            bits.reserve(8);
            bits.put(u64::from(is_last && after.is_empty()), 3);
            bits.stored(chunk);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        return;
    }
    bits.reserve(cost as usize / 8 + 16);
    bits.put(u64::from(is_last) | 2 << 1, 3);
    head.write(bits);
    body(data, piece, &codes(&literal_lengths), &codes(&distance_lengths), bits);
}

/// Bits of a piece's content.
fn body_cost(piece: &Piece, literals: &[u8; LITERALS], distances: &[u8; DISTANCES]) -> u64 {
    let literal = |symbol: usize| {
        let extra = symbol.checked_sub(END + 1).map_or(0, |slot| LENGTH_EXTRA[slot]);
        u64::from(piece.literals[symbol]) * u64::from(literals[symbol] + extra)
    };
    let distance = |symbol: usize| {
        let extra = (symbol / 2).saturating_sub(1) as u64;
        u64::from(piece.distances[symbol]) * (u64::from(distances[symbol]) + extra)
    };
    (0..LITERALS).map(literal).sum::<u64>() + (0..DISTANCES).map(distance).sum::<u64>()
}

/// Writes a piece's content; there is room.
fn body(
    data: &[u8],
    piece: &Piece,
    literals: &[u32; LITERALS],
    distances: &[u32; DISTANCES],
    bits: &mut Bits,
) {
    // A length's code together with its extra bits.
    let mut whole = [0_u32; 256];
    for (less, whole) in whole.iter_mut().enumerate() {
        let slot = usize::from(LENGTH_SLOT[less]);
        let code = literals[END + 1 + slot];
        let (count, extra) = (code & 0xff, less as u32 + 3 - u32::from(LENGTH_BASE[slot]));
        *whole =
            (code >> LENGTH_BITS | extra << count) << LENGTH_BITS | (count + u32::from(LENGTH_EXTRA[slot]));
    }
    let mut rest = data;
    for (before, found) in &piece.matches {
        let (literal, after) = rest.split_at(*before as usize);
        put_literals(literal, literals, bits);
        put(whole[found.length - 3], bits);
        let (slot, extra) = distance_slot(found.distance);
        put(distances[slot], bits);
        bits.put((found.distance - 1) as u64 & ((1 << extra) - 1), extra);
        bits.flush();
        rest = &after[found.length..];
    }
    put_literals(rest, literals, bits);
    put(literals[END], bits);
    bits.flush();
}

#[inline]
fn put(code: u32, bits: &mut Bits) {
    bits.put(u64::from(code >> LENGTH_BITS), code & 0xff);
}

#[inline]
fn put_literals(bytes: &[u8], literals: &[u32; LITERALS], bits: &mut Bits) {
    for bytes in bytes.chunks(4) {
        for byte in bytes {
            put(literals[usize::from(*byte)], bits);
        }
        bits.flush();
    }
}

/// The codes' lengths as a block begins with them.
struct Head {
    literals: usize,
    distances: usize,
    /// Symbols of the lengths' own alphabet, each with its extra bits.
    symbols: Vec<(usize, u8)>,
    lengths: [u8; 19],
    /// How many of these are written.
    count: usize,
}

fn extra_of(symbol: usize) -> u32 {
    match symbol {
        16 => 2,
        17 => 3,
        18 => 7,
        _ => 0,
    }
}

impl Head {
    fn new(literal_lengths: &[u8; LITERALS], distance_lengths: &[u8; DISTANCES]) -> Self {
        let used = |lengths: &[u8], least| {
            lengths.iter().rposition(|length| *length > 0).map_or(0, |at| at + 1).max(least)
        };
        let (literals, distances) = (used(literal_lengths, END + 1), used(distance_lengths, 1));
        let all = [&literal_lengths[..literals], &distance_lengths[..distances]].concat();
        let mut symbols = Vec::with_capacity(all.len());
        for same in all.chunk_by(|one, next| one == next) {
            let (value, mut left) = (usize::from(same[0]), same.len());
            if value == 0 {
                while left >= 11 {
                    let now = left.min(138);
                    symbols.push((18, (now - 11) as u8));
                    left -= now;
                }
                if left >= 3 {
                    symbols.push((17, (left - 3) as u8));
                    left = 0;
                }
            } else {
                symbols.push((value, 0));
                left -= 1;
                while left >= 3 {
                    let now = left.min(6);
                    symbols.push((16, (now - 3) as u8));
                    left -= now;
                }
            }
            symbols.extend(std::iter::repeat_n((value, 0), left));
        }
        let mut frequencies = [0; 19];
        for (symbol, _) in &symbols {
            frequencies[*symbol] += 1;
        }
        let lengths = lengths(&frequencies, 7);
        let count = ORDER.iter().rposition(|symbol| lengths[*symbol] > 0).map_or(0, |at| at + 1).max(4);
        Self { literals, distances, symbols, lengths, count }
    }

    /// Bits, with the three that say what block it is.
    fn cost(&self) -> u64 {
        let symbol =
            |(symbol, _): &(usize, u8)| u64::from(self.lengths[*symbol]) + u64::from(extra_of(*symbol));
        3 + 14 + 3 * self.count as u64 + self.symbols.iter().map(symbol).sum::<u64>()
    }

    fn write(&self, bits: &mut Bits) {
        bits.put((self.literals - 257) as u64, 5);
        bits.put((self.distances - 1) as u64, 5);
        bits.put((self.count - 4) as u64, 4);
        for symbol in &ORDER[..self.count] {
            bits.flush();
            bits.put(u64::from(self.lengths[*symbol]), 3);
        }
        let codes = codes(&self.lengths);
        for (symbol, extra) in &self.symbols {
            bits.flush();
            put(codes[*symbol], bits);
            bits.put(u64::from(*extra), extra_of(*symbol));
        }
        bits.flush();
    }
}
