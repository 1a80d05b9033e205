//! A firewall's rules, judged for one flow: from which addresses is it accepted?
//!
//! What is known of the flow (protocol, port, interface, that it is new) decides most rules; the source address is kept
//! as a region that rules divide. A rule that hangs on anything else – a rate, a mark, the time – is passed over: it
//! neither opens nor closes.

use super::region::Region;
use std::collections::HashMap;

/// The flow that rules are judged for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) ipv6: bool,
    pub(crate) protocol: u8,
    pub(crate) port: u16,
    /// The interface that it comes in by.
    pub(crate) interface: String,
}

/// Whether a condition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// For none of these flows.
    No,
    /// For those from these addresses.
    From(Region),
    /// It hangs on something that is not known here.
    Perhaps,
}

impl Holds {
    pub(crate) fn always(ipv6: bool) -> Self {
        Self::From(Region::all(ipv6))
    }

    /// Of something that is known.
    pub(crate) fn known(holds: bool, ipv6: bool) -> Self {
        if holds { Self::always(ipv6) } else { Self::No }
    }

    /// Both hold.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Perhaps, _) | (_, Self::Perhaps) => Self::Perhaps,
            (Self::From(left), Self::From(right)) => match left.and(&right) {
                both if both.is_empty() => Self::No,
                both => Self::From(both),
            },
        }
    }
}

/// What a rule does with what it holds for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Accept,
    Drop,
    /// Back to the chain that jumped here.
    Return,
    /// On in another chain, and back.
    Jump(String),
    /// On in another chain; what falls out of it goes on where this chain would.
    Goto(String),
}

/// A rule, judged; those that do not hold, or do nothing that matters, are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) from: Region,
    pub(crate) action: Action,
}

/// A table's chains by name.
pub(crate) type Chains = HashMap<String, Vec<Judged>>;

/// How deep chains may call each other; the kernel allows sixteen.
const DEPTH: usize = 20;
/// How many rules are looked at for one flow: what goes beyond counts as closed.
const MOST_RULES: usize = 200_000;

/// From where the flow is accepted by a chain that the kernel calls.
pub(crate) fn accepted(chains: &Chains, start: &str, accepts: bool, ipv6: bool) -> Region {
    let mut left = MOST_RULES;
    let (accepted, fallen) = walk(chains, start, Region::all(ipv6), ipv6, DEPTH, &mut left);
    if accepts { accepted.or(&fallen) } else { accepted }
}

/// What of the arriving is accepted, and what leaves the chain undecided.
fn walk(
    chains: &Chains,
    name: &str,
    mut arriving: Region,
    ipv6: bool,
    depth: usize,
    left: &mut usize,
) -> (Region, Region) {
    let mut accepted = Region::none();
    let mut returned = Region::none();
    for rule in chains.get(name).into_iter().flatten() {
        if *left == 0 {
            return (accepted, Region::none());
        }
        *left -= 1;
        let hit = arriving.and(&rule.from);
        if hit.is_empty() {
            continue;
        }
        arriving = arriving.and(&hit.not(ipv6));
        match &rule.action {
            Action::Accept => accepted = accepted.or(&hit),
            Action::Drop => {}
            Action::Return => returned = returned.or(&hit),
            Action::Jump(next) | Action::Goto(next) => {
                let Some(depth) = depth.checked_sub(1) else { continue };
                let (inside, fallen) = walk(chains, next, hit, ipv6, depth, left);
                accepted = accepted.or(&inside);
                if matches!(rule.action, Action::Jump(_)) {
                    arriving = arriving.or(&fallen);
                } else {
                    returned = returned.or(&fallen);
                }
            }
        }
        if arriving.is_empty() {
            break;
        }
    }
    (accepted, arriving.or(&returned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(first: u128, last: u128, action: Action) -> Judged {
        Judged { from: Region::range(first, last), action }
    }

    fn jump(name: &str) -> Action {
        Action::Jump(name.to_owned())
    }

    #[test]
    fn rules_divide_what_arrives() {
        let all = u128::from(u32::MAX);
        let chains: Chains = [
            (
                "input".to_owned(),
                vec![
                    rule(5, 5, Action::Drop),
                    rule(0, 9, jump("user")),
                    rule(20, 29, Action::Goto("user".to_owned())),
                    rule(25, 40, Action::Accept),
                ],
            ),
            (
                "user".to_owned(),
                vec![rule(3, 3, Action::Return), rule(0, 6, Action::Accept), rule(20, 24, Action::Accept)],
            ),
            ("endless".to_owned(), vec![rule(0, all, jump("endless"))]),
        ]
        .into();
        let closed = accepted(&chains, "input", false, false);
        assert_eq!(closed.ranges(), [(0, 2), (4, 4), (6, 6), (20, 24), (30, 40)]);
        let open = accepted(&chains, "input", true, false);
        assert_eq!(open.ranges(), [(0, 4), (6, all)]);
        assert!(accepted(&chains, "endless", false, false).is_empty());
        assert!(accepted(&chains, "missing", true, false).is_all(false));
    }
}
