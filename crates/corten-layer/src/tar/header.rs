//! One 512-byte header block, and the text of PAX records.

use super::{BLOCK, Entry, EntryKind, Time};

/// A header block as bytes.
pub(super) type Block = [u8; BLOCK];

/// Reads one header block whose checksum is yet to be checked.
///
/// # Errors
/// What is wrong with the block.
pub(super) fn parse(block: &Block) -> Result<Entry, &'static str> {
    check_sum(block)?;
    let magic = &block[257..265];
    let posix = &magic[..6] == b"ustar\0";
    let star = posix && &block[508..512] == b"tar\0";
    let mut path = text(&block[..100]).to_vec();
    if posix {
        // star keeps times where ustar has the end of the prefix.
        let prefix = text(if star { &block[345..476] } else { &block[345..500] });
        if !prefix.is_empty() {
            path = [prefix, b"/", &path].concat();
        }
    }
    let kind = match block[156] {
        0 if path.ends_with(b"/") => EntryKind::Directory,
        b'0' | 0 | b'7' => EntryKind::File,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::CharacterDevice,
        b'4' => EntryKind::BlockDevice,
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        b'g' => EntryKind::GlobalHeader,
        other => EntryKind::Other(other),
    };
    let unsigned = |range: std::ops::Range<usize>, reason| {
        number(&block[range]).and_then(|number| u64::try_from(number).ok()).ok_or(reason)
    };
    let device = if matches!(kind, EntryKind::CharacterDevice | EntryKind::BlockDevice) {
        let part = |range| u32::try_from(unsigned(range, "device number")?).map_err(|_| "device number");
        (part(329..337)?, part(337..345)?)
    } else {
        (0, 0)
    };
    Ok(Entry {
        kind,
        link: text(&block[157..257]).to_vec(),
        mode: (unsigned(100..108, "mode")? & 0o7777) as u32,
        uid: unsigned(108..116, "user number")?,
        gid: unsigned(116..124, "group number")?,
        size: unsigned(124..136, "size")?,
        mtime: Time { seconds: number(&block[136..148]).ok_or("time")?, nanoseconds: 0 },
        atime: None,
        device,
        xattrs: Vec::new(),
        path,
    })
}

/// The sum of a block's bytes with the sum's own field as spaces.
pub(super) fn sum(block: &Block) -> u32 {
    block.iter().map(|&byte| u32::from(byte)).sum::<u32>()
        - block[148..156].iter().map(|&byte| u32::from(byte)).sum::<u32>()
        + 8 * u32::from(b' ')
}

fn check_sum(block: &Block) -> Result<(), &'static str> {
    let wanted = number(&block[148..156]).ok_or("checksum field")?;
    if i64::from(sum(block)) == wanted {
        return Ok(());
    }
    // Some old programs summed signed bytes.
    let signed: i64 = block
        .iter()
        .enumerate()
        .filter(|(index, _)| !(148..156).contains(index))
        .map(|(_, &byte)| i64::from(byte as i8))
        .sum();
    if signed + 8 * i64::from(b' ') == wanted { Ok(()) } else { Err("the checksum does not fit") }
}

/// Bytes up to the first zero.
pub(super) fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|&byte| byte == 0).unwrap_or(field.len())]
}

/// A number: octal text, or base-256 where the first bit is set.
fn number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let mut value: i64 = if negative { -1 } else { 0 };
        for (index, &byte) in field.iter().enumerate() {
            let byte = if index == 0 { if negative { byte | 0x80 } else { byte & 0x7f } } else { byte };
            if (value >> 55) != if negative { -1 } else { 0 } {
                return None;
            }
            value = (value << 8) | i64::from(byte);
        }
        return Some(value);
    }
    let trimmed = text(trim(field, |byte| byte == b' ' || byte == 0));
    let trimmed = trim(trimmed, |byte| byte == b' ');
    let mut value: i64 = 0;
    for &byte in trimmed {
        if !(b'0'..=b'7').contains(&byte) {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(i64::from(byte - b'0'))?;
    }
    Some(value)
}

fn trim(mut field: &[u8], unwanted: impl Fn(u8) -> bool) -> &[u8] {
    while let [first, rest @ ..] = field
        && unwanted(*first)
    {
        field = rest;
    }
    while let [rest @ .., last] = field
        && unwanted(*last)
    {
        field = rest;
    }
    field
}

