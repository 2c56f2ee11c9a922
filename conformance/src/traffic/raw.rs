//! Raw IPv4 packets with any source address.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use crate::Machine;

/// A raw socket that takes whole IPv4 packets.
#[derive(Debug)]
pub struct RawIp {
    socket: Socket,
}

impl RawIp {
    /// Opens the socket on `machine`.
    ///
    /// # Panics
    /// Without root.
    #[must_use]
    pub fn open(machine: &Machine) -> Self {
        let socket = machine
            .enter(|| {
                Socket::new(
                    Domain::IPV4,
                    Type::RAW,
                    Some(Protocol::from(libc::IPPROTO_RAW)),
                )
            })
            .expect("a raw socket (root)");
        Self { socket }
    }

    /// Sends one packet to its own destination address.
    ///
    /// # Errors
    /// Those of the socket; a packet without a header is `InvalidInput`.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        let destination: [u8; 4] = packet
            .get(16..20)
            .and_then(|octets| octets.try_into().ok())
            .ok_or(io::ErrorKind::InvalidInput)?;
        let target = SocketAddr::from((Ipv4Addr::from(destination), 0));
        self.socket.send_to(packet, &target.into()).map(|_| ())
    }
}
