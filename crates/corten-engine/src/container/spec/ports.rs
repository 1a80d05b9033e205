//! Ports: `80/tcp`, `PortBindings`, and what inspect and list show of what was published.

use crate::error::{EngineError, Result};
use corten_api::container::{HostConfig, Port, PortBinding, PortMap};
use corten_api::null::Set;
use corten_network::{PortMapping, Protocol, PublishedPort};
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Reads `80`, `80/tcp`, `53/udp`.
pub(crate) fn parse_container_port(text: &str) -> Result<(u16, Protocol)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol
        .parse::<Protocol>()
        .map_err(|_| EngineError::invalid(format!("Invalid proto: {protocol}")))?;
    match port.parse::<u16>() {
        Ok(port) if port != 0 => Ok((port, protocol)),
        _ => Err(EngineError::invalid(format!("invalid port specification: {text:?}"))),
    }
}

/// What is to be published: `PortBindings`, and with `PublishAllPorts` every other exposed port.
pub(crate) fn mappings(exposed: &Set, host: &HostConfig) -> Result<Vec<PortMapping>> {
    let mut all = Vec::new();
    for (port, bindings) in host.port_bindings.iter().flatten() {
        let (container_port, protocol) = parse_container_port(port)?;
        for binding in bindings.iter().flatten() {
            all.push(PortMapping {
                container_port,
                protocol,
                host_address: parse_address(&binding.host_ip)?,
                host_ports: parse_host_ports(&binding.host_port)?,
            });
        }
    }
    if host.publish_all_ports {
        for port in exposed.keys() {
            // Whatever stands in an image or a create can be exposed; only ports can be published.
            let Ok((container_port, protocol)) = parse_container_port(port) else { continue };
            if !all
                .iter()
                .any(|mapping| mapping.container_port == container_port && mapping.protocol == protocol)
            {
                all.push(PortMapping { container_port, protocol, host_address: None, host_ports: None });
            }
        }
    }
    Ok(all)
}

fn parse_address(text: &str) -> Result<Option<IpAddr>> {
    let plain = text.trim_start_matches('[').trim_end_matches(']');
    if plain.is_empty() {
        return Ok(None);
    }
    plain
        .parse()
        .map(Some)
        .map_err(|_| EngineError::invalid(format!("invalid IP address in port mapping: {text}")))
}

fn parse_host_ports(text: &str) -> Result<Option<RangeInclusive<u16>>> {
    let wrong = || EngineError::invalid(format!("invalid port specification: {text:?}"));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    if text.is_empty() {
        return Ok(None);
    }
    let first = first.parse::<u16>().map_err(|_| wrong())?;
    let last = last.parse::<u16>().map_err(|_| wrong())?;
    match (first, last) {
        (0, 0) => Ok(None),
        _ if first == 0 || first > last => Err(wrong()),
        _ => Ok(Some(first..=last)),
    }
}

/// `NetworkSettings.Ports` of a running container: published ports with their bindings, exposed ones with null.
pub(crate) fn port_map(exposed: &Set, published: &[PublishedPort]) -> PortMap {
    let mut map = PortMap::new();
    for port in exposed.keys() {
        let key = if port.contains('/') { port.clone() } else { format!("{port}/tcp") };
        map.insert(key, None);
    }
    for port in published {
        let entry = map.entry(format!("{}/{}", port.container_port, port.protocol)).or_default();
        entry.get_or_insert_default().push(PortBinding {
            host_ip: port.host_address.to_string(),
            // None where the port is open at the container's own address.
            host_port: if port.host_port == 0 { String::new() } else { port.host_port.to_string() },
        });
    }
    map
}

/// The ports of a list entry.
pub(crate) fn summary(map: &PortMap) -> Vec<Port> {
    let mut ports = Vec::new();
    for (key, bindings) in map {
        let Ok((private_port, protocol)) = parse_container_port(key) else { continue };
        let port = |ip: &str, public_port: u16| Port {
            ip: ip.to_owned(),
            private_port,
            public_port,
            protocol: protocol.to_string(),
        };
        match bindings {
            None => ports.push(port("", 0)),
            Some(bindings) => ports.extend(
                bindings
                    .iter()
                    .map(|binding| port(&binding.host_ip, binding.host_port.parse().unwrap_or_default())),
            ),
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_api::null::Empty;

    fn host(port: &str, ip: &str, host_port: &str) -> HostConfig {
        let binding = PortBinding { host_ip: ip.to_owned(), host_port: host_port.to_owned() };
        HostConfig {
            port_bindings: Some([(port.to_owned(), Some(vec![binding]))].into()),
            ..HostConfig::default()
        }
    }

    #[test]
    fn bindings_become_mappings() {
        let all = mappings(&Set::new(), &host("80/tcp", "127.0.0.1", "8080")).unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].container_port, all[0].host_ports.clone()), (80, Some(8080..=8080)));
        assert_eq!(mappings(&Set::new(), &host("80", "", "")).unwrap()[0].host_ports, None);
        assert_eq!(mappings(&Set::new(), &host("80", "", "0")).unwrap()[0].host_ports, None);
        assert_eq!(mappings(&Set::new(), &host("80", "[::1]", "1-3")).unwrap()[0].host_ports, Some(1..=3));
        for (port, ip, host_port) in
            [("80/odd", "", ""), ("0", "", ""), ("80", "x", ""), ("80", "", "9-3"), ("x", "", "1")]
        {
            assert!(mappings(&Set::new(), &host(port, ip, host_port)).is_err(), "{port} {ip} {host_port}");
        }
        let exposed: Set = [("53/udp".to_owned(), Empty), ("80/odd".to_owned(), Empty)].into();
        let everything = HostConfig { publish_all_ports: true, ..host("80", "", "1") };
        assert_eq!(mappings(&exposed, &everything).unwrap().len(), 2);
    }

    #[test]
    fn what_is_published_is_shown_by_port() {
        let exposed: Set = [("81".to_owned(), Empty)].into();
        let published = PublishedPort {
            container_port: 80,
            protocol: Protocol::Tcp,
            host_address: [0, 0, 0, 0].into(),
            host_port: 8080,
        };
        let map = port_map(&exposed, &[published]);
        assert_eq!(map["81/tcp"], None);
        assert_eq!(map["80/tcp"].as_ref().unwrap()[0].host_port, "8080");
        let ports = summary(&map);
        assert_eq!((ports[0].private_port, ports[0].public_port), (80, 8080));
        assert_eq!((ports[1].private_port, ports[1].public_port), (81, 0));
    }
}
