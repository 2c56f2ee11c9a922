//! Counts the packets of one flow on a thread of its own. The kernel may hand over several at a
//! time (UDP_GRO); all of a flow have one length, so their number follows from the length of the
//! whole.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use libc::UDP_GRO;

use super::sender::MARK;
use super::{HEADERS, on, set_udp_option};
use crate::figure::UdpLoad;

/// How soon the thread notices that it is not needed any more.
const WAKE: Duration = Duration::from_millis(20);
/// Between two looks at the count.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// One receiver. Its thread ends with it.
#[derive(Debug)]
pub(super) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    flow: AtomicU32,
    received: AtomicU64,
    stop: AtomicBool,
}

impl Receiver {
    /// Listens at `address`, in the network namespace of this thread.
    pub(super) fn start(address: Ipv4Addr, load: UdpLoad) -> Result<Self> {
        let socket =
            UdpSocket::bind(on(address)).with_context(|| format!("a UDP socket at {address}"))?;
        // A receiver that waits for the processor loses nothing.
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 64 << 20)
            .context("a large receive buffer")?;
        set_udp_option(&socket, UDP_GRO, 1)?;
        socket
            .set_read_timeout(Some(WAKE))
            .context("a read timeout")?;
        let address = socket.local_addr().context("the port of a UDP socket")?;
        let shared = Arc::<Shared>::default();
        let counted = shared.clone();
        let thread = std::thread::spawn(move || count(&socket, load.bytes - HEADERS, &counted));
        Ok(Self {
            address,
            shared,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Counts this flow and no other from now on.
    pub(super) fn expect(&self, flow: u32) {
        self.shared.flow.store(flow, Ordering::SeqCst);
        self.shared.received.store(0, Ordering::SeqCst);
    }

    /// How many have arrived when all `sent` have, or when none came for `quiet`.
    pub(super) fn wait_for(&self, sent: u64, quiet: Duration) -> u64 {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let received = self.shared.received.load(Ordering::SeqCst);
            if received > last {
                (last, since) = (received, Instant::now());
            }
            if received >= sent || since.elapsed() >= quiet {
                return received;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn count(socket: &UdpSocket, payload: usize, shared: &Shared) {
    let mut buffer = vec![0; 65_536];
    while !shared.stop.load(Ordering::Relaxed) {
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            // An ICMP error about an earlier packet is not a packet.
            Err(_) => 0,
        };
        let flow = shared.flow.load(Ordering::Relaxed).to_be_bytes();
        let packets = buffer[..length]
            .chunks_exact(payload)
            .filter(|packet| packet[..MARK] == flow)
            .count();
        shared.received.fetch_add(packets as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::sender::Sender;
    use super::*;

    #[test]
    fn every_packet_of_the_flow_is_counted_and_none_of_another() {
        for trains in [false, true] {
            let load = UdpLoad { bytes: 512, trains };
            let receiver = Receiver::start(Ipv4Addr::LOCALHOST, load).expect("loopback");
            let mut sender = Sender::connect(receiver.address(), load).expect("loopback");
            let time = Duration::from_millis(50);
            sender.next_flow();
            sender.send(10_000.0, time).expect("loopback");
            receiver.expect(sender.next_flow());
            let (sent, _) = sender.send(10_000.0, time).expect("loopback");
            assert!((1..=520).contains(&sent), "{sent}");
            assert_eq!(receiver.wait_for(sent, Duration::from_secs(5)), sent);
        }
    }
}
