//! What limits on strangers count by: one IPv4 address, or one IPv6 network of 64 bits.
//!
//! What always holds: an IPv4 address that is mapped into IPv6, as a dual-stack socket shows it, is the same key as
//! the address itself.

use std::net::{IpAddr, Ipv6Addr};

/// The part of a peer's address that limits count by: one IPv4 address (/32), or an IPv6 /64, within which a peer may
/// choose addresses at will (RFC 4291 section 2.5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LimitKey(IpAddr);

impl From<IpAddr> for LimitKey {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        })
    }
}
