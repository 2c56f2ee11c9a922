//! A server's answer after all checks: what a client may apply to its host.
//!
//! Invariants: an [`Assignment`] comes from [`Assignment::check`] only, so every part of it is
//! valid. A hostile or broken server gets a typed error, and none of its texts reaches the host's
//! routes, TUN device or name servers.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::{Capabilities, ConnectResponse, Nonce, NonceError, Ticket};
use crate::datagram::{OVERHEAD, SessionId};

/// The smallest session mtu that a client accepts, in bytes: less than our server grants, and more
/// than an inner IPv4 packet of 68 bytes needs (RFC 791, section 3.2).
const MIN_ACCEPTED_MTU: u16 = 256;

/// The shortest prefix of a pool of public addresses: a shorter one would route a good part of the
/// internet into the tunnel.
const MIN_PREFIX: u8 = 16;

/// The networks whose pools may have a shorter prefix: private use (RFC 1918), shared address space
/// (RFC 6598), benchmarks (RFC 2544).
const NOT_PUBLIC: [([u8; 4], u8); 4] = [
    ([10, 0, 0, 0], 8),
    ([172, 16, 0, 0], 12),
    ([100, 64, 0, 0], 10),
    ([198, 18, 0, 0], 15),
];

/// A checked answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Assignment {
    /// The session id.
    pub session_id: SessionId,
    /// The server's nonce.
    pub server_nonce: Nonce,
    /// The largest datagram in bytes, 256 to what the client asked for.
    pub mtu: u16,
    /// The inner address with the prefix length of the pool.
    pub address: IpNet,
    /// The server's inner address.
    pub gateway: IpAddr,
    /// The valid name servers.
    pub dns: Vec<IpAddr>,
    /// The invalid name servers, which are left out.
    pub refused_dns: Vec<DnsEntryError>,
    /// The extensions that the server confirmed; `None` for a Go server.
    pub caps: Option<Capabilities>,
    /// The ticket for the next connection.
    pub resume: Option<Ticket>,
}

/// The reason why an answer is invalid. The server's texts are quoted and escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssignmentError {
    /// `server_nonce` is not a nonce.
    #[error("server_nonce: {0}")]
    Nonce(#[from] NonceError),
    /// `client_ip` is not an IPv4 address.
    #[error("client_ip {0:?} is not an IPv4 address")]
    ClientIp(String),
    /// `gateway_ip` is not an IPv4 address.
    #[error("gateway_ip {0:?} is not an IPv4 address")]
    GatewayIp(String),
    /// `cidr` is not an IPv4 network.
    #[error("cidr {0:?} is not an IPv4 network")]
    Cidr(String),
    /// `cidr` is too wide for a pool, or not for hosts.
    #[error(
        "cidr {0} is too wide or not for hosts; a pool lies in a private network or is /16 or longer"
    )]
    WildCidr(IpNet),
    /// An address lies outside the pool.
    #[error("{field} {address} lies outside cidr {cidr}")]
    Outside {
        /// `client_ip` or `gateway_ip`.
        field: &'static str,
        /// The address.
        address: IpAddr,
        /// The pool.
        cidr: IpNet,
    },
    /// The network or broadcast address of the pool.
    #[error("{field} {address} cannot be a host's address in {cidr}")]
    NotAHost {
        /// `client_ip` or `gateway_ip`.
        field: &'static str,
        /// The address.
        address: IpAddr,
        /// The pool.
        cidr: IpNet,
    },
    /// The client and the server have the same address.
    #[error("client_ip and gateway_ip are both {0}")]
    SameAddress(IpAddr),
    /// The mtu is too small.
    #[error("mtu {0}: at least {MIN_ACCEPTED_MTU} is needed")]
    Mtu(i64),
}

/// A name server that is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server's dns entry {0:?} is not an IP address; it was left out")]
pub struct DnsEntryError(pub String);

impl Assignment {
    /// Checks an answer. `requested_mtu` in bytes is the upper bound of the session's.
    ///
    /// # Errors
    /// [`AssignmentError`] names the first invalid part.
    pub fn check(answer: &ConnectResponse, requested_mtu: u16) -> Result<Self, AssignmentError> {
        let server_nonce = Nonce::from_text(&answer.server_nonce)?;
        let mtu = answer.mtu.min(i64::from(requested_mtu));
        let mtu = u16::try_from(mtu)
            .ok()
            .filter(|mtu| *mtu >= MIN_ACCEPTED_MTU)
            .ok_or(AssignmentError::Mtu(answer.mtu))?;
        let client = ipv4(&answer.client_ip)
            .ok_or_else(|| AssignmentError::ClientIp(answer.client_ip.clone()))?;
        let gateway = ipv4(&answer.gateway_ip)
            .ok_or_else(|| AssignmentError::GatewayIp(answer.gateway_ip.clone()))?;
        let cidr: Ipv4Net = answer
            .cidr
            .parse()
            .map_err(|_| AssignmentError::Cidr(answer.cidr.clone()))?;
        let cidr = IpNet::from(cidr.trunc());
        if is_too_wide(cidr) || !is_for_hosts(cidr.network()) {
            return Err(AssignmentError::WildCidr(cidr));
        }
        check_host("client_ip", client, cidr)?;
        check_host("gateway_ip", gateway, cidr)?;
        if client == gateway {
            return Err(AssignmentError::SameAddress(client));
        }
        let mut dns = Vec::new();
        let mut refused_dns = Vec::new();
        for entry in &answer.dns {
            match entry.parse() {
                Ok(address) => dns.push(address),
                Err(_) => refused_dns.push(DnsEntryError(entry.clone())),
            }
        }
        Ok(Self {
            session_id: answer.session_id,
            server_nonce,
            mtu,
            address: IpNet::new(client, cidr.prefix_len())
                .expect("the prefix length comes from a network"),
            gateway,
            dns,
            refused_dns,
            caps: answer.caps.as_deref().map(Capabilities::negotiate),
            resume: answer.resume.clone().map(Ticket::new),
        })
    }

    /// Returns the MTU of the TUN device in bytes: its largest packet fits one datagram.
    #[must_use]
    pub fn tun_mtu(&self) -> u16 {
        self.mtu - OVERHEAD as u16
    }
}

/// Parses an IPv4 address, the only family of inner addresses today.
fn ipv4(text: &str) -> Option<IpAddr> {
    text.parse().ok().filter(IpAddr::is_ipv4)
}

fn is_too_wide(cidr: IpNet) -> bool {
    let holds = |(octets, prefix_len): &([u8; 4], u8)| {
        IpNet::new_assert((*octets).into(), *prefix_len).contains(&cidr)
    };
    cidr.prefix_len() < MIN_PREFIX && !NOT_PUBLIC.iter().any(holds)
}

/// Returns whether a network of this address can have hosts (RFC 6890: not "this network",
/// loopback, multicast or reserved).
fn is_for_hosts(address: IpAddr) -> bool {
    let IpAddr::V4(address) = address else {
        return false;
    };
    let first = address.octets()[0];
    first != 0 && first != 127 && first < 224
}

fn check_host(field: &'static str, address: IpAddr, cidr: IpNet) -> Result<(), AssignmentError> {
    if !cidr.contains(&address) {
        return Err(AssignmentError::Outside {
            field,
            address,
            cidr,
        });
    }
    // RFC 3021: a /31 has neither network nor broadcast address.
    if cidr.prefix_len() < 31 && (address == cidr.network() || address == cidr.broadcast()) {
        return Err(AssignmentError::NotAHost {
            field,
            address,
            cidr,
        });
    }
    Ok(())
}
