//! The resolver of the server's name: getaddrinfo before the tunnel exists, queries outside the
//! tunnel afterwards.
//!
//! Invariants: once the tunnel exists, no query for the server's name enters it. getaddrinfo would
//! send one there as soon as the tunnel's routes or name servers are set, and a tunnel that is down
//! answers nothing. So the name servers that the host has without the tunnel are queried, over
//! sockets outside the tunnel.

mod message;
mod names;
mod query;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use qdt_host::{HostResolvers, Outside};
use qdt_program::{HostPort, Protocol, ResolveError};

use query::Servers;

use crate::cause::Cause;
use crate::config::{ClientConfig, RouteMode};

/// Returns the server's addresses in the order to dial them. The argument is `None` before the
/// tunnel exists; later it lists the name servers outside it. Blocks; runs on its own thread.
pub type Resolver =
    Arc<dyn Fn(Option<HostResolvers>) -> Result<Vec<SocketAddr>, Cause> + Send + Sync>;

/// The time for all queries of one look-up.
const TIMEOUT: Duration = Duration::from_secs(5);
const HOSTS: &str = "/etc/hosts";

/// Returns the resolver of the server in `config`; its sockets stay `outside` the tunnel.
pub(crate) fn new(config: &ClientConfig, outside: Outside) -> Resolver {
    let server = config.server.clone();
    // Then the tunnel does not change how this host resolves names.
    let names_untouched = config.route_mode != RouteMode::Default && config.dns.is_empty();
    Arc::new(move |name_servers| {
        if let Some(addresses) = server
            .literal_addresses(Protocol::Udp)
            .map_err(Cause::new)?
        {
            return Ok(addresses);
        }
        let by_host = || server.dial_addresses(Protocol::Udp).map_err(Cause::new);
        let Some(name_servers) = name_servers else {
            return by_host();
        };
        match resolve_outside(&server, &name_servers, Some(outside)) {
            Err(_) if names_untouched => by_host(),
            result => result.map_err(Cause::new),
        }
    })
}

/// Resolves `server` from the hosts file, or by queries to `name_servers`.
fn resolve_outside(
    server: &HostPort,
    name_servers: &HostResolvers,
    outside: Option<Outside>,
) -> Result<Vec<SocketAddr>, ResolveError> {
    let port = server.port_number(Protocol::Udp)?;
    let hosts = std::fs::read_to_string(HOSTS).unwrap_or_default();
    let mut found = names::in_hosts(&hosts, server.host());
    if found.is_empty() {
        found = query_candidates(server.host(), name_servers, outside).map_err(|source| {
            ResolveError::Lookup {
                address: server.clone(),
                source,
            }
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

/// Returns at least one address of `name`.
fn query_candidates(
    name: &str,
    name_servers: &HostResolvers,
    outside: Option<Outside>,
) -> io::Result<Vec<IpAddr>> {
    if name_servers.servers.is_empty() {
        return Err(io::Error::other(
            "this host has no name server outside the tunnel: name one in /etc/resolv.conf, or the \
             server by its address",
        ));
    }
    let servers = Servers {
        addresses: &name_servers.servers,
        outside,
    };
    let deadline = Instant::now() + TIMEOUT;
    let mut failure = None;
    for name in names::candidates(name, name_servers) {
        match servers.query(&name, deadline) {
            Ok(addresses) if addresses.is_empty() => {}
            Ok(addresses) => return Ok(addresses),
            // A search domain with broken servers does not hide a name in the next one.
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such name")))
}

#[cfg(test)]
mod tests;
