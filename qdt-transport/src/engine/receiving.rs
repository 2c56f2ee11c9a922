//! The receiving half of a turn: datagrams from the socket and from other workers, into the
//! endpoint.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::{DatagramEvent, EcnCodepoint};

use super::{Application, Engine, Responder};
use crate::batch::Batch;
use crate::counters::UdpReject;
use crate::udp::{DatagramPort, RECEIVE_BUFFERS, Received};

/// Receive calls per turn: enough to empty a burst, few enough to keep serving the TUN.
const RECEIVE_CALLS: usize = 4;
/// After this time without a packet the next one is acknowledged at once.
const SILENCE: Duration = Duration::from_secs(1);

/// The metadata of a received datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(super) from: SocketAddr,
    local_ip: Option<IpAddr>,
    ecn: Option<EcnCodepoint>,
}

/// Datagrams that one worker received and another one owns. Buffers up to 1 MiB are kept.
pub(crate) type Handover = Batch<Arrival, { 1 << 20 }>;

impl<A: Application, P: DatagramPort> Engine<A, P> {
    /// Reads the socket within the budget of a turn. Returns whether there may be more.
    pub(crate) fn receive(&mut self, app: &mut A, now: Instant) -> bool {
        for _ in 0..RECEIVE_CALLS {
            let (mut batches, mut count) = (<[_; RECEIVE_BUFFERS]>::default(), 0);
            let keep = |received| {
                batches[count] = Some(received);
                count += 1;
            };
            match self.port.receive(keep) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // An ICMP error of an earlier send or a passing network fault; the socket stays
                // usable.
                Err(_) => continue,
            }
            for received in batches.into_iter().flatten() {
                self.receive_batch(app, now, received);
            }
            self.deliver(app, now);
            if count < RECEIVE_BUFFERS {
                // The socket was empty; what has arrived since wakes the next turn.
                return false;
            }
        }
        true
    }

    fn receive_batch(&mut self, app: &mut A, now: Instant, received: Received) {
        let Received {
            from,
            local_ip,
            ecn,
            stride,
            mut batch,
        } = received;
        let datagrams = batch.len().div_ceil(stride);
        let counters = &self.counters;
        counters.udp_read(datagrams);
        if from.port() == 0 {
            // An answer to port 0 is impossible.
            counters.udp_rejected(UdpReject::PortZero, datagrams);
            return;
        }
        let arrival = Arrival {
            from,
            local_ip,
            ecn,
        };
        while !batch.is_empty() {
            let datagram = batch.split_to(stride.min(batch.len()));
            match self.steering.other_owner(&datagram) {
                None => self.datagram(app, now, arrival, datagram),
                Some(owner) => {
                    self.handovers[owner].push(arrival, &[&datagram]);
                    self.has_handovers = true;
                }
            }
        }
    }

    /// Calls `give` with the datagrams for each other worker and its number.
    pub(crate) fn hand_over(&mut self, mut give: impl FnMut(usize, &mut Handover)) {
        if !std::mem::take(&mut self.has_handovers) {
            return;
        }
        for (worker, handover) in self.handovers.iter_mut().enumerate() {
            if !handover.is_empty() {
                give(worker, handover);
                handover.clear();
            }
        }
    }

    /// Handles datagrams that another worker received for this one.
    pub(crate) fn take_over(&mut self, app: &mut A, now: Instant, handover: &mut Handover) {
        if handover.is_empty() {
            return;
        }
        handover.for_each(|arrival, datagram| {
            self.datagram(app, now, arrival, BytesMut::from(&*datagram));
        });
        self.deliver(app, now);
    }

    /// Handles one datagram that this worker owns.
    fn datagram(&mut self, app: &mut A, now: Instant, arrival: Arrival, datagram: BytesMut) {
        let Arrival {
            from,
            local_ip,
            ecn,
        } = arrival;
        let len = datagram.len();
        self.scratch.clear();
        match self
            .endpoint
            .handle(now, from, local_ip, ecn, datagram, &mut self.scratch)
        {
            None => {}
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(link) = self.link(handle) {
                    link.after_silence |= now.saturating_duration_since(link.heard) >= SILENCE;
                    link.heard = now;
                    link.quic.handle_event(event);
                    self.touch(handle);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                let mut responder = Responder {
                    endpoint: &mut self.endpoint,
                    response: &mut self.scratch,
                    transmit: None,
                };
                let accepted = app.incoming(now, incoming, len, &mut responder);
                if let Some(transmit) = responder.transmit {
                    self.port.answer(&transmit, &self.scratch);
                }
                if let Some(accepted) = accepted {
                    self.insert(now, accepted);
                }
            }
            // Unsolicited answers (resets, version negotiation) are not worth waiting for.
            Some(DatagramEvent::Response(transmit)) => self.port.answer(&transmit, &self.scratch),
        }
    }

    /// Reports events and datagrams of the touched connections to the application.
    pub(super) fn deliver(&mut self, app: &mut A, now: Instant) {
        for index in 0..self.touched.len() {
            let handle = self.touched[index];
            if let Some(link) = self.links.get_mut(handle.0).and_then(Option::as_deref_mut) {
                while let Some(event) = link.quic.poll() {
                    app.event(now, link, event);
                }
                app.datagrams(now, link);
            }
        }
    }
}
