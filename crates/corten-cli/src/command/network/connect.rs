//! `network connect`.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::Result;
use crate::flags::key_value;
use corten_api::network::{ConnectRequest, EndpointIpamConfig, EndpointSettings};

pub(crate) const ENTRY: Entry = Entry {
    name: "network connect",
    aliases: &[],
    usage: "[OPTIONS] NETWORK CONTAINER",
    count: Count::Exact(2),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Connect a container to a network
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// Add network-scoped alias for the container
    #[arg(long, value_name = "strings")]
    alias: Vec<String>,
    /// Driver options for the network
    #[arg(long, value_name = "strings")]
    driver_opt: Vec<String>,
    /// Highest gw-priority provides the default gateway. Accepts positive and negative values
    #[arg(long, value_name = "int", value_parser = crate::flags::number::whole, default_value = "0", hide_default_value = true)]
    gw_priority: i64,
    /// IPv4 address (e.g., "172.30.100.104")
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    ip: String,
    /// IPv6 address (e.g., "2001:db8::33")
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    ip6: String,
    /// Add link to another container
    #[arg(long)]
    link: Vec<String>,
    /// Add a link-local address for the container
    #[arg(long, value_name = "strings")]
    link_local_ip: Vec<String>,
    /// Network
    network: String,
    /// Container
    container: String,
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    let addresses = EndpointIpamConfig {
        ipv4_address: arguments.ip,
        ipv6_address: arguments.ip6,
        link_local_ips: arguments.link_local_ip,
    };
    let request = ConnectRequest {
        container: arguments.container,
        endpoint_config: Some(EndpointSettings {
            ipam_config: Some(addresses),
            links: some(arguments.link),
            aliases: Some(arguments.alias),
            driver_opts: Some(key_value::map(&arguments.driver_opt)),
            gw_priority: arguments.gw_priority,
            ..EndpointSettings::default()
        }),
    };
    context.client()?.network_connect(&arguments.network, &request)?;
    Ok(0)
}
