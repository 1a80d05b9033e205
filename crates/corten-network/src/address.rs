//! Subnets, the addresses given out of them, and the choice of a subnet that is free on this host.

use crate::settings::MacAddress;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A subnet of either family; bits beyond the prefix are zero. Printed as `172.17.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Subnet {
    address: IpAddr,
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
    /// The subnet that holds an address; `prefix` is at most 32, of IPv6 128.
    pub fn new(address: impl Into<IpAddr>, prefix: u8) -> Result<Self, SubnetError> {
        let address = address.into();
        if prefix > width(address) {
            let reason = "the prefix has more bits than an address";
            return Err(SubnetError { text: format!("{address}/{prefix}"), reason });
        }
        let mut this = Self { address, prefix };
        this.address = this.at(0);
        Ok(this)
    }

    /// Its first address, which names it.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// Bits of the network part.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether it is one of IPv4.
    pub fn is_ipv4(self) -> bool {
        self.address.is_ipv4()
    }

    /// Its last address (of IPv4: broadcast).
    pub fn last(self) -> IpAddr {
        self.at(self.size())
    }

    /// The first address that an interface can have.
    pub fn first_host(self) -> IpAddr {
        self.at(u128::from(self.first_is_its_own()))
    }

    /// Whether an address is inside.
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_ipv4() && bits(address) & !self.size() == bits(self.address)
    }

    /// Whether an address is in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// The address with this place.
    fn at(self, offset: u128) -> IpAddr {
        address_of(self.is_ipv4(), bits(self.address) & !self.size() | offset & self.size())
    }

    /// The place of an address that is inside.
    fn offset(self, address: IpAddr) -> u128 {
        bits(address) & self.size()
    }

    /// The greatest place, which is also the mask of the host part.
    fn size(self) -> u128 {
        let host_bits = u32::from(width(self.address) - self.prefix);
        1_u128.checked_shl(host_bits).map_or(u128::MAX, |size| size - 1)
    }

    /// Whether the first address stands for the subnet itself or its routers.
    fn first_is_its_own(self) -> bool {
        self.prefix + 1 < width(self.address)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn address_of(ipv4: bool, bits: u128) -> IpAddr {
    if ipv4 { IpAddr::V4(Ipv4Addr::from(bits as u32)) } else { IpAddr::V6(Ipv6Addr::from(bits)) }
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
        let address: IpAddr = address.parse().map_err(|_| refuse("not an IP address"))?;
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

/// A range that is cut into equal subnets for networks that name none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetPool {
    /// The whole.
    pub base: Subnet,
    /// Bits of each subnet.
    pub size: u8,
}

impl SubnetPool {
    /// Docker's pools of IPv4, and behind them the private 10.0.0.0/8 in small pieces, so that there is no end at 31.
    pub fn defaults() -> Vec<Self> {
        let pool =
            |address: [u8; 4], prefix, size| Self { base: Subnet { address: address.into(), prefix }, size };
        let large = (17..=31).map(|second| pool([172, second, 0, 0], 16, 16));
        large.chain([pool([192, 168, 0, 0], 16, 20), pool([10, 0, 0, 0], 8, 24)]).collect()
    }

    /// The range of private IPv6 addresses that belongs to one installation, told by random digits of its own.
    pub fn private_ipv6(digits: &str) -> Self {
        let unique = u128::from_str_radix(digits.get(..10).unwrap_or_default(), 16).unwrap_or(0);
        let address = IpAddr::V6(Ipv6Addr::from(0xfd << 120 | unique << 80));
        Self { base: Subnet { address, prefix: 48 }, size: 64 }
    }

    /// Its first subnet that overlaps none of those to avoid, which are sorted.
    fn choose(self, avoid: &[Subnet]) -> Option<Subnet> {
        let step = Subnet::new(self.base.address, self.size).ok()?.size() + 1;
        let mut first = bits(self.base.address);
        for other in avoid.iter().filter(|other| other.overlaps(self.base)) {
            if bits(other.address) >= first.checked_add(step)? {
                break;
            }
            if bits(other.last()) >= first {
                first = bits(other.last()).checked_add(1)?.next_multiple_of(step);
            }
        }
        let last = first.checked_add(step - 1)?;
        (last <= bits(self.base.last()))
            .then(|| Subnet { address: address_of(self.base.is_ipv4(), first), prefix: self.size })
    }
}

/// The first subnet of the pools that overlaps none of those to avoid: the host's routes and addresses and the networks
/// that exist. A default route is no reason to avoid anything; leave it out.
pub fn choose_subnet(pools: &[SubnetPool], avoid: &[Subnet]) -> Option<Subnet> {
    let mut avoid = avoid.to_vec();
    avoid.sort_unstable();
    pools.iter().find_map(|pool| pool.choose(&avoid))
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

/// Which addresses of a subnet are used, by their place in it. The lowest free one of the range is given out first, as
/// Docker does, so that a lone container has the same address every time.
#[derive(Debug)]
pub(crate) struct AddressPool {
    subnet: Subnet,
    range: Subnet,
    used: BTreeSet<u128>,
    /// Below this place in the subnet nothing of the range is free.
    low: u128,
}

impl AddressPool {
    /// All free but the subnet's own, the broadcast and the reserved addresses.
    pub(crate) fn new(
        subnet: Subnet,
        range: Option<Subnet>,
        reserved: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        let range = range
            .filter(|range| subnet.contains(range.address) && range.prefix >= subnet.prefix)
            .unwrap_or(subnet);
        let mut used = BTreeSet::new();
        if subnet.first_is_its_own() {
            used.insert(0);
        }
        let reserved = reserved.into_iter().filter(|address| subnet.contains(*address));
        used.extend(reserved.map(|address| subnet.offset(address)));
        Self { subnet, range, used, low: subnet.offset(range.address) }
    }

    /// Its subnet.
    pub(crate) fn subnet(&self) -> Subnet {
        self.subnet
    }

    fn last_offset(&self) -> u128 {
        let broadcast = self.subnet.is_ipv4() && self.subnet.prefix < 31;
        self.subnet.size() - u128::from(broadcast)
    }

    /// The lowest free address.
    pub(crate) fn allocate(&mut self) -> Result<IpAddr, AddressRefusal> {
        let end = self.subnet.offset(self.range.last()).min(self.last_offset());
        let mut offset = self.low;
        for used in self.used.range(self.low..) {
            if *used != offset {
                break;
            }
            offset += 1;
        }
        if offset > end {
            return Err(AddressRefusal::Exhausted);
        }
        self.used.insert(offset);
        self.low = offset + 1;
        Ok(self.subnet.at(offset))
    }

    /// Takes one address.
    pub(crate) fn take(&mut self, address: IpAddr) -> Result<(), AddressRefusal> {
        if !self.subnet.contains(address) {
            return Err(AddressRefusal::Outside);
        }
        let offset = self.subnet.offset(address);
        if offset > self.last_offset() || !self.used.insert(offset) {
            return Err(AddressRefusal::Taken);
        }
        Ok(())
    }

    /// Gives one back; what was not used stays unused.
    pub(crate) fn release(&mut self, address: IpAddr) {
        if !self.subnet.contains(address) {
            return;
        }
        let offset = self.subnet.offset(address);
        self.used.remove(&offset);
        if offset >= self.subnet.offset(self.range.address) {
            self.low = self.low.min(offset);
        }
    }

    /// How many addresses can be given out at most, used or not.
    pub(crate) fn capacity(&self) -> usize {
        usize::try_from(self.range.size().saturating_sub(2)).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn subnets_parse_contain_and_overlap() {
        assert_eq!(subnet("10.1.2.3/16").to_string(), "10.1.0.0/16");
        assert_eq!(subnet("fd00:1::2/64").to_string(), "fd00:1::/64");
        assert_eq!(subnet("0.0.0.0/0").last(), Ipv4Addr::BROADCAST);
        assert_eq!(subnet("::/0").last(), address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
        assert_eq!(subnet("10.0.0.8/31").first_host(), address("10.0.0.8"));
        assert!(subnet("10.0.0.0/8").overlaps(subnet("10.9.0.0/16")));
        assert!(subnet("10.9.0.0/16").overlaps(subnet("10.0.0.0/8")));
        assert!(!subnet("10.9.0.0/16").overlaps(subnet("10.8.0.0/16")));
        assert!(!subnet("0.0.0.0/0").overlaps(subnet("::/0")));
        for text in ["10.0.0.0", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/-1", ""] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_chosen_subnet_is_free() {
        let choose = |avoid: &[&str]| {
            let avoid: Vec<_> = avoid.iter().map(|text| subnet(text)).collect();
            choose_subnet(&SubnetPool::defaults(), &avoid).map(|found| found.to_string())
        };
        assert_eq!(choose(&[]).as_deref(), Some("172.17.0.0/16"));
        assert_eq!(choose(&["172.17.3.0/24", "172.18.0.0/15"]).as_deref(), Some("172.20.0.0/16"));
        assert_eq!(choose(&["172.16.0.0/12"]).as_deref(), Some("192.168.0.0/20"));
        assert_eq!(choose(&["172.16.0.0/12", "192.168.0.0/17"]).as_deref(), Some("192.168.128.0/20"));
        assert_eq!(
            choose(&["172.16.0.0/12", "192.168.0.0/16", "10.0.0.0/9"]).as_deref(),
            Some("10.128.0.0/24")
        );
        assert_eq!(choose(&["0.0.0.0/0"]), None);
    }

    #[test]
    fn there_are_thousands_of_subnets() {
        let mut taken = Vec::new();
        for _ in 0..1000 {
            let next = choose_subnet(&SubnetPool::defaults(), &taken).unwrap();
            assert!(!taken.iter().any(|other: &Subnet| other.overlaps(next)));
            taken.push(next);
        }
    }

    #[test]
    fn private_ipv6_subnets_follow_each_other() {
        let pool = SubnetPool::private_ipv6("0123456789abcdef");
        assert_eq!(pool.base.to_string(), "fd01:2345:6789::/48");
        let first = choose_subnet(&[pool], &[]).unwrap();
        assert_eq!(first.to_string(), "fd01:2345:6789::/64");
        assert_eq!(choose_subnet(&[pool], &[first]).unwrap().to_string(), "fd01:2345:6789:1::/64");
    }

    #[test]
    fn addresses_are_given_lowest_first_and_come_back() {
        let last = |address: Result<IpAddr, AddressRefusal>| match address.unwrap() {
            IpAddr::V4(address) => u16::from(address.octets()[3]),
            IpAddr::V6(address) => address.segments()[7],
        };
        for (text, gateway, count) in [("10.0.0.0/29", "10.0.0.1", 5), ("fd00::/125", "fd00::1", 6)] {
            let mut pool = AddressPool::new(subnet(text), None, [address(gateway)]);
            let all: Vec<_> = (0..count).map(|_| last(pool.allocate())).collect();
            assert_eq!(all, (2..2 + count).collect::<Vec<_>>());
            assert_eq!(pool.allocate(), Err(AddressRefusal::Exhausted));
            let at = |offset| pool.subnet.at(offset);
            let (three, four) = (at(3), at(4));
            pool.release(four);
            pool.release(three);
            assert_eq!(pool.allocate(), Ok(three));
            assert_eq!(pool.take(four), Ok(()));
            assert_eq!(pool.take(four), Err(AddressRefusal::Taken));
            assert_eq!(pool.take(address(gateway)), Err(AddressRefusal::Taken));
            assert_eq!(pool.take(address("10.0.0.8")), Err(AddressRefusal::Outside));
        }
        let mut pool = AddressPool::new(subnet("10.0.0.0/29"), None, []);
        assert_eq!(pool.take(address("10.0.0.0")), Err(AddressRefusal::Taken));
        assert_eq!(pool.take(address("10.0.0.7")), Err(AddressRefusal::Taken));
    }

    #[test]
    fn a_range_limits_what_is_given_but_not_what_is_asked_for() {
        let gateway = address("10.123.5.254");
        let reserved = [gateway, address("10.123.5.1")];
        let mut pool = AddressPool::new(subnet("10.123.0.0/16"), Some(subnet("10.123.5.0/30")), reserved);
        let given: Vec<_> = std::iter::from_fn(|| pool.allocate().ok()).collect();
        assert_eq!(given, ["10.123.5.0", "10.123.5.2", "10.123.5.3"].map(address));
        assert_eq!(pool.take(address("10.123.9.9")), Ok(()));
        assert_eq!(pool.take(gateway), Err(AddressRefusal::Taken));
    }

    #[test]
    fn hardware_addresses_follow_the_address() {
        assert_eq!(mac_of(Ipv4Addr::new(172, 17, 0, 2)).to_string(), "02:42:ac:11:00:02");
    }
}
