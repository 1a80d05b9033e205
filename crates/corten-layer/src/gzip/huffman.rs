//! Huffman codes as deflate wants them (RFC 1951 section 3.2.2): canonical, of limited length.

/// A code is kept as its bits, the first lowest, above a byte with their number.
pub(super) const LENGTH_BITS: u32 = 8;

/// How long each symbol's code is: short for those that are frequent, none for those that do not occur, never more than
/// `limit` bits. Two symbols at least get one, since some readers refuse a lone code.
pub(super) fn lengths<const SYMBOLS: usize>(frequencies: &[u32; SYMBOLS], limit: usize) -> [u8; SYMBOLS] {
    let mut lengths = [0; SYMBOLS];
    let mut used: Vec<(u32, usize)> = (0..SYMBOLS).map(|symbol| (frequencies[symbol], symbol)).collect();
    used.retain(|(frequency, _)| *frequency > 0);
    if used.len() < 2 {
        let only = used.first().map_or(0, |(_, symbol)| *symbol);
        lengths[only] = 1;
        lengths[usize::from(only == 0)] = 1;
        return lengths;
    }
    used.sort_unstable();
    // Two queues: the leaves by frequency, and the nodes, which come into being by frequency as well.
    let leaves = used.len();
    let mut parent = vec![0; 2 * leaves - 1];
    let mut weight: Vec<u64> = used.iter().map(|(frequency, _)| u64::from(*frequency)).collect();
    let (mut leaf, mut node) = (0, leaves);
    for made in leaves..parent.len() {
        let mut sum = 0;
        for _ in 0..2 {
            let takes_leaf = leaf < leaves && (node >= made || weight[leaf] <= weight[node]);
            let next = if takes_leaf { &mut leaf } else { &mut node };
            parent[*next] = made;
            sum += weight[*next];
            *next += 1;
        }
        weight.push(sum);
    }
    // How deep each node lies, from the root down; leaves that lie too deep count as at the limit.
    let mut depth = vec![0_usize; parent.len()];
    let mut count = vec![0_usize; limit + 1];
    for at in (0..parent.len() - 1).rev() {
        depth[at] = depth[parent[at]] + 1;
        if at < leaves {
            count[depth[at].min(limit)] += 1;
        }
    }
    // Then there may be more codes than fit: a leaf higher up goes one down, and one from the bottom comes beside it.
    let mut total: usize = (1..=limit).map(|length| count[length] << (limit - length)).sum();
    while total > 1 << limit {
        let Some(above) = (1..limit).rev().find(|length| count[*length] > 0) else { break };
        count[limit] -= 1;
        count[above] -= 1;
        count[above + 1] += 2;
        total -= 1;
    }
    let longest_first = (1..=limit).rev().flat_map(|length| std::iter::repeat_n(length as u8, count[length]));
    for ((_, symbol), length) in used.iter().zip(longest_first) {
        lengths[*symbol] = length;
    }
    lengths
}

/// The codes that belong to `lengths`.
pub(super) fn codes<const SYMBOLS: usize>(lengths: &[u8; SYMBOLS]) -> [u32; SYMBOLS] {
    let mut count = [0_u32; 17];
    for length in lengths.iter().filter(|length| **length > 0) {
        count[usize::from(*length) + 1] += 1;
    }
    let mut next = [0_u32; 17];
    for length in 1..17 {
        next[length] = (next[length - 1] + count[length]) << 1;
    }
    lengths.map(|length| {
        if length == 0 {
            return 0;
        }
        let code = &mut next[usize::from(length)];
        let bits = code.reverse_bits() >> (32 - u32::from(length));
        *code += 1;
        bits << LENGTH_BITS | u32::from(length)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much of all that `limit` bits can say is taken.
    fn taken(lengths: &[u8], limit: usize) -> usize {
        lengths.iter().filter(|length| **length > 0).map(|length| 1 << (limit - usize::from(*length))).sum()
    }

    #[test]
    fn frequent_symbols_get_short_codes_and_none_is_over_the_limit() {
        assert_eq!(lengths(&[1, 1, 2, 4, 0], 14), [3, 3, 2, 1, 0]);
        // Fibonacci's numbers make the deepest tree there is.
        let mut frequencies = [1_u32; 40];
        for at in 2..40 {
            frequencies[at] = frequencies[at - 1] + frequencies[at - 2];
        }
        for limit in [6, 7, 14, 15] {
            let lengths = lengths(&frequencies, limit);
            assert!(lengths.iter().all(|length| (1..=limit).contains(&usize::from(*length))));
            assert_eq!(taken(&lengths, limit), 1 << limit, "{limit}");
            assert!(lengths.is_sorted_by(|rarer, commoner| rarer >= commoner));
        }
    }

    #[test]
    fn one_symbol_and_none_are_codes_too() {
        assert_eq!(lengths(&[0, 0, 0], 15), [1, 1, 0]);
        assert_eq!(lengths(&[9, 0, 0], 15), [1, 1, 0]);
        assert_eq!(lengths(&[0, 0, 9], 15), [1, 0, 1]);
    }

    #[test]
    fn the_codes_are_those_of_the_standard() {
        // The example of RFC 1951, read from its last bit.
        let read: Vec<String> = codes(&[3, 3, 3, 3, 3, 2, 4, 4])
            .iter()
            .map(|code| {
                let length = code & 0xff;
                (0..length).map(|bit| if code >> LENGTH_BITS >> bit & 1 == 1 { '1' } else { '0' }).collect()
            })
            .collect();
        assert_eq!(read, ["010", "011", "100", "101", "110", "00", "1110", "1111"]);
    }
}
