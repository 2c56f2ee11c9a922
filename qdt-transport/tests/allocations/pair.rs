//! A client and a server that carry packets in turns: a burst up, and after its arrival a burst
//! down. No packet waits for a later turn of the workers, and none is lost.

use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use qdt_host::tun::Offload;
use qdt_proto::packet::{GsoKind, Sum, VnetHeader};
use qdt_transport::{AttemptId, ClientCommand, ClientEvent, ClientTrust, PacketSize};

use crate::support::{Client, GATEWAY, Server, inner_address, new_certificate, packet, receive};

/// IP and TCP header.
const HEADERS: usize = 40;
/// TCP payload of a full packet, which fits one datagram with its headers.
const SEGMENT: usize = 1312 - HEADERS;
/// Packets in each direction of a turn.
const BURST: usize = 40;

const TSO: Offload = Offload {
    vnet_header: true,
    tcp4: true,
    tcp6: true,
    udp: true,
};

/// The packets in the TUN devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// UDP packets of full size, one by one.
    Single,
    /// UDP packets of 60 bytes.
    Small,
    /// TCP super-packets.
    Super,
}

/// A server and a client with a session. Exclusive, because the allocator records the whole
/// process.
pub(crate) struct Pair {
    server: Server,
    client: Client,
    kernel: UnixDatagram,
    shape: Shape,
    _exclusive: MutexGuard<'static, ()>,
}

/// Waits until no other test of this file runs.
pub(crate) fn exclusive() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pair {
    pub(crate) fn connect(shape: Shape) -> Self {
        let exclusive = exclusive();
        let offload = match shape {
            Shape::Super => TSO,
            _ => Offload::NONE,
        };
        let server = Server::launch(1, new_certificate(), false, offload);
        let mut settings = Client::settings(&ClientTrust::Pin(server.pin));
        // Probes are not part of the packet path.
        settings.probe_interval = Some(Duration::from_secs(3600));
        let mut client = Client::start(settings);
        client.dial(1, server.addr, PacketSize::Full);
        let ClientEvent::Established { assignment, .. } = client.event() else {
            panic!("not established");
        };
        client.inner = inner_address(&assignment);
        let kernel = client.attach_offloaded(offload);
        client.worker.send(ClientCommand::Adopt(AttemptId(1)));
        Self {
            server,
            client,
            kernel,
            shape,
            _exclusive: exclusive,
        }
    }

    /// Sends packets up and down and waits for them. Returns how many.
    pub(crate) fn turn(&mut self) -> usize {
        let there = &self.server.tuns[0];
        let inner = self.client.inner;
        self.carry(&self.kernel, there, inner, GATEWAY)
            + self.carry(there, &self.kernel, GATEWAY, inner)
    }

    fn carry(
        &self,
        from: &UnixDatagram,
        to: &UnixDatagram,
        source: Ipv4Addr,
        destination: Ipv4Addr,
    ) -> usize {
        let len = match self.shape {
            Shape::Single => 1312,
            Shape::Small => 60,
            Shape::Super => {
                from.send(&super_packet(source, destination)).expect("sent");
                let mut missing = BURST * SEGMENT;
                while missing > 0 {
                    missing -= receive(to).len() - VnetHeader::LEN - HEADERS;
                }
                return BURST;
            }
        };
        let packet = packet(source, destination, len);
        for _ in 0..BURST {
            from.send(&packet).expect("sent");
        }
        for _ in 0..BURST {
            assert_eq!(receive(to).len(), len);
        }
        BURST
    }
}

/// Returns a TUN read of [`BURST`] TCP packets.
fn super_packet(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let len = HEADERS + BURST * SEGMENT;
    let mut packet = packet(source, destination, len);
    packet[9] = 6;
    packet[10..12].fill(0);
    let checksum = Sum::of(&packet[..20]).checksum();
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    // After the ports: sequence and acknowledgement number, header of 20 bytes, ACK, window, no
    // urgent data.
    packet[24..32].fill(0);
    packet[32..40].copy_from_slice(&[0x50, 0x10, 1, 0xf5, 0, 0, 0, 0]);
    let sum = Sum::pseudo_header(&packet, 6, len - 20).fold();
    packet[36..38].copy_from_slice(&sum.to_be_bytes());
    let header = VnetHeader {
        needs_checksum: true,
        kind: GsoKind::Tcp4,
        header_len: HEADERS as u16,
        segment_size: SEGMENT as u16,
        checksum_start: 20,
        checksum_offset: 16,
        ..VnetHeader::default()
    };
    [&header.encode()[..], &packet].concat()
}
