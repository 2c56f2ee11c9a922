//! A source of numbered UDP packets, paced by the clock: every [`STEP`] it sends what is due. What
//! it could not send in time, because the machine let it wait, is not made up for in one burst.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use libc::UDP_SEGMENT;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

use super::{HEADERS, on, set_udp_option};
use crate::figure::UdpLoad;

/// Time between two bursts. The queue of a TUN device holds 500 packets at most, so at a million
/// packets per second a burst has to be shorter than half a millisecond.
pub(super) const STEP: Duration = Duration::from_micros(200);
/// What stands at the head of each payload: the number of the flow.
pub(super) const MARK: usize = 4;
/// Packets per call.
const BURST: usize = 40;
/// Steps that are made up for after having waited.
const LATE: f64 = 2.0;

/// One sender.
#[derive(Debug)]
pub(super) struct Sender {
    socket: UdpSocket,
    load: UdpLoad,
    flow: u32,
    /// [`BURST`] payloads, one behind the other.
    payloads: Vec<u8>,
}

impl Sender {
    /// Connects to `to`, in the network namespace of this thread.
    pub(super) fn connect(to: SocketAddr, load: UdpLoad) -> Result<Self> {
        let socket = UdpSocket::bind(on(Ipv4Addr::UNSPECIFIED)).context("a UDP socket")?;
        socket
            .connect(to)
            .with_context(|| format!("a UDP socket to {to}"))?;
        // Packets that wait for the processor are the sender's own business, not a loss.
        rustix::net::sockopt::set_socket_send_buffer_size_force(&socket, 8 << 20)
            .context("a large send buffer")?;
        let payload = load.bytes - HEADERS;
        if load.trains {
            set_udp_option(&socket, UDP_SEGMENT, payload)?;
        }
        Ok(Self {
            socket,
            load,
            flow: 0,
            payloads: vec![0; payload * BURST],
        })
    }

    /// Begins the next flow and tells its number.
    pub(super) fn next_flow(&mut self) -> u32 {
        self.flow += 1;
        let payload = self.load.bytes - HEADERS;
        for packet in self.payloads.chunks_exact_mut(payload) {
            packet[..MARK].copy_from_slice(&self.flow.to_be_bytes());
        }
        self.flow
    }

    /// Sends `rate` packets per second for `time`; tells how many it sent and how long that took.
    pub(super) fn send(&mut self, rate: f64, time: Duration) -> Result<(u64, Duration)> {
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| self.send_paced(rate, time));
            sending.join().expect("the sender does not panic")
        })
    }

    fn send_paced(&self, rate: f64, time: Duration) -> Result<(u64, Duration)> {
        // The default lets a thread sleep 50 microseconds longer than it asked for.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).context("the timer slack")?;
        let at_most = (rate * STEP.as_secs_f64() * LATE).max(1.0);
        let begun = Instant::now();
        let (mut sent, mut due, mut paced) = (0_u64, 0.0_f64, begun);
        loop {
            let now = Instant::now();
            if now.duration_since(begun) >= time {
                return Ok((sent, now.duration_since(begun)));
            }
            due = (due + rate * now.duration_since(paced).as_secs_f64()).min(at_most);
            paced = now;
            while due >= 1.0 {
                let burst = (due as usize).min(BURST);
                self.send_burst(burst)?;
                due -= burst as f64;
                sent += burst as u64;
            }
            std::thread::sleep(STEP.saturating_sub(now.elapsed()));
        }
    }

    fn send_burst(&self, packets: usize) -> Result<()> {
        let payload = self.load.bytes - HEADERS;
        let burst = &self.payloads[..payload * packets];
        if self.load.trains {
            self.socket.send(burst).context("a train of UDP packets")?;
            return Ok(());
        }
        let slices: Vec<_> = burst.chunks_exact(payload).map(IoSlice::new).collect();
        let mut controls: Vec<_> = slices
            .iter()
            .map(|_| SendAncillaryBuffer::default())
            .collect();
        let mut messages: Vec<_> = slices
            .chunks(1)
            .zip(&mut controls)
            .map(|(slice, control)| MMsgHdr::new(slice, control))
            .collect();
        let mut sent = 0;
        while sent < packets {
            sent += sendmmsg(&self.socket, &mut messages[sent..], SendFlags::empty())
                .context("UDP packets")?;
        }
        Ok(())
    }
}
