//! What a sandbox's resolver is told.

use std::net::{IpAddr, SocketAddr};

/// At most so many servers are asked, one after the other: Docker's.
const MOST_SERVERS: usize = 3;

/// A server that knows what we do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    /// It is asked from the host's network, because the host's settings name it; else from the container's.
    pub from_host: bool,
}

/// How a sandbox's queries are handed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolverSettings {
    /// In the order in which they are asked.
    pub upstreams: Vec<Upstream>,
    /// The sandbox is on a network that leads out. One that is not must not reach servers through the host either.
    pub reaches_out: bool,
    /// The user set `ndots` for this container.
    pub own_dots: bool,
}

impl ResolverSettings {
    /// The servers that may be asked.
    pub(super) fn servers(&self) -> impl Iterator<Item = &Upstream> {
        let usable = |upstream: &&Upstream| {
            // Ourselves, named as a container's own server.
            let ourselves = !upstream.from_host && upstream.address.ip() == IpAddr::V4(super::place::ADDRESS);
            !ourselves && (self.reaches_out || !upstream.from_host)
        };
        self.upstreams.iter().filter(usable).take(MOST_SERVERS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_may_be_asked() {
        let upstream = |address: &str, from_host| Upstream { address: address.parse().unwrap(), from_host };
        let mut settings = ResolverSettings {
            upstreams: vec![
                upstream("127.0.0.11:53", false),
                upstream("127.0.0.53:53", true),
                upstream("10.0.0.1:53", false),
                upstream("10.0.0.2:53", true),
                upstream("10.0.0.3:53", true),
            ],
            reaches_out: true,
            own_dots: false,
        };
        let addresses = |settings: &ResolverSettings| -> Vec<String> {
            settings.servers().map(|upstream| upstream.address.ip().to_string()).collect()
        };
        assert_eq!(addresses(&settings), ["127.0.0.53", "10.0.0.1", "10.0.0.2"]);
        settings.reaches_out = false;
        assert_eq!(addresses(&settings), ["10.0.0.1"]);
    }
}
