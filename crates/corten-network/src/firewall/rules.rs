//! The constant rules of the table, chain by chain; what they do is told in [`super`].

use super::{
    ADDRESS4, ADDRESS6, BEFORE, BRIDGES, CLOSED4, CLOSED6, GUARDED, INTERNAL, MASQUERADE4, MASQUERADE6,
    NEIGHBOURS, OPEN4, OPEN6, PORT4, PORT6, ROUTED4, ROUTED6, SELF4, SELF6, SETS, SEVERAL4, SEVERAL6,
    UNPROTECTED4, UNPROTECTED6, WITHIN,
};
use crate::policy::{self, Region, Service};
use corten_sys::netlink::Batch;
use corten_sys::netlink::nftables::{
    self as nft, Hook, IPV4, IPV6, Meta, REGISTER, Rule, Verdict, interface_key,
};

/// Offsets of the addresses in the network header.
const SOURCE4: u32 = 12;
const DESTINATION4: u32 = 16;
const SOURCE6: u32 = 8;
const DESTINATION6: u32 = 24;

/// Sets, chains and rules of the empty table.
pub(super) fn write_rules(batch: &mut Batch, table: &str) {
    for set in &SETS {
        nft::add_set(batch, table, set);
    }
    for (chain, kind, hook, priority) in [
        ("loopback", "filter", Hook::Prerouting, -300),
        ("prerouting", "nat", Hook::Prerouting, -100),
        ("output", "nat", Hook::Output, -100),
        ("forward", "filter", Hook::Forward, 0),
        ("postrouting", "nat", Hook::Postrouting, 100),
    ] {
        nft::add_base_chain(batch, table, chain, kind, hook, priority);
    }
    let mut chains = vec![
        ("published", published()),
        // What closed ports are open to nevertheless: filled where the host's rules name addresses.
        ("allowed", Vec::new()),
        ("policy", policy()),
        ("inward", inward()),
        ("outward", outward()),
        ("onward", onward()),
    ];
    for (chain, _) in &chains {
        nft::add_chain(batch, table, chain);
    }
    chains.push(("loopback", loopback()));
    chains.push(("prerouting", vec![Rule::new().destination_is_local().verdict(Verdict::Jump("published"))]));
    chains.push(("output", vec![Rule::new().destination_is_local().verdict(Verdict::Jump("published"))]));
    chains.push(("forward", forward()));
    chains.push(("postrouting", postrouting()));
    for (chain, rules) in &chains {
        for rule in rules {
            nft::add_rule(batch, table, chain, rule);
        }
    }
}

/// `iifname @set` or `oifname @set`.
fn interface_in(rule: Rule, key: Meta, set: &str, inverted: bool) -> Rule {
    rule.meta(key, REGISTER).in_set(set, REGISTER, inverted)
}

/// `iifname . oifname @set`.
fn both_in(rule: Rule, set: &str) -> Rule {
    rule.meta(Meta::InputName, REGISTER).meta(Meta::OutputName, REGISTER + 4).in_set(set, REGISTER, false)
}

/// Loads protocol and destination port.
fn service(rule: Rule, register: u32) -> Rule {
    rule.meta(Meta::Transport, register).transport(2, 2, register + 1)
}

fn in_127(offset: u32) -> Rule {
    Rule::new().family(IPV4).masked(offset, &[255, 0, 0, 0], true, &[127, 0, 0, 0])
}

fn loopback() -> Vec<Rule> {
    vec![
        interface_in(in_127(DESTINATION4), Meta::InputName, BRIDGES, false).verdict(Verdict::Drop),
        interface_in(in_127(SOURCE4), Meta::InputName, BRIDGES, false).verdict(Verdict::Drop),
        service(
            in_127(DESTINATION4).interface(Meta::InputName, false, "lo").network(DESTINATION4, 4, REGISTER),
            REGISTER + 1,
        )
        .in_map(ADDRESS4, REGISTER)
        .verdict(Verdict::Drop),
    ]
}

