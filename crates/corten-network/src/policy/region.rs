//! Sets of addresses as ranges. IPv4 and IPv6 addresses are numbers here, each family in a region of its own.

/// Ranges in order, none touching another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Region(Vec<(u128, u128)>);

/// The highest address of a family.
pub(crate) fn last(ipv6: bool) -> u128 {
    if ipv6 { u128::MAX } else { u128::from(u32::MAX) }
}

impl Region {
    /// Every address.
    pub(crate) fn all(ipv6: bool) -> Self {
        Self(vec![(0, last(ipv6))])
    }

    /// No address.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// From the first to the last, both in it; none where they stand the other way round.
    pub(crate) fn range(first: u128, last: u128) -> Self {
        if first <= last { Self(vec![(first, last)]) } else { Self::none() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn is_all(&self, ipv6: bool) -> bool {
        *self == Self::all(ipv6)
    }

    /// The ranges, first and last address.
    pub(crate) fn ranges(&self) -> &[(u128, u128)] {
        &self.0
    }

    /// What is in either.
    pub(crate) fn or(&self, other: &Self) -> Self {
        Self::of(self.0.iter().chain(&other.0).copied().collect())
    }

    /// What is in any of these ranges, none of which ends before it begins.
    pub(crate) fn of(mut all: Vec<(u128, u128)>) -> Self {
        all.sort_unstable();
        let mut joined: Vec<(u128, u128)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match joined.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = (*end).max(last),
                _ => joined.push((first, last)),
            }
        }
        Self(joined)
    }

    /// What is in both.
    pub(crate) fn and(&self, other: &Self) -> Self {
        let mut common = Vec::new();
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            let (first, last) = (a.0.max(b.0), a.1.min(b.1));
            if first <= last {
                common.push((first, last));
            }
            if a.1 <= b.1 {
                left.next()
            } else {
                right.next()
            };
        }
        Self(common)
    }

    /// What is not in it.
    pub(crate) fn not(&self, ipv6: bool) -> Self {
        let end = last(ipv6);
        let mut rest = Vec::with_capacity(self.0.len() + 1);
        let mut next = Some(0);
        for (first, last) in &self.0 {
            if let Some(from) = next.filter(|from| from < first) {
                rest.push((from, first - 1));
            }
            next = last.checked_add(1).filter(|from| *from <= end);
        }
        if let Some(from) = next {
            rest.push((from, end));
        }
        Self(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn region() -> impl Strategy<Value = Region> {
        prop::collection::vec((0_u128..40, 0_u128..6), 0..5).prop_map(|ranges| {
            ranges
                .into_iter()
                .fold(Region::none(), |all, (first, length)| all.or(&Region::range(first, first + length)))
        })
    }

    fn has(region: &Region, number: u128) -> bool {
        region.ranges().iter().any(|(first, last)| (*first..=*last).contains(&number))
    }

    proptest! {
        #[test]
        fn regions_are_sets(a in region(), b in region(), number in 0_u128..50) {
            prop_assert_eq!(has(&a.or(&b), number), has(&a, number) || has(&b, number));
            prop_assert_eq!(has(&a.and(&b), number), has(&a, number) && has(&b, number));
            prop_assert_eq!(has(&a.not(false), number), !has(&a, number));
            prop_assert_eq!(a.not(false).not(false), a.clone());
            prop_assert_eq!(a.or(&a.not(true)).is_all(true), true);
            prop_assert!(a.and(&a.not(true)).is_empty());
        }
    }
}
