//! `host:port` as Go's `net` reads it: splitting, resolution, addresses to listen on or to dial.
//!
//! An empty host means every address when listening and this machine when dialling; IPv6 literals
//! stand in brackets; a port may be a service name; no port at all is an error. Splitting needs no
//! look-up, so a configuration is checked without the network.
//!
//! A link-local IPv6 address means nothing without its interface, the zone (`fe80::1%eth0`, RFC
//! 4007 section 11), and has none that could be forgotten. Any other IPv6 address may carry one,
//! which is ignored, as the kernel ignores it.

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// A host and a port as the configuration names them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    host: String,
    port: String,
}

/// A syntax error in a `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPortError {
    /// No colon where a port should follow.
    #[error("address {0}: missing port in address; write host:port, for example {0}:443")]
    MissingPort(String),
    /// A URL.
    #[error("address {0}: is a URL; write host:port without {1} and without a path")]
    Url(String, String),
    /// A bare IPv6 literal, or simply one colon too many.
    #[error(
        "address {0}: too many colons in address; put an IPv6 address in brackets, for example [2001:db8::1]:443"
    )]
    TooManyColons(String),
    /// `[` without `]`.
    #[error("address {0}: missing ']' in address")]
    MissingBracket(String),
    /// A bracket where none belongs.
    #[error("address {address}: unexpected '{bracket}' in address")]
    UnexpectedBracket {
        /// The whole text.
        address: String,
        /// `[` or `]`.
        bracket: char,
    },
    /// A link-local IPv6 address that does not say on which interface.
    #[error(
        "address {0}: a link-local IPv6 address needs its interface; write [address%interface]:port, for example [fe80::1%eth0]:443"
    )]
    MissingZone(String),
    /// A zone behind something other than an IPv6 address.
    #[error("address {0}: only an IPv6 address has a zone; leave out the `%` and what follows it")]
    UnexpectedZone(String),
    /// A numeric port above 65535 or below 0.
    #[error("address {0}: invalid port; it must be between 0 and 65535")]
    InvalidPort(String),
}

/// The reason why an address could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The port is a name that /etc/services does not list for the protocol.
    #[error("address {address}: unknown port: {protocol}/{port}; use its number")]
    UnknownService {
        /// The whole address.
        address: HostPort,
        /// `tcp` or `udp`.
        protocol: Protocol,
        /// The service name.
        port: String,
    },
    /// The resolver failed.
    #[error("address {address}: cannot look up {}: {source}", .address.host())]
    Lookup {
        /// The whole address.
        address: HostPort,
        /// The error of the resolver.
        source: io::Error,
    },
    /// A link-local address names an interface that is not there.
    #[error(
        "address {address}: there is no interface `{interface}` on this machine; `ip link` lists them"
    )]
    NoInterface {
        /// The whole address.
        address: HostPort,
        /// The zone.
        interface: String,
    },
    /// The resolver knows the name but no address of it.
    #[error("address {0}: the name has no address")]
    NoAddress(HostPort),
}

/// The transport a service name is looked up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP: metrics, health, profiling.
    Tcp,
    /// UDP: the tunnel.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// The address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// Every address of the machine: one dual-stack IPv6 socket, or an IPv4 one where the kernel
    /// has no IPv6.
    Any {
        /// The port, 0 for one that the kernel picks.
        port: u16,
    },
    /// This address only.
    One(SocketAddr),
}

impl ListenAddress {
    /// Returns the addresses to try in order: the first that the kernel supports is the one to
    /// listen on. An IPv6 socket made for [`ListenAddress::Any`] must have `IPV6_V6ONLY` off.
    pub fn candidates(&self) -> Vec<SocketAddr> {
        match *self {
            Self::Any { port } => vec![
                SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
                SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
            ],
            Self::One(address) => vec![address],
        }
    }
}

impl HostPort {
    /// The host: a name, an IP address without brackets, or nothing.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host without a zone: what a certificate names and a request's authority holds, since a
    /// zone means nothing beyond this machine (RFC 6874 section 4).
    pub fn host_without_zone(&self) -> &str {
        match split_zone(&self.host) {
            Some((ip, _)) if ip.parse::<Ipv6Addr>().is_ok() => ip,
            _ => &self.host,
        }
    }

    /// The addresses, where the host is one or is empty and therefore no name to be looked up.
    pub fn literal_addresses(
        &self,
        protocol: Protocol,
    ) -> Result<Option<Vec<SocketAddr>>, ResolveError> {
        if self.host.is_empty() || self.host_without_zone().parse::<IpAddr>().is_ok() {
            return self.dial_addresses(protocol).map(Some);
        }
        Ok(None)
    }

    /// The port as it was written: a number, a service name, or nothing (then 0).
    pub fn port(&self) -> &str {
        &self.port
    }

    /// Returns the port's number. Service names are looked up in /etc/services.
    pub fn port_number(&self, protocol: Protocol) -> Result<u16, ResolveError> {
        if self.port.is_empty() {
            return Ok(0);
        }
        if let Ok(number) = self.port.parse() {
            return Ok(number);
        }
        service_port(&self.port, protocol).ok_or_else(|| ResolveError::UnknownService {
            address: self.clone(),
            protocol,
            port: self.port.clone(),
        })
    }

