//! Time zones, read as the system's database writes them (RFC 8536).

use crate::Timestamp;
use std::path::{Path, PathBuf};

/// Where the database lies.
const DATABASE: &str = "/usr/share/zoneinfo";

/// A time zone: what holds from when on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zone {
    /// Unix seconds and the index of what holds from then on, in order.
    changes: Vec<(i64, usize)>,
    kinds: Vec<Kind>,
    /// What holds after the last change.
    rule: Option<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Kind {
    /// Seconds east of Greenwich.
    offset: i64,
    name: String,
}

/// Standard and summer time by rule, as in `CET-1CEST,M3.5.0,M10.5.0/3`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    standard: Kind,
    summer: Option<(Kind, Day, Day)>,
}

/// A day of the year and a second of that day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Day {
    /// Month 1..=12, week 1..=5 (5: the last), weekday 0..=6 from Sunday.
    month: u32,
    week: u32,
    weekday: u32,
    second: i64,
}

impl Zone {
    /// The zone that `TZ` names in the notation of tzset(3), as far as it is a file of the database; without one the
    /// system's (`/etc/localtime`). What cannot be read counts as UTC.
    pub fn named(name: Option<&str>) -> Self {
        let path = match name {
            None => PathBuf::from("/etc/localtime"),
            Some(name) => match name.trim_start_matches(':') {
                "" => return Self::default(),
                name if name.starts_with('/') => PathBuf::from(name),
                name if name.split('/').any(|part| part == "..") => return Self::default(),
                name => Path::new(DATABASE).join(name),
            },
        };
        std::fs::read(path).ok().and_then(|bytes| Self::parse(&bytes)).unwrap_or_default()
    }

    /// A zone without changes: seconds east of Greenwich, and its short name.
    pub fn fixed(offset: i64, name: &str) -> Self {
        Self { kinds: vec![Kind { offset, name: name.to_owned() }], ..Self::default() }
    }

    /// Seconds east of Greenwich at a moment, and the zone's short name then.
    pub fn at(&self, moment: Timestamp) -> (i64, &str) {
        let seconds = moment.unix_seconds();
        let after = self.changes.partition_point(|(from, _)| *from <= seconds);
        let kind = if after == self.changes.len() && self.rule.is_some() {
            self.rule.as_ref().map(|rule| rule.at(seconds))
        } else if after == 0 {
            self.kinds.first()
        } else {
            self.changes.get(after - 1).and_then(|(_, kind)| self.kinds.get(*kind))
        };
        kind.map_or((0, "UTC"), |kind| (kind.offset, kind.name.as_str()))
    }

    /// The moment at which a clock of this zone shows what a clock in Greenwich shows at `shown`.
    pub fn moment(&self, shown: Timestamp) -> Timestamp {
        let shifted =
            |offset: i64| Timestamp::from_unix_nanos(shown.unix_nanos() - i128::from(offset) * 1_000_000_000);
        // The offset that holds then, not the one that holds at the shifted moment.
        let guess = shifted(self.at(shown).0);
        shifted(self.at(guess).0)
    }

    /// Reads a file of the database: its second part, with 64-bit times.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (_, first) = Counts::read(bytes)?;
        let second = bytes.get(44 + first.length(4)..)?;
        let (_, counts) = Counts::read(second)?;
        let body = second.get(44..)?;
        let (times, rest) = body.split_at_checked(counts.times * 8)?;
        let (indexes, rest) = rest.split_at_checked(counts.times)?;
        let (kinds, rest) = rest.split_at_checked(counts.kinds * 6)?;
        let (names, rest) = rest.split_at_checked(counts.letters)?;
        let footer = rest.get(counts.leaps * 12 + counts.standards + counts.universals..)?;
        let changes = times
            .chunks_exact(8)
            .zip(indexes)
            .filter_map(|(time, index)| {
                Some((i64::from_be_bytes(time.try_into().ok()?), usize::from(*index)))
            })
            .collect();
        let kinds = kinds
            .chunks_exact(6)
            .map(|kind| {
                let offset = i32::from_be_bytes([kind[0], kind[1], kind[2], kind[3]]);
                let name = names.get(usize::from(kind[5])..)?.split(|byte| *byte == 0).next()?;
                Some(Kind { offset: offset.into(), name: String::from_utf8_lossy(name).into_owned() })
            })
            .collect::<Option<Vec<_>>>()?;
        let rule = std::str::from_utf8(footer).ok().and_then(|text| Rule::parse(text.trim()));
        Some(Self { changes, kinds, rule })
    }
}

/// The numbers in the head of a part.
struct Counts {
    universals: usize,
    standards: usize,
    leaps: usize,
    times: usize,
    kinds: usize,
    letters: usize,
}

impl Counts {
    fn read(bytes: &[u8]) -> Option<(u8, Self)> {
        let head = bytes.get(..44).filter(|head| head.starts_with(b"TZif"))?;
        let number = |at: usize| {
            u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]).min(100_000) as usize
        };
        let counts = Self {
            universals: number(20),
            standards: number(24),
            leaps: number(28),
            times: number(32),
            kinds: number(36),
            letters: number(40),
        };
        Some((head[4], counts))
    }

    /// Length of the part behind its head, with times of so many bytes.
    fn length(&self, time: usize) -> usize {
        self.times * (time + 1)
            + self.kinds * 6
            + self.letters
            + self.leaps * (time + 4)
            + self.standards
            + self.universals
    }
}

