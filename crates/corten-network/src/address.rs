//! Subnets, the addresses given out of them, and the choice of a subnet that is free on this host.

use crate::settings::MacAddress;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 subnet; bits beyond the prefix are zero. Printed as `172.17.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Subnet {
    address: Ipv4Addr,
    prefix: u8,
}

/// A text or number that is no subnet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid subnet {text}: {reason}")]
pub struct SubnetError {
    /// What was given.
    pub text: String,
    /// What is wrong.
    pub reason: &'static str,
}

impl Subnet {
    /// The subnet that holds an address; `prefix` is at most 32.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Result<Self, SubnetError> {
        if prefix > 32 {
            return Err(SubnetError {
                text: format!("{address}/{prefix}"),
                reason: "the prefix has more than 32 bits",
            });
        }
        Ok(Self { address: Ipv4Addr::from(u32::from(address) & mask(prefix)), prefix })
    }

    /// Its first address, which names it.
    pub fn address(self) -> Ipv4Addr {
        self.address
    }

    /// Bits of the network part.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Its last address (broadcast).
    pub fn last(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) | !mask(self.prefix))
    }

    /// The first address that an interface can have.
    pub fn first_host(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address).saturating_add(u32::from(self.prefix < 31)))
    }

    /// Whether an address is inside.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == u32::from(self.address)
    }

    /// Whether an address is in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Subnet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |reason| SubnetError { text: text.to_owned(), reason };
        let (address, prefix) = text.split_once('/').ok_or_else(|| refuse("no prefix length"))?;
        let address = address.parse().map_err(|_| refuse("not an IPv4 address"))?;
        let prefix = prefix.parse().map_err(|_| refuse("not a prefix length"))?;
        Self::new(address, prefix)
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl TryFrom<String> for Subnet {
    type Error = SubnetError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The first of Docker's default subnets (172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/20 and the following) that
/// overlaps none of those to avoid: the host's routes and addresses and the networks that exist. A default route is no
/// reason to avoid anything; leave it out.
pub fn choose_subnet(avoid: &[Subnet]) -> Option<Subnet> {
    let large = (17..=31).map(|second| (Ipv4Addr::new(172, second, 0, 0), 16));
    let small = (0..16).map(|index| (Ipv4Addr::new(192, 168, index * 16, 0), 20));
    large
        .chain(small)
        .map(|(address, prefix)| Subnet { address, prefix })
        .find(|candidate| !avoid.iter().any(|subnet| subnet.overlaps(*candidate)))
}

/// The hardware address that Docker derives from an IPv4 address: `02:42` and its four bytes.
pub fn mac_of(address: Ipv4Addr) -> MacAddress {
    let [a, b, c, d] = address.octets();
    MacAddress([0x02, 0x42, a, b, c, d])
}

/// Why an address cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressRefusal {
    /// Used already, or network, broadcast or gateway address.
    Taken,
    /// Not in the subnet.
    Outside,
    /// None is left.
    Exhausted,
}

/// Which addresses of a subnet are used: one bit each. The lowest free one of the range is given out first, as Docker
/// does, so that a lone container has the same address every time.
#[derive(Debug)]
pub(crate) struct AddressPool {
    subnet: Subnet,
    range: Subnet,
    /// Bit `n` is the subnet's address `n`; grows as far as addresses are used.
    used: Vec<u64>,
    /// Below this offset into the range nothing is free.
    low: u32,
}

impl AddressPool {
    /// All free but the subnet's own, the broadcast and the gateway address.
    pub(crate) fn new(subnet: Subnet, range: Option<Subnet>, gateway: Ipv4Addr) -> Self {
        let range = range
            .filter(|range| subnet.contains(range.address) && range.prefix >= subnet.prefix)
            .unwrap_or(subnet);
        let mut pool = Self { subnet, range, used: Vec::new(), low: 0 };
        if subnet.prefix < 31 {
            pool.set(0);
            // Not set as a bit: it would make the bitmap as long as the subnet.
        }
        if subnet.contains(gateway) {
            pool.set(u32::from(gateway) - u32::from(subnet.address));
        }
        pool
    }

    fn last_offset(&self) -> u32 {
        let size = u32::from(self.subnet.last()) - u32::from(self.subnet.address);
        if self.subnet.prefix < 31 { size - 1 } else { size }
    }

    fn get(&self, offset: u32) -> bool {
        self.used.get(offset as usize / 64).is_some_and(|word| word & (1 << (offset % 64)) != 0)
    }

    fn set(&mut self, offset: u32) {
        let index = offset as usize / 64;
        if self.used.len() <= index {
            self.used.resize(index + 1, 0);
        }
        self.used[index] |= 1 << (offset % 64);
    }

    /// The lowest free address.
    pub(crate) fn allocate(&mut self) -> Result<Ipv4Addr, AddressRefusal> {
        let base = u32::from(self.range.address) - u32::from(self.subnet.address);
        let end = (u32::from(self.range.last()) - u32::from(self.subnet.address)).min(self.last_offset());
        let mut offset = base.saturating_add(self.low);
        while offset <= end {
            // A whole word of used addresses is skipped at once.
            if offset.is_multiple_of(64) && self.used.get(offset as usize / 64) == Some(&u64::MAX) {
                offset += 64;
                continue;
            }
            if !self.get(offset) {
                self.set(offset);
                self.low = offset - base + 1;
                return Ok(Ipv4Addr::from(u32::from(self.subnet.address) + offset));
            }
            offset += 1;
        }
        Err(AddressRefusal::Exhausted)
    }

    /// Takes one address.
    pub(crate) fn take(&mut self, address: Ipv4Addr) -> Result<(), AddressRefusal> {
        if !self.subnet.contains(address) {
            return Err(AddressRefusal::Outside);
        }
        let offset = u32::from(address) - u32::from(self.subnet.address);
        if offset > self.last_offset() || self.get(offset) {
            return Err(AddressRefusal::Taken);
        }
        self.set(offset);
        Ok(())
    }

    /// Gives one back; what was not used stays unused.
    pub(crate) fn release(&mut self, address: Ipv4Addr) {
        if !self.subnet.contains(address) {
            return;
        }
        let offset = u32::from(address) - u32::from(self.subnet.address);
        if let Some(word) = self.used.get_mut(offset as usize / 64) {
            *word &= !(1 << (offset % 64));
        }
        let base = u32::from(self.range.address) - u32::from(self.subnet.address);
        if offset >= base {
            self.low = self.low.min(offset - base);
        }
    }

    /// How many addresses can be given out at most, used or not.
    pub(crate) fn capacity(&self) -> u32 {
        (u32::from(self.range.last()) - u32::from(self.range.address)).saturating_sub(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn subnets_parse_contain_and_overlap() {
        assert_eq!(subnet("10.1.2.3/16").to_string(), "10.1.0.0/16");
        assert_eq!(subnet("0.0.0.0/0").last(), Ipv4Addr::BROADCAST);
        assert!(subnet("10.0.0.0/8").overlaps(subnet("10.9.0.0/16")));
        assert!(subnet("10.9.0.0/16").overlaps(subnet("10.0.0.0/8")));
        assert!(!subnet("10.9.0.0/16").overlaps(subnet("10.8.0.0/16")));
        for text in ["10.0.0.0", "10.0.0.0/33", "10.0.0/8", "::/0", "10.0.0.0/-1", ""] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_chosen_subnet_is_free() {
        assert_eq!(choose_subnet(&[]), Some(subnet("172.17.0.0/16")));
        assert_eq!(
            choose_subnet(&[subnet("172.17.3.0/24"), subnet("172.18.0.0/15")]),
            Some(subnet("172.20.0.0/16"))
        );
        assert_eq!(choose_subnet(&[subnet("172.16.0.0/12")]), Some(subnet("192.168.0.0/20")));
        assert_eq!(choose_subnet(&[subnet("0.0.0.0/0")]), None);
    }

    #[test]
    fn addresses_are_given_lowest_first_and_come_back() {
        let mut pool = AddressPool::new(subnet("10.0.0.0/29"), None, Ipv4Addr::new(10, 0, 0, 1));
        let all: Vec<_> = (0..5).map(|_| pool.allocate().unwrap().octets()[3]).collect();
        assert_eq!(all, [2, 3, 4, 5, 6]);
        assert_eq!(pool.allocate(), Err(AddressRefusal::Exhausted));
        pool.release(Ipv4Addr::new(10, 0, 0, 4));
        pool.release(Ipv4Addr::new(10, 0, 0, 3));
        assert_eq!(pool.allocate(), Ok(Ipv4Addr::new(10, 0, 0, 3)));
        assert_eq!(pool.take(Ipv4Addr::new(10, 0, 0, 4)), Ok(()));
        for (address, refusal) in [
            ([10, 0, 0, 4], AddressRefusal::Taken),
            ([10, 0, 0, 0], AddressRefusal::Taken),
            ([10, 0, 0, 1], AddressRefusal::Taken),
            ([10, 0, 0, 7], AddressRefusal::Taken),
            ([10, 0, 0, 8], AddressRefusal::Outside),
        ] {
            assert_eq!(pool.take(address.into()), Err(refusal), "{address:?}");
        }
    }

    #[test]
    fn a_range_limits_what_is_given_but_not_what_is_asked_for() {
        let gateway = Ipv4Addr::new(10, 123, 5, 254);
        let mut pool = AddressPool::new(subnet("10.123.0.0/16"), Some(subnet("10.123.5.0/30")), gateway);
        let given: Vec<_> =
            std::iter::from_fn(|| pool.allocate().ok()).map(|address| address.octets()[3]).collect();
        assert_eq!(given, [0, 1, 2, 3]);
        assert_eq!(pool.take(Ipv4Addr::new(10, 123, 9, 9)), Ok(()));
        assert_eq!(pool.take(gateway), Err(AddressRefusal::Taken));
    }

    #[test]
    fn hardware_addresses_follow_the_address() {
        assert_eq!(mac_of(Ipv4Addr::new(172, 17, 0, 2)).to_string(), "02:42:ac:11:00:02");
    }
}
