//! Where the server is: its name, looked up the host's way or outside the tunnel.
//!
//! Invariants: once the tunnel exists, no question about the server's name goes into it. The host's
//! own way (getaddrinfo) would lead there as soon as the tunnel's routes or resolvers are set, and
//! a tunnel that is down answers nothing. So the name servers that the host has without the tunnel
//! are asked, over sockets outside the tunnel.

mod message;
mod names;
mod query;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use qdt_host::{HostResolvers, Outside};
use qdt_program::{HostPort, Protocol};
use query::{Answer, Servers};

use crate::config::{ClientConfig, RouteMode};

/// Finds the server's addresses in the order in which they are to be tried, or gives the
/// resolver's words. The argument is `None` before the tunnel exists, and later tells which name
/// servers can be asked outside it. May block; it is called on a thread of its own.
pub type Resolver =
    Arc<dyn Fn(Option<HostResolvers>) -> Result<Vec<SocketAddr>, String> + Send + Sync>;

/// What all questions of one look-up may take together.
const PATIENCE: Duration = Duration::from_secs(5);
const HOSTS: &str = "/etc/hosts";

/// The look-up of the server that `config` names, over sockets that stay outside the tunnel by
/// `way_out`.
pub(crate) fn new(config: &ClientConfig, way_out: Outside) -> Resolver {
    let server = config.server.clone();
    // Then the tunnel changes nothing about how this host finds names.
    let names_untouched = config.route_mode != RouteMode::Default && config.dns.is_empty();
    Arc::new(move |resolvers| {
        let literal = server.literal_addresses(Protocol::Udp);
        if let Some(addresses) = literal.map_err(|error| error.to_string())? {
            return Ok(addresses);
        }
        let by_host = || {
            let found = server.dial_addresses(Protocol::Udp);
            found.map_err(|error| error.to_string())
        };
        let Some(resolvers) = resolvers else {
            return by_host();
        };
        match outside(&server, &resolvers, Some(way_out)) {
            Err(_) if names_untouched => by_host(),
            result => result,
        }
    })
}

/// Looks `server` up in the hosts file and at `resolvers`.
fn outside(
    server: &HostPort,
    resolvers: &HostResolvers,
    way_out: Option<Outside>,
) -> Result<Vec<SocketAddr>, String> {
    let port = server
        .port_number(Protocol::Udp)
        .map_err(|error| error.to_string())?;
    let hosts = std::fs::read_to_string(HOSTS).unwrap_or_default();
    let mut found = names::in_hosts(&hosts, server.host());
    if found.is_empty() {
        found = ask_all(server.host(), resolvers, way_out).map_err(|text| {
            format!("address {server}: cannot look up {}: {text}", server.host())
        })?;
    }
    found.sort_by_key(IpAddr::is_ipv6);
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for ip in found {
        let address = SocketAddr::new(ip, port);
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

fn ask_all(
    name: &str,
    resolvers: &HostResolvers,
    way_out: Option<Outside>,
) -> Result<Vec<IpAddr>, String> {
    if resolvers.servers.is_empty() {
        return Err(
            "this host has no name server outside the tunnel: name one in \
                    /etc/resolv.conf, or the server by its address"
                .to_owned(),
        );
    }
    let servers = Servers {
        addresses: &resolvers.servers,
        outside: way_out,
    };
    let deadline = Instant::now() + PATIENCE;
    let mut failure = None;
    for name in names::candidates(name, resolvers) {
        match servers.ask(&name, deadline) {
            Answer::Found(addresses) => return Ok(addresses),
            Answer::NoName => {}
            // A search domain whose servers are broken hides no name of another.
            Answer::Failed(text) => failure = failure.or(Some(text)),
        }
    }
    Err(failure.unwrap_or_else(|| "no such name".to_owned()))
}

#[cfg(test)]
mod tests;