impl Rule {
    fn parse(text: &str) -> Option<Self> {
        let (name, rest) = name(text)?;
        let (offset, rest) = time(rest)?;
        let standard = Kind { offset: -offset, name };
        if rest.is_empty() {
            return Some(Self { standard, summer: None });
        }
        let (name, rest) = self::name(rest)?;
        let (offset, rest) = if rest.starts_with(',') {
            (standard.offset + 3600, rest)
        } else {
            time(rest).map(|(offset, rest)| (-offset, rest))?
        };
        let (from, to) = rest.strip_prefix(',')?.split_once(',')?;
        let summer = Some((Kind { offset, name }, Day::parse(from)?, Day::parse(to)?));
        Some(Self { standard, summer })
    }

    fn at(&self, seconds: i64) -> &Kind {
        let Some((summer, from, to)) = &self.summer else { return &self.standard };
        let (year, ..) = Timestamp::from_unix(seconds + self.standard.offset, 0).civil();
        let begins = from.in_year(year) - self.standard.offset;
        let ends = to.in_year(year) - summer.offset;
        let is_summer = if begins < ends {
            (begins..ends).contains(&seconds)
        } else {
            !(ends..begins).contains(&seconds)
        };
        if is_summer { summer } else { &self.standard }
    }
}

impl Day {
    /// `Mmonth.week.weekday[/time]`; the other two forms of the standard are used by no zone of today.
    fn parse(text: &str) -> Option<Self> {
        let (day, at) = text.split_once('/').unwrap_or((text, "2"));
        let mut numbers = day.strip_prefix('M')?.split('.').map(str::parse::<u32>);
        let (month, week, weekday) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        let (second, _) = time(at)?;
        let fits = (1..=12).contains(&month) && (1..=5).contains(&week) && weekday < 7;
        fits.then_some(Self { month, week, weekday, second })
    }

    /// The moment in a year, as if the zone were UTC.
    fn in_year(self, year: i64) -> i64 {
        let first_of = |year: i64, month: u32| {
            Timestamp::parse(&format!("{year:04}-{month:02}-01T00:00:00Z")).map_or(0, Timestamp::unix_seconds)
                / 86400
        };
        let first = first_of(year, self.month);
        let next = if self.month == 12 { first_of(year + 1, 1) } else { first_of(year, self.month + 1) };
        // 1970-01-01 was a Thursday.
        let weekday = (first + 4).rem_euclid(7);
        let mut day =
            first + (i64::from(self.weekday) - weekday).rem_euclid(7) + i64::from(self.week - 1) * 7;
        while day >= next {
            day -= 7;
        }
        day * 86400 + self.second
    }
}

/// A zone's short name, plain or in angle brackets.
fn name(text: &str) -> Option<(String, &str)> {
    if let Some(rest) = text.strip_prefix('<') {
        let (name, rest) = rest.split_once('>')?;
        return Some((name.to_owned(), rest));
    }
    let end = text.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(text.len());
    (end > 0).then(|| (text[..end].to_owned(), &text[end..]))
}

/// `[+-]h[:m[:s]]` in seconds.
fn time(text: &str) -> Option<(i64, &str)> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = rest.find(|letter: char| !(letter.is_ascii_digit() || letter == ':')).unwrap_or(rest.len());
    let mut unit = 3600;
    let mut seconds = 0;
    for part in rest[..end].split(':') {
        seconds += part.parse::<i64>().ok()? * unit;
        unit /= 60;
    }
    Some((sign * seconds, &rest[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_know_summer_and_winter() {
        for (rule, moment, expected) in [
            ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-11-21T12:00:00Z", (3600, "CET")),
            ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-07-01T12:00:00Z", (7200, "CEST")),
            ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-03-29T00:59:59Z", (3600, "CET")),
            ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-03-29T01:00:00Z", (7200, "CEST")),
            ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-10-25T01:00:00Z", (3600, "CET")),
            ("EST5EDT,M3.2.0,M11.1.0", "2026-07-01T00:00:00Z", (-14400, "EDT")),
            ("AEST-10AEDT,M10.1.0,M4.1.0/3", "2026-01-01T00:00:00Z", (39600, "AEDT")),
            ("AEST-10AEDT,M10.1.0,M4.1.0/3", "2026-07-01T00:00:00Z", (36000, "AEST")),
            ("<+0530>-5:30", "2026-07-01T00:00:00Z", (19800, "+0530")),
        ] {
            let zone = Zone { rule: Rule::parse(rule), ..Zone::default() };
            assert_eq!(zone.at(Timestamp::parse(moment).unwrap()), expected, "{rule} {moment}");
        }
    }

    #[test]
    fn nonsense_is_utc() {
        assert_eq!(Zone::parse(b"TZif"), None);
        assert_eq!(Zone::parse(&[0; 100]), None);
        assert_eq!(Rule::parse("5"), None);
        assert_eq!(Zone::default().at(Timestamp::ZERO), (0, "UTC"));
    }

    #[test]
    fn a_file_is_read() {
        // Version 2, nothing in the first part; one change in the second.
        let mut file = b"TZif2".to_vec();
        file.extend([0; 39]);
        file.extend(b"TZif2");
        file.extend([0; 15]);
        for count in [0_u32, 0, 0, 1, 2, 8] {
            file.extend(count.to_be_bytes());
        }
        file.extend(1000_i64.to_be_bytes());
        file.push(1);
        for (offset, at) in [(0_i32, 0_u8), (3600, 4)] {
            file.extend(offset.to_be_bytes());
            file.extend([0, at]);
        }
        file.extend(b"LMT\0CET\0");
        file.extend(b"\n\n");
        let zone = Zone::parse(&file).unwrap();
        assert_eq!(zone.at(Timestamp::from_unix(999, 0)), (0, "LMT"));
        assert_eq!(zone.at(Timestamp::from_unix(1000, 0)), (3600, "CET"));
    }
}
