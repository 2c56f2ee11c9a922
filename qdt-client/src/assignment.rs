//! What a server's answer may do to this host: the one place where its words become addresses.
//!
//! What always holds here: an [`Assignment`] exists only for an answer whose every part is sane.
//! A server that is hostile or broken gets a typed error and nothing reaches the host (routes,
//! TUN, resolver) as text of the server's choosing.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use qdt_proto::datagram::OVERHEAD;
use qdt_proto::handshake::ConnectResponse;
use qdt_transport::Ticket;

/// The smallest MTU of an IPv4 link (RFC 791, section 3.2).
const MIN_IPV4_MTU: u16 = 68;

/// The shortest prefix a pool of public addresses may have: anything wider would take a good part
/// of the internet into the tunnel.
const MIN_PREFIX: u8 = 16;

/// Where a pool may be wider: private use (RFC 1918), shared address space (RFC 6598), benchmarks
/// (RFC 2544).
const NOT_PUBLIC: [([u8; 4], u8); 4] = [
    ([10, 0, 0, 0], 8),
    ([172, 16, 0, 0], 12),
    ([100, 64, 0, 0], 10),
    ([198, 18, 0, 0], 15),
];

/// A checked answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The session id, for the log.
    pub session_id: u64,
    /// The inner address with the prefix length of the pool.
    pub address: IpNet,
    /// The server's inner address.
    pub gateway: IpAddr,
    /// The MTU of the TUN device in bytes: a packet of it fits one datagram.
    pub tun_mtu: u16,
    /// The resolvers that are addresses.
    pub dns: Vec<IpAddr>,
    /// The resolvers that are not, one error each; they are left out.
    pub refused_dns: Vec<DnsEntryError>,
    /// Whether the server confirms extensions, as ours does and a Go server never does.
    pub extensions: bool,
    /// The ticket for the next connection.
    pub resume: Option<Ticket>,
}

/// Why an answer is not acceptable. The texts of the server are quoted and escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssignmentError {
    /// `client_ip` is no IPv4 address.
    #[error("invalid answer: client_ip {0:?} is not an IPv4 address")]
    ClientIp(String),
    /// `gateway_ip` is no IPv4 address.
    #[error("invalid answer: gateway_ip {0:?} is not an IPv4 address")]
    GatewayIp(String),
    /// `cidr` is no IPv4 network.
    #[error("invalid answer: cidr {0:?} is not an IPv4 network")]
    Cidr(String),
    /// `cidr` reaches beyond what a pool may be.
    #[error(
        "invalid answer: cidr {0} is too wide or not for hosts; a pool lies in a private network \
         or is /16 or longer"
    )]
    WildCidr(IpNet),
    /// An address lies outside the pool.
    #[error("invalid answer: {field} {address} lies outside cidr {cidr}")]
    Outside {
        /// `client_ip` or `gateway_ip`.
        field: &'static str,
        /// The address.
        address: IpAddr,
        /// The pool.
        cidr: IpNet,
    },
    /// An address no host may have in that pool.
    #[error("invalid answer: {field} {address} cannot be a host's address in {cidr}")]
    NotAHost {
        /// `client_ip` or `gateway_ip`.
        field: &'static str,
        /// The address.
        address: IpAddr,
        /// The pool.
        cidr: IpNet,
    },
    /// The client would be its own gateway.
    #[error("invalid answer: client_ip and gateway_ip are both {0}")]
    SameAddress(IpAddr),
    /// The mtu leaves no room for an IPv4 packet.
    #[error("invalid answer: mtu {0} carries no IPv4 packet; the least is 106")]
    Mtu(i64),
}

/// A resolver that is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server's dns entry {0:?} is not an IP address; it was left out")]
pub struct DnsEntryError(pub String);

impl Assignment {
    /// Checks an answer. `mtu_limit` is the largest mtu that was asked for, in bytes: a server
    /// cannot raise it.
    ///
    /// # Errors
    /// [`AssignmentError`] names the first part that is not acceptable.
    pub fn check(answer: &ConnectResponse, mtu_limit: u16) -> Result<Self, AssignmentError> {
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
        let mtu = answer.mtu.min(i64::from(mtu_limit));
        let tun_mtu = u16::try_from(mtu)
            .ok()
            .and_then(|mtu| mtu.checked_sub(OVERHEAD as u16))
            .filter(|tun_mtu| *tun_mtu >= MIN_IPV4_MTU)
            .ok_or(AssignmentError::Mtu(answer.mtu))?;
        let mut dns = Vec::new();
        let mut refused_dns = Vec::new();
        for entry in &answer.dns {
            match entry.parse() {
                Ok(address) => dns.push(address),
                Err(_) => refused_dns.push(DnsEntryError(entry.clone())),
            }
        }
        Ok(Self {
            session_id: answer.session_id.0,
            address: IpNet::new(client, cidr.prefix_len())
                .expect("the prefix length comes from a network"),
            gateway,
            tun_mtu,
            dns,
            refused_dns,
            extensions: answer.caps.is_some(),
            resume: answer.resume.clone().map(Ticket::new),
        })
    }
}

/// The only family that a server gives addresses of.
fn ipv4(text: &str) -> Option<IpAddr> {
    text.parse().ok().filter(IpAddr::is_ipv4)
}

fn is_too_wide(cidr: IpNet) -> bool {
    let holds = |(octets, prefix_len): &([u8; 4], u8)| {
        IpNet::new_assert((*octets).into(), *prefix_len).contains(&cidr)
    };
    cidr.prefix_len() < MIN_PREFIX && !NOT_PUBLIC.iter().any(holds)
}

/// Whether a network of this address can hold hosts at all (RFC 6890: not "this network",
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
    let reserved =
        cidr.prefix_len() < 31 && (address == cidr.network() || address == cidr.broadcast());
    if reserved {
        return Err(AssignmentError::NotAHost {
            field,
            address,
            cidr,
        });
    }
    Ok(())
}