fn published() -> Vec<Rule> {
    let address4 = Rule::new().family(IPV4).network(DESTINATION4, 4, REGISTER);
    let port4 = Rule::new().family(IPV4);
    // ::1 cannot be a source outside the loopback interface: the proxy serves it.
    let mut loopback6 = [0; 16];
    loopback6[15] = 1;
    let ipv6 =
        || Rule::new().family(IPV6).network(DESTINATION6, 16, REGISTER).compare(REGISTER, false, &loopback6);
    vec![
        service(address4, REGISTER + 1).in_map(ADDRESS4, REGISTER).change_destination(
            IPV4,
            REGISTER,
            REGISTER + 1,
        ),
        service(port4, REGISTER).in_map(PORT4, REGISTER).change_destination(IPV4, REGISTER, REGISTER + 1),
        service(ipv6(), REGISTER + 4).in_map(ADDRESS6, REGISTER).change_destination(
            IPV6,
            REGISTER,
            REGISTER + 4,
        ),
        service(ipv6(), REGISTER).in_map(PORT6, REGISTER).change_destination(IPV6, REGISTER, REGISTER + 4),
    ]
}

fn forward() -> Vec<Rule> {
    let guarded = || Rule::new().meta(Meta::Family, REGISTER).in_set(GUARDED, REGISTER, false);
    vec![
        interface_in(Rule::new(), Meta::OutputName, BRIDGES, false).verdict(Verdict::Jump("inward")),
        interface_in(Rule::new(), Meta::InputName, BRIDGES, false).verdict(Verdict::Jump("outward")),
        interface_in(guarded(), Meta::InputName, BEFORE, false).verdict(Verdict::Jump("onward")),
        neither_kind(guarded(), Meta::InputKind).verdict(Verdict::Jump("onward")),
    ]
}

/// Matches an interface that is neither a bridge nor an end of a cable to a namespace.
fn neither_kind(rule: Rule, key: Meta) -> Rule {
    rule.meta(key, REGISTER).compare(REGISTER, false, &interface_key("bridge")).compare(
        REGISTER,
        false,
        &interface_key("veth"),
    )
}

/// What goes into a bridge: every packet is decided here.
fn inward() -> Vec<Rule> {
    vec![
        Rule::new().connection_state(nft::STATE_ESTABLISHED | nft::STATE_RELATED).verdict(Verdict::Accept),
        // Neither a published port nor an open network is a way out of an internal one.
        interface_in(Rule::new(), Meta::InputName, INTERNAL, false)
            .meta(Meta::InputName, REGISTER)
            .meta(Meta::OutputName, REGISTER + 4)
            .in_set(WITHIN, REGISTER, true)
            .verdict(Verdict::Drop),
        interface_in(Rule::new().destination_changed(), Meta::InputName, BRIDGES, true)
            .verdict(Verdict::Jump("policy")),
        Rule::new().destination_changed().verdict(Verdict::Accept),
        interface_in(open4(), Meta::InputName, BRIDGES, true).verdict(Verdict::Jump("policy")),
        open4().verdict(Verdict::Accept),
        interface_in(open6(), Meta::InputName, BRIDGES, true).verdict(Verdict::Jump("policy")),
        open6().verdict(Verdict::Accept),
        out_by(IPV4, UNPROTECTED4).verdict(Verdict::Accept),
        out_by(IPV6, UNPROTECTED6).verdict(Verdict::Accept),
        transport(out_by(IPV4, ROUTED4), ICMP).verdict(Verdict::Accept),
        transport(out_by(IPV6, ROUTED6), ICMP6).verdict(Verdict::Accept),
        both_in(Rule::new(), NEIGHBOURS).verdict(Verdict::Accept),
        Rule::new().verdict(Verdict::Drop),
    ]
}

/// IPPROTO_ICMP.
const ICMP: u8 = 1;
/// IPPROTO_ICMPV6.
const ICMP6: u8 = 58;

/// What goes to a port that is open at the container's own address.
fn open4() -> Rule {
    service(Rule::new().family(IPV4).network(DESTINATION4, 4, REGISTER), REGISTER + 1)
        .in_set(OPEN4, REGISTER, false)
}

