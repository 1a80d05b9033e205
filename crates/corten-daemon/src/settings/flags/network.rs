//! Networks of containers, and the firewall.

use super::super::values::{
    invalid, parse_bool, parse_bridge, parse_cidr, parse_firewall, parse_number, parse_pair, parse_subnet,
};
use super::{DEFAULT, Flag, Form, word};
use corten_network::FirewallMode;
use std::net::IpAddr;

/// In the order of the help.
pub(super) const FLAGS: &[Flag] = &[
    Flag {
        name: "--bridge",
        short: &["-b"],
        key: "bridge",
        form: Form::Value("string"),
        text: "Interface name of the default bridge (default \"corten0\")",
        apply: |settings, flag, value| parse_bridge(flag, value).map(|name| settings.bridge = name),
    },
    Flag {
        name: "--bip",
        key: "bip",
        form: Form::Value("string"),
        text: "Address of the default bridge, as in 172.18.0.1/16",
        apply: |settings, flag, value| {
            parse_cidr(flag, value).map(|cidr| settings.bridge_address = Some(cidr))
        },
        ..DEFAULT
    },
    Flag {
        name: "--fixed-cidr",
        key: "fixed-cidr",
        form: Form::Value("string"),
        text: "Part of the default bridge's subnet for containers, as in 172.18.5.0/24",
        apply: |settings, flag, value| {
            parse_subnet(flag, value, true).map(|subnet| settings.bridge_range = Some(subnet))
        },
        ..DEFAULT
    },
    Flag {
        name: "--ipv6",
        key: "ipv6",
        text: "Give the default bridge IPv6 (default false)",
        apply: |settings, flag, value| parse_bool(flag, value).map(|on| settings.ipv6 = on),
        ..DEFAULT
    },
    Flag {
        name: "--fixed-cidr-v6",
        key: "fixed-cidr-v6",
        form: Form::Value("string"),
        text: "IPv6 subnet of the default bridge (default: a private one)",
        apply: |settings, flag, value| {
            parse_subnet(flag, value, false).map(|subnet| settings.bridge_subnet6 = Some(subnet))
        },
        ..DEFAULT
    },
    Flag {
        name: "--mtu",
        key: "mtu",
        form: Form::Value("int"),
        text: "MTU of the default bridge (default 1500)",
        apply: |settings, flag, value| parse_number(flag, value).map(|mtu| settings.mtu = mtu),
        ..DEFAULT
    },
    Flag {
        name: "--ip",
        key: "ip",
        form: Form::Value("ip"),
        text: "Address that ports are published on by default (default 0.0.0.0 and ::)",
        apply: |settings, flag, value| {
            parse_number(flag, value).map(|address| settings.default_binding = Some(address))
        },
        ..DEFAULT
    },
    Flag {
        name: "--ip-masq",
        key: "ip-masq",
        text: "Masquerade what leaves the bridge (default true)",
        apply: |settings, flag, value| parse_bool(flag, value).map(|on| settings.masquerade = on),
        ..DEFAULT
    },
    Flag {
        name: "--icc",
        key: "icc",
        text: "Let containers of the default bridge reach each other (default true)",
        apply: |settings, flag, value| parse_bool(flag, value).map(|on| settings.inter_container = on),
        ..DEFAULT
    },
    Flag {
        name: "--default-address-pool",
        key: "default-address-pools",
        form: Form::List("base=SUBNET,size=BITS"),
        text: "Where the subnets of new networks are cut from (default 172.17.0.0/16\n\
               to 172.31.0.0/16, 192.168.0.0/16 by 20, 10.0.0.0/8 by 24 bits)",
        apply: |settings, flag, value| {
            let pool =
                corten_engine::network::parse_pool(value).map_err(|reason| invalid(flag, value, reason))?;
            settings.address_pools.push(pool);
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--default-network-opt",
        key: "default-network-opts",
        form: Form::List("DRIVER=OPTION=VALUE"),
        text: "Option of new networks of a driver that do not name it",
        apply: |settings, flag, value| {
            let (driver, option) = parse_pair(flag, value)?;
            let (option, value) = parse_pair(flag, &option)?;
            settings.defaults.network_options.entry(driver).or_default().insert(option, value);
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--dns",
        key: "dns",
        form: Form::List("list"),
        text: "Name server of containers that name none",
        apply: |settings, flag, value| {
            let address: IpAddr = parse_number(flag, value)?;
            settings.dns.push(address.to_string());
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--dns-opt",
        key: "dns-opts",
        form: Form::List("list"),
        text: "Resolver option of containers that name none",
        apply: |settings, flag, value| word(flag, value).map(|option| settings.dns_options.push(option)),
        ..DEFAULT
    },
    Flag {
        name: "--dns-search",
        key: "dns-search",
        form: Form::List("list"),
        text: "Search domain of containers that name none",
        apply: |settings, flag, value| word(flag, value).map(|domain| settings.dns_search.push(domain)),
        ..DEFAULT
    },
    Flag {
        name: "--host-gateway-ip",
        key: "host-gateway-ips",
        form: Form::List("list"),
        text: "What host-gateway means in --add-host, an IPv4 and an IPv6 address\n\
               (default: the address of the default bridge)",
        apply: |settings, flag, value| {
            let address: IpAddr = parse_number(flag, value)?;
            if settings.host_gateway.iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
                return Err(invalid(flag, value, "one address of each family is wanted"));
            }
            settings.host_gateway.push(address);
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--firewall",
        key: "firewall",
        form: Form::Value("string"),
        text: "Who decides which published ports other hosts reach: host (its input\n\
               rules), docker (all are open) or none (no rules are made) (default \"host\")",
        apply: |settings, flag, value| parse_firewall(flag, value).map(|mode| settings.firewall = mode),
        ..DEFAULT
    },
    Flag {
        name: "--firewall-allow",
        key: "firewall-allow",
        form: Form::List("list"),
        text: "Published ports that are open whatever the host's rules say, as 8080/tcp",
        apply: |settings, flag, value| {
            for ports in value.split(',') {
                settings.allowed_ports.push(parse_number(flag, ports)?);
            }
            Ok(())
        },
        ..DEFAULT
    },
    Flag {
        name: "--iptables",
        key: "iptables",
        text: "Docker's word: --iptables=false is --firewall none",
        apply: |settings, flag, value| {
            if !parse_bool(flag, value)? {
                settings.firewall = FirewallMode::None;
            }
            Ok(())
        },
        ..DEFAULT
    },
];