/// Puts the records of a PAX header (`LENGTH KEY=VALUE\n` each) over an entry.
///
/// # Errors
/// What is wrong with the records.
pub(super) fn apply_pax(entry: &mut Entry, mut records: &[u8]) -> Result<(), &'static str> {
    while !records.is_empty() {
        let (key, value, rest) = pax_record(records)?;
        records = rest;
        if key.starts_with(b"GNU.sparse.") {
            entry.kind = EntryKind::Other(b'S');
        } else if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            entry.xattrs.retain(|(existing, _)| existing != name);
            entry.xattrs.push((name.to_vec(), value.to_vec()));
        }
        if value.is_empty() {
            // An empty value withdraws the record: the header block's stays.
            continue;
        }
        match key {
            b"path" | b"linkpath" if value.contains(&0) => return Err("a PAX name holds a zero byte"),
            b"path" => entry.path = value.to_vec(),
            b"linkpath" => entry.link = value.to_vec(),
            b"size" => entry.size = decimal(value).ok_or("PAX size")?,
            b"uid" => entry.uid = decimal(value).ok_or("PAX uid")?,
            b"gid" => entry.gid = decimal(value).ok_or("PAX gid")?,
            b"mtime" => entry.mtime = pax_time(value).ok_or("PAX mtime")?,
            b"atime" => entry.atime = Some(pax_time(value).ok_or("PAX atime")?),
            _ => {}
        }
    }
    Ok(())
}

/// Key, value, and the records after it.
type PaxRecord<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// The first record's key and value, and what follows it.
fn pax_record(records: &[u8]) -> Result<PaxRecord<'_>, &'static str> {
    const WRONG: &str = "PAX record";
    let space = records.iter().take(20).position(|&byte| byte == b' ').ok_or(WRONG)?;
    let length = usize::try_from(decimal(&records[..space]).ok_or(WRONG)?).map_err(|_| WRONG)?;
    if length <= space + 1 || length > records.len() || records[length - 1] != b'\n' {
        return Err(WRONG);
    }
    let body = &records[space + 1..length - 1];
    let equals = body.iter().position(|&byte| byte == b'=').ok_or(WRONG)?;
    if equals == 0 {
        return Err(WRONG);
    }
    Ok((&body[..equals], &body[equals + 1..], &records[length..]))
}

fn decimal(value: &[u8]) -> Option<u64> {
    // Sizes and owners stay in the range that a signed number has, as everywhere else.
    let number: u64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    (!value.starts_with(b"+") && i64::try_from(number).is_ok()).then_some(number)
}

/// `-12.34` as whole seconds rounded down and the rest.
fn pax_time(value: &[u8]) -> Option<Time> {
    let value = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some(Time { seconds: seconds.checked_sub(1)?, nanoseconds: 1_000_000_000 - nanoseconds });
    }
    Some(Time { seconds, nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"0000648\0"), None);
        assert_eq!(number(b"\x80\0\0\0\0\0\0\x01\0\0\0\0"), Some(1 << 32));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), Some(-1));
        assert_eq!(number(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None);
    }

    #[test]
    fn times_of_pax_round_down() {
        let time = |text: &str| pax_time(text.as_bytes()).map(|time| (time.seconds, time.nanoseconds));
        assert_eq!(time("1350244992.023960108"), Some((1_350_244_992, 23_960_108)));
        assert_eq!(time("1.5"), Some((1, 500_000_000)));
        assert_eq!(time("-1.5"), Some((-2, 500_000_000)));
        assert_eq!(time("-0.5"), Some((-1, 500_000_000)));
        assert_eq!(time("7"), Some((7, 0)));
        assert_eq!(time("1.0000000009"), Some((1, 0)));
        assert_eq!(time("a"), None);
        assert_eq!(time("1.x"), None);
    }

    #[test]
    fn pax_records_are_checked() {
        let mut entry = Entry::default();
        apply_pax(&mut entry, b"16 path=some/ab\n22 SCHILY.xattr.u.a=1\n").unwrap();
        assert_eq!((entry.path.as_slice(), entry.xattrs.len()), (&b"some/ab"[..], 1));
        for wrong in [&b"9 path=a"[..], b"99 path=a\n", b"x path=a\n", b"5 =a\n", b"3 a\n", b"10 path=a\0\n"]
        {
            assert!(apply_pax(&mut Entry::default(), wrong).is_err(), "{wrong:?}");
        }
    }
}