    /// Returns the address to listen on. An empty host and both unspecified addresses (`0.0.0.0`,
    /// `::`) mean every address, as in Go. Of a name's addresses the first IPv4 one counts. Blocks
    /// while a name is looked up.
    pub fn listen_address(&self, protocol: Protocol) -> Result<ListenAddress, ResolveError> {
        let port = self.port_number(protocol)?;
        if self.host.is_empty() {
            return Ok(ListenAddress::Any { port });
        }
        let first = self.lookup(port)?[0];
        Ok(if first.ip().is_unspecified() {
            ListenAddress::Any { port }
        } else {
            ListenAddress::One(first)
        })
    }

    /// Returns every address to dial, IPv4 before IPv6, otherwise in the resolver's order; never
    /// empty. An empty host is this machine. Blocks while a name is looked up.
    pub fn dial_addresses(&self, protocol: Protocol) -> Result<Vec<SocketAddr>, ResolveError> {
        let port = self.port_number(protocol)?;
        if self.host.is_empty() {
            return Ok(vec![
                SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
                SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
            ]);
        }
        self.lookup(port)
    }

    /// The C library turns the interface into the address's scope.
    fn lookup_link_local(&self, port: u16, zone: &str) -> Result<Vec<SocketAddr>, ResolveError> {
        let found = (self.host.as_str(), port).to_socket_addrs();
        let scoped =
            |address: &SocketAddr| matches!(address, SocketAddr::V6(v6) if v6.scope_id() != 0);
        match found.ok().and_then(|mut found| found.find(scoped)) {
            Some(address) => Ok(vec![address]),
            None => Err(ResolveError::NoInterface {
                address: self.clone(),
                interface: zone.to_owned(),
            }),
        }
    }

    fn lookup(&self, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
        if let Some((ip, zone)) = split_zone(&self.host)
            && let Ok(ip) = ip.parse::<Ipv6Addr>()
            && ip.is_unicast_link_local()
        {
            return self.lookup_link_local(port, zone);
        }
        if let Ok(ip) = self.host_without_zone().parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let found = (self.host.as_str(), port)
            .to_socket_addrs()
            .map_err(|source| ResolveError::Lookup {
                address: self.clone(),
                source,
            })?;
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in found {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses.sort_by_key(SocketAddr::is_ipv6);
        if addresses.is_empty() {
            return Err(ResolveError::NoAddress(self.clone()));
        }
        Ok(addresses)
    }
}

/// The two sides of the first `%`, where there is one.
fn split_zone(host: &str) -> Option<(&str, &str)> {
    host.split_once('%')
}

/// Refuses a zone where none belongs, and a link-local address without one.
fn check_zone(host: &str, address: &str) -> Result<(), HostPortError> {
    let (ip, zone) = split_zone(host).map_or((host, None), |(ip, zone)| (ip, Some(zone)));
    match (ip.parse::<Ipv6Addr>(), zone) {
        (Ok(ip), None | Some("")) if ip.is_unicast_link_local() => {
            Err(HostPortError::MissingZone(address.to_owned()))
        }
        (Err(_), Some(_)) => Err(HostPortError::UnexpectedZone(address.to_owned())),
        _ => Ok(()),
    }
}

/// The port of a service in /etc/services (services(5)), which `https` and `domain` do not need.
fn service_port(name: &str, protocol: Protocol) -> Option<u16> {
    match (name, protocol) {
        ("https", _) => return Some(443),
        ("http", Protocol::Tcp) => return Some(80),
        ("domain", _) => return Some(53),
        _ => {}
    }
    let services = fs::read_to_string("/etc/services").ok()?;
    service_in(&services, name, protocol)
}

/// Finds `name` or an alias of that name among the lines `name port/protocol alias...`.
fn service_in(services: &str, name: &str, protocol: Protocol) -> Option<u16> {
    services.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let official = words.next()?;
        let (port, of) = words.next()?.split_once('/')?;
        let named = official == name || words.any(|alias| alias == name);
        (named && of == protocol.to_string())
            .then(|| port.parse().ok())
            .flatten()
    })
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        if let Some(scheme) = text.find("://") {
            let scheme = text[..scheme + 3].to_owned();
            return Err(HostPortError::Url(text.to_owned(), scheme));
        }
        let colon = text
            .rfind(':')
            .ok_or_else(|| HostPortError::MissingPort(text.to_owned()))?;
        let unexpected = |bracket| HostPortError::UnexpectedBracket {
            address: text.to_owned(),
            bracket,
        };
        let host = if let Some(inside) = text.strip_prefix('[') {
            let end = inside
                .find(']')
                .ok_or_else(|| HostPortError::MissingBracket(text.to_owned()))?;
            match &inside[end + 1..] {
                "" => return Err(HostPortError::MissingPort(text.to_owned())),
                after if after.len() == text.len() - colon && after.starts_with(':') => {}
                after if after.starts_with(':') => {
                    return Err(HostPortError::TooManyColons(text.to_owned()));
                }
                _ => return Err(HostPortError::MissingPort(text.to_owned())),
            }
            if inside[..end].contains('[') {
                return Err(unexpected('['));
            }
            &inside[..end]
        } else {
            if text[..colon].contains(':') {
                return Err(HostPortError::TooManyColons(text.to_owned()));
            }
            &text[..colon]
        };
        let port = &text[colon + 1..];
        for bracket in ['[', ']'] {
            if port.contains(bracket) || host.contains(bracket) {
                return Err(unexpected(bracket));
            }
        }
        check_zone(host, text)?;
        let digits = port.strip_prefix(['+', '-']).unwrap_or(port);
        let numeric = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if numeric && port.parse::<u16>().is_err() {
            return Err(HostPortError::InvalidPort(text.to_owned()));
        }
        Ok(Self {
            host: host.to_owned(),
            port: port.to_owned(),
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
