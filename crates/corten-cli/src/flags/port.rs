//! Published and exposed ports: `[[ip:]host[-end]:]container[-end][/protocol]`.

use corten_api::container::{PortBinding, PortMap};
use corten_api::null::{Empty, Set};
use std::net::IpAddr;

/// What `-p` and `--expose` come to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Ports {
    /// For the container's configuration.
    pub(crate) exposed: Set,
    /// For the host's.
    pub(crate) bindings: PortMap,
}

/// Reads all of them.
pub(crate) fn parse(publish: &[String], expose: &[String]) -> Result<Ports, String> {
    let mut ports = Ports::default();
    for spec in publish {
        if spec.contains('=') { long(spec, &mut ports)? } else { short(spec, &mut ports)? }
    }
    for spec in expose {
        if spec.contains(':') {
            return Err(format!("invalid port format for --expose: {spec}"));
        }
        let (range, protocol) = spec.split_once('/').unwrap_or((spec, "tcp"));
        let (from, to) = parse_range(range)
            .map_err(|why| format!("invalid range format for --expose: {spec}, error: {why}"))?;
        for port in from..=to {
            ports.exposed.insert(format!("{port}/{protocol}"), Empty);
        }
    }
    Ok(ports)
}

fn short(spec: &str, ports: &mut Ports) -> Result<(), String> {
    let (rest, container) = match spec.rsplit_once(':') {
        Some((rest, container)) => (Some(rest), container),
        None => (None, spec),
    };
    let (ip, host) = match rest {
        None => ("", ""),
        Some(rest) => rest.rsplit_once(':').unwrap_or(("", rest)),
    };
    let ip = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    if !ip.is_empty() && ip.parse::<IpAddr>().is_err() {
        return Err(format!("Invalid ip address: {ip}"));
    }
    let (range, protocol) = container.split_once('/').unwrap_or((container, "tcp"));
    if range.is_empty() {
        return Err(format!("No port specified: {spec}<empty>"));
    }
    let (from, to) = parse_range(range).map_err(|_| format!("Invalid containerPort: {range}"))?;
    let host_range = if host.is_empty() {
        None
    } else {
        Some(parse_range(host).map_err(|_| format!("Invalid hostPort: {host}"))?)
    };
    if let Some((host_from, host_to)) = host_range
        && to - from != host_to - host_from
        && from != to
    {
        return Err(format!("Invalid ranges specified for container and host Ports: {range} and {host}"));
    }
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("Invalid proto: {protocol}"));
    }
    for port in from..=to {
        let host_port = match host_range {
            None => String::new(),
            // One port in the container and several on the host: the first that is free.
            Some((host_from, host_to)) if from == to && host_from != host_to => {
                format!("{host_from}-{host_to}")
            }
            Some((host_from, _)) => (host_from + (port - from)).to_string(),
        };
        publish(ports, port, &protocol, ip, host_port);
    }
    Ok(())
}

/// `published=8080,target=80,protocol=tcp,mode=host`.
fn long(spec: &str, ports: &mut Ports) -> Result<(), String> {
    let (mut target, mut published, mut protocol) = (None, String::new(), "tcp".to_owned());
    for field in spec.split(',') {
        let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid field: {field}"))?;
        let port = |value: &str| parse_port(value).map_err(|why| format!("{value} is not a port: {why}"));
        match key.to_ascii_lowercase().as_str() {
            "target" => target = Some(port(value)?),
            "published" => {
                port(value)?;
                value.clone_into(&mut published);
            }
            "protocol" if matches!(value, "tcp" | "udp" | "sctp") => value.clone_into(&mut protocol),
            "protocol" => return Err(format!("invalid protocol value '{value}'")),
            "mode" if matches!(value, "host" | "ingress") => {}
            "mode" => {
                return Err(format!(
                    "invalid publish mode value ({value}): must be either 'ingress' or 'host'"
                ));
            }
            _ => return Err(format!("invalid field key: {key}")),
        }
    }
    let target = target.ok_or("missing mandatory field 'target'")?;
    publish(ports, target, &protocol, "", published);
    Ok(())
}

fn publish(ports: &mut Ports, port: u16, protocol: &str, ip: &str, host_port: String) {
    let key = format!("{port}/{protocol}");
    ports.exposed.insert(key.clone(), Empty);
    ports
        .bindings
        .entry(key)
        .or_default()
        .get_or_insert_default()
        .push(PortBinding { host_ip: ip.to_owned(), host_port });
}

fn parse_range(text: &str) -> Result<(u16, u16), String> {
    if text.is_empty() {
        return Err("Empty string specified for ports.".to_owned());
    }
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (parse_port(from)?, parse_port(to)?);
    if to < from { Err(format!("Invalid range specified for the Port: {text}")) } else { Ok((from, to)) }
}

fn parse_port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("strconv.ParseUint: parsing \"{text}\": invalid syntax"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(publish: &str, expected: &str) {
        let text = match parse(&[publish.to_owned()], &[]) {
            Ok(ports) => serde_json::to_string(&ports.bindings).unwrap().replace('"', ""),
            Err(error) => error,
        };
        assert_eq!(text, expected, "{publish}");
    }

    #[test]
    fn specifications_are_read_as_docker_reads_them() {
        check("80", "{80/tcp:[{HostIp:,HostPort:}]}");
        check("8080:80", "{80/tcp:[{HostIp:,HostPort:8080}]}");
        check("127.0.0.1:8080:80/udp", "{80/udp:[{HostIp:127.0.0.1,HostPort:8080}]}");
        check("127.0.0.1::80", "{80/tcp:[{HostIp:127.0.0.1,HostPort:}]}");
        check("[::1]:8080:80", "{80/tcp:[{HostIp:::1,HostPort:8080}]}");
        check("8000-8001:80-81", "{80/tcp:[{HostIp:,HostPort:8000}],81/tcp:[{HostIp:,HostPort:8001}]}");
        check("8000-8009:80", "{80/tcp:[{HostIp:,HostPort:8000-8009}]}");
        check("published=1,target=2,protocol=udp", "{2/udp:[{HostIp:,HostPort:1}]}");
        check("99999:80", "Invalid hostPort: 99999");
        check("80:99999", "Invalid containerPort: 99999");
        check(
            "8000-8002:80-81",
            "Invalid ranges specified for container and host Ports: 80-81 and 8000-8002",
        );
        check("80:80/odd", "Invalid proto: odd");
        check("300.1.1.1:80:80", "Invalid ip address: 300.1.1.1");
        check("80:", "No port specified: 80:<empty>");
    }

    #[test]
    fn exposed_ranges_are_single_ports() {
        let ports = parse(&[], &["80-81".to_owned(), "53/udp".to_owned()]).unwrap();
        assert_eq!(ports.exposed.keys().collect::<Vec<_>>(), ["53/udp", "80/tcp", "81/tcp"]);
        assert!(parse(&[], &["80:80".to_owned()]).is_err());
    }
}
