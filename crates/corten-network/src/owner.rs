//! Which program holds a port of the host: read from /proc, only when something went wrong.

use crate::settings::{Protocol, PublishedPort};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The program, as `nginx (pid 123)`. None where it cannot be told (gone meanwhile, or not ours to look at).
pub(crate) fn holder(port: &PublishedPort) -> Option<String> {
    let tables: &[&str] = match port.protocol {
        Protocol::Tcp => &["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"],
        Protocol::Udp => &["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"],
        Protocol::Sctp => return None,
    };
    let inode = tables.iter().find_map(|table| find_inode(&fs::read_to_string(table).ok()?, port))?;
    let wanted = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        for descriptor in descriptors.flatten() {
            if fs::read_link(descriptor.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str()) {
                let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                return Some(format!("`{}` (pid {pid})", name.trim_end()));
            }
        }
    }
    None
}

/// The socket in a table of /proc/net that stands in the way of a binding: same port, and same address or either one
/// unspecified. A listener is preferred to a connection.
fn find_inode(table: &str, port: &PublishedPort) -> Option<u64> {
    const LISTEN: &str = "0A";
    let mut found = None;
    for line in table.lines().skip(1) {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (Some(local), Some(state)) = (fields.next(), fields.nth(1)) else { continue };
        let Some(inode) = fields.nth(5).and_then(|field| field.parse().ok()).filter(|inode| *inode != 0)
        else {
            continue;
        };
        let Some((address, number)) = local.split_once(':') else { continue };
        if u16::from_str_radix(number, 16) != Ok(port.host_port) {
            continue;
        }
        let Some(address) = parse_address(address) else { continue };
        let same =
            address == port.host_address || address.is_unspecified() || port.host_address.is_unspecified();
        if same && (found.is_none() || state == LISTEN) {
            found = Some(inode);
        }
    }
    found
}

/// 32-bit words in the machine's byte order.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word =
        |index: usize| Some(u32::from_str_radix(text.get(index * 8..index * 8 + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_listener_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = PublishedPort {
            container_port: 80,
            protocol: Protocol::Tcp,
            host_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            host_port: listener.local_addr().unwrap().port(),
        };
        let holder = holder(&port).unwrap();
        assert!(holder.ends_with(&format!("(pid {})", std::process::id())), "{holder}");
    }

    #[test]
    fn damaged_tables_are_passed_over() {
        let port = PublishedPort {
            container_port: 80,
            protocol: Protocol::Tcp,
            host_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            host_port: 80,
        };
        for table in [
            "",
            "head",
            "head\n0: x\n",
            "head\n 0: 0100007F:0050 00000000:0000 0A a b c d e\n",
            "head\n0: 1:2 3 4 5",
        ] {
            assert_eq!(find_inode(table, &port), None, "{table}");
        }
    }
}
