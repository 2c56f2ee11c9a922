//! Validated views of inner packets.
//!
//! A value of [`InnerPacket`] is a promise: the version is 4 or 6, the header is complete, and the
//! length in the header is exactly the number of bytes there are. Only such packets may reach a TUN
//! device.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::upper_layer::upper_layer;
use super::{IPV4_HEADER, IPV6_HEADER, be16};

/// Why bytes are not an inner packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InnerError {
    /// There are no bytes at all.
    #[error("the inner packet is empty")]
    Empty,
    /// The first four bits are neither 4 nor 6.
    #[error("the inner packet has IP version {0}, only 4 and 6 exist")]
    Version(u8),
    /// Fewer bytes than the header needs.
    #[error("the inner packet of {length} bytes is shorter than its header of {header} bytes")]
    Truncated {
        /// Bytes there are.
        length: usize,
        /// Bytes the header needs.
        header: usize,
    },
    /// The IPv4 header length field is below 20 bytes.
    #[error("the inner IPv4 packet says its header has {0} bytes, at least 20 are needed")]
    HeaderLength(usize),
    /// The length in the header is not the number of bytes there are.
    #[error("the inner packet says it has {stated} bytes, but {actual} arrived")]
    TotalLength {
        /// What the header says: IPv4 total length, or IPv6 payload length and 40.
        stated: usize,
        /// Bytes there are.
        actual: usize,
    },
}

/// A validated IPv4 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Packet<'a>(&'a [u8]);

/// A validated IPv6 packet. Jumbograms (payload length 0, RFC 2675) are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Packet<'a>(&'a [u8]);

/// A validated inner packet of either version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InnerPacket<'a> {
    /// IPv4 (RFC 791).
    V4(Ipv4Packet<'a>),
    /// IPv6 (RFC 8200).
    V6(Ipv6Packet<'a>),
}

impl<'a> InnerPacket<'a> {
    /// Validates `packet`, which must be one whole IP packet and nothing else.
    ///
    /// # Errors
    /// An [`InnerError`] that says what is wrong with the header or with the length.
    #[inline]
    pub fn parse(packet: &'a [u8]) -> Result<Self, InnerError> {
        match packet.first().ok_or(InnerError::Empty)? >> 4 {
            4 => Ipv4Packet::parse(packet).map(Self::V4),
            6 => Ipv6Packet::parse(packet).map(Self::V6),
            version => Err(InnerError::Version(version)),
        }
    }

    /// The sender's address.
    #[inline]
    #[must_use]
    pub fn source(&self) -> IpAddr {
        match self {
            Self::V4(packet) => IpAddr::V4(packet.source()),
            Self::V6(packet) => IpAddr::V6(packet.source()),
        }
    }

    /// The receiver's address.
    #[inline]
    #[must_use]
    pub fn destination(&self) -> IpAddr {
        match self {
            Self::V4(packet) => IpAddr::V4(packet.destination()),
            Self::V6(packet) => IpAddr::V6(packet.destination()),
        }
    }

    /// The upper-layer protocol number; for IPv6 the one behind the extension headers, `None` where
    /// their chain is cut off.
    #[must_use]
    pub fn protocol(&self) -> Option<u8> {
        upper_layer(self.bytes()).map(|upper| upper.protocol)
    }

    /// The whole packet.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        match self {
            Self::V4(packet) => packet.0,
            Self::V6(packet) => packet.0,
        }
    }
}

impl<'a> Ipv4Packet<'a> {
    /// Validates `packet` as IPv4.
    ///
    /// # Errors
    /// An [`InnerError`] that says what is wrong with the header or with the length.
    #[inline]
    pub fn parse(packet: &'a [u8]) -> Result<Self, InnerError> {
        let first = *packet.first().ok_or(InnerError::Empty)?;
        if first >> 4 != 4 {
            return Err(InnerError::Version(first >> 4));
        }
        let header = usize::from(first & 0x0f) * 4;
        if header < IPV4_HEADER {
            return Err(InnerError::HeaderLength(header));
        }
        if packet.len() < header {
            return Err(InnerError::Truncated {
                length: packet.len(),
                header,
            });
        }
        exact(usize::from(be16(packet, 2)), packet.len())?;
        Ok(Self(packet))
    }

    /// The sender's address.
    #[inline]
    #[must_use]
    pub fn source(&self) -> Ipv4Addr {
        Ipv4Addr::from(super::be32(self.0, 12))
    }

    /// The receiver's address.
    #[inline]
    #[must_use]
    pub fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::from(super::be32(self.0, 16))
    }

    /// The protocol number in the header.
    #[inline]
    #[must_use]
    pub fn protocol(&self) -> u8 {
        self.0[9]
    }
}

impl<'a> Ipv6Packet<'a> {
    /// Validates `packet` as IPv6.
    ///
    /// # Errors
    /// An [`InnerError`] that says what is wrong with the header or with the length.
    #[inline]
    pub fn parse(packet: &'a [u8]) -> Result<Self, InnerError> {
        let first = *packet.first().ok_or(InnerError::Empty)?;
        if first >> 4 != 6 {
            return Err(InnerError::Version(first >> 4));
        }
        if packet.len() < IPV6_HEADER {
            return Err(InnerError::Truncated {
                length: packet.len(),
                header: IPV6_HEADER,
            });
        }
        exact(usize::from(be16(packet, 4)) + IPV6_HEADER, packet.len())?;
        Ok(Self(packet))
    }

    /// The sender's address.
    #[inline]
    #[must_use]
    pub fn source(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.field::<8>())
    }

    /// The receiver's address.
    #[inline]
    #[must_use]
    pub fn destination(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.field::<24>())
    }

    fn field<const AT: usize>(&self) -> [u8; 16] {
        let mut field = [0; 16];
        field.copy_from_slice(&self.0[AT..AT + 16]);
        field
    }
}

#[inline]
fn exact(stated: usize, actual: usize) -> Result<(), InnerError> {
    if stated == actual {
        Ok(())
    } else {
        Err(InnerError::TotalLength { stated, actual })
    }
}