fn open6() -> Rule {
    service(Rule::new().family(IPV6).network(DESTINATION6, 16, REGISTER), REGISTER + 4)
        .in_set(OPEN6, REGISTER, false)
}

/// What goes out by one of these bridges.
fn out_by(family: u8, set: &str) -> Rule {
    interface_in(Rule::new().family(family), Meta::OutputName, set, false)
}

fn transport(rule: Rule, protocol: u8) -> Rule {
    rule.meta(Meta::Transport, REGISTER).compare(REGISTER, true, &[protocol])
}

/// Loads protocol and port of a published service, as the connection was made to it.
fn original_service(rule: Rule) -> Rule {
    rule.meta(Meta::Transport, REGISTER).original_port(REGISTER + 1)
}

/// What other hosts sent to a published port: dropped where the host's input rules would have dropped it.
fn policy() -> Vec<Rule> {
    let closed = |family, set| {
        original_service(Rule::new().family(family)).in_set(set, REGISTER, false).verdict(Verdict::Drop)
    };
    vec![Rule::new().verdict(Verdict::Jump("allowed")), closed(IPV4, CLOSED4), closed(IPV6, CLOSED6)]
}

/// Lets some addresses in to a closed port.
pub(super) fn allowed(service: Service, region: &Region) -> Vec<Rule> {
    let (family, offset) = if service.ipv6 { (IPV6, SOURCE6) } else { (IPV4, SOURCE4) };
    let rule = |range: &(u128, u128)| {
        let (first, last) = policy::edges(service.ipv6, *range);
        Rule::new()
            .family(family)
            .meta(Meta::Transport, REGISTER)
            .compare(REGISTER, true, &[service.protocol])
            .original_port(REGISTER)
            .compare(REGISTER, true, &service.port.to_be_bytes())
            .between(offset, &first, &last)
            .verdict(Verdict::Accept)
    };
    region.ranges().iter().map(rule).collect()
}

/// What leaves a bridge for anything but a bridge of ours.
fn outward() -> Vec<Rule> {
    vec![
        interface_in(Rule::new(), Meta::InputName, INTERNAL, false).verdict(Verdict::Drop),
        Rule::new().verdict(Verdict::Accept),
    ]
}

/// What came in by a foreign interface, and does not go to a bridge of ours.
fn onward() -> Vec<Rule> {
    vec![
        Rule::new().connection_state(nft::STATE_ESTABLISHED | nft::STATE_RELATED).verdict(Verdict::Accept),
        interface_in(Rule::new(), Meta::OutputName, BEFORE, false).verdict(Verdict::Drop),
        neither_kind(Rule::new(), Meta::OutputKind).verdict(Verdict::Drop),
    ]
}

fn postrouting() -> Vec<Rule> {
    let to_self = |family, offset, length, set| {
        Rule::new()
            .family(family)
            .network(offset, length, REGISTER)
            .network(offset + length, length, REGISTER + length / 4)
            .in_set(set, REGISTER, false)
            .masquerade()
    };
    let outside = |family, offset, length, set| {
        let rule = Rule::new().family(family).network(offset, length, REGISTER).in_set(set, REGISTER, false);
        interface_in(rule, Meta::OutputName, BRIDGES, true).masquerade()
    };
    let several = |family, offset, length, set| {
        let rule = Rule::new()
            .family(family)
            .destination_changed()
            .network(offset, length, REGISTER)
            .in_set(set, REGISTER, false);
        interface_in(rule, Meta::InputName, BRIDGES, false).masquerade()
    };
    vec![
        to_self(IPV4, SOURCE4, 4, SELF4),
        to_self(IPV6, SOURCE6, 16, SELF6),
        interface_in(in_127(SOURCE4), Meta::OutputName, BRIDGES, false).masquerade(),
        both_in(Rule::new().destination_changed(), WITHIN).masquerade(),
        several(IPV4, DESTINATION4, 4, SEVERAL4),
        several(IPV6, DESTINATION6, 16, SEVERAL6),
        outside(IPV4, SOURCE4, 4, MASQUERADE4),
        outside(IPV6, SOURCE6, 16, MASQUERADE6),
    ]
}
