//! The QUIC engine of a worker: one endpoint, its connections, their timers, one UDP socket.
//!
//! The engine moves packets between the socket and quinn-proto's state machines and reports events
//! to an [`Application`]; it knows neither sessions nor the TUN. A turn of the loop calls
//! [`Engine::receive`], [`Engine::expire`], then [`Engine::flush`], which sends on every touched
//! connection. A caller that changes a connection from outside calls [`Engine::touch`]; otherwise
//! its packets wait for the next timer.
//!
//! Invariants: a connection is in `touched` exactly when its `touched` flag is set; `touched` is
//! first in, first out, and a connection that a full socket interrupts goes to the end; the heap
//! has every connection's earliest deadline, rounded up where it is far off; nothing is polled for
//! transmission while the socket is full; the endpoint gets only datagrams with this worker's
//! connection ids, and answers no others.

mod deadlines;
mod link;
mod receiving;
mod socket;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use quinn_proto::{ConnectionHandle, Endpoint, Event, Incoming, Transmit};

use crate::counters::WorkerCounters;
use crate::udp::{DatagramPort, SendError, Steering, UdpPort};
use deadlines::Deadlines;
pub(crate) use link::{Link, Pace};
pub(crate) use receiving::Handover;

/// The most datagrams per send call; more gains nothing (26 to 44 measured the same).
const SEND_SEGMENTS: usize = 44;
/// The largest UDP payload of one GSO send (`UDP_MAX_SEGMENTS` and the 16-bit length, minus
/// headers).
const SEND_BYTES: usize = 65_507;

/// The protocol above QUIC: accepts connections and handles their events.
pub(crate) trait Application: Sized {
    /// The application's state of one connection.
    type Connection;

    /// Accepts a first packet of `len` bytes and returns the connection's state, or answers it
    /// through `responder`.
    fn incoming(
        &mut self,
        _now: Instant,
        incoming: Incoming,
        _len: usize,
        responder: &mut Responder<'_>,
    ) -> Option<Accepted<Self::Connection>> {
        responder.endpoint.ignore(incoming);
        None
    }

    /// Handles an event of a connection.
    fn event(&mut self, now: Instant, link: &mut Link<Self::Connection>, event: Event);

    /// Reads the datagrams of a connection, of which there may be none.
    fn datagrams(&mut self, now: Instant, link: &mut Link<Self::Connection>);

    /// Handles the application's own deadline of a connection.
    fn deadline(&mut self, now: Instant, link: &mut Link<Self::Connection>);

    /// Handles the end of a connection, closed by either side. Its last packets are still to be
    /// sent.
    fn closed(&mut self, now: Instant, link: &mut Link<Self::Connection>);

    /// Takes back a connection that is drained (RFC 9000 section 10.2).
    fn drained(&mut self, link: Box<Link<Self::Connection>>);

    /// Handles a send error of a connection, never `WouldBlock`. To QUIC it is a lost packet: it is
    /// sent again, or the idle timeout ends the connection.
    fn send_failed(&mut self, _: Instant, _: &mut Link<Self::Connection>, _error: &io::Error) {}
}

/// A connection that the application accepted.
pub(crate) struct Accepted<C> {
    pub(crate) handle: ConnectionHandle,
    pub(crate) quic: quinn_proto::Connection,
    pub(crate) app: C,
    /// The application's first deadline.
    pub(crate) wake_at: Option<Instant>,
}

/// The answer to an incoming connection.
pub(crate) struct Responder<'a> {
    pub(crate) endpoint: &'a mut Endpoint,
    pub(crate) response: &'a mut Vec<u8>,
    transmit: Option<Transmit>,
}

impl Responder<'_> {
    /// Sends the packet that the endpoint wrote into `response`.
    pub(crate) fn respond(&mut self, transmit: Transmit) {
        self.transmit = Some(transmit);
    }
}

/// A batch of packets, or the rest of one, for which the socket had no room.
struct Unsent {
    handle: ConnectionHandle,
    transmit: Transmit,
    contents: Vec<u8>,
}

impl Unsent {
    /// Removes the first `bytes`, which the socket took.
    fn has_sent(&mut self, bytes: usize) {
        self.contents.drain(..bytes);
        self.transmit.size -= bytes;
    }
}

pub(crate) struct Engine<A: Application, P = UdpPort> {
    endpoint: Endpoint,
    port: P,
    links: Vec<Option<Box<Link<A::Connection>>>>,
    deadlines: Deadlines,
    touched: VecDeque<ConnectionHandle>,
    scratch: Vec<u8>,
    unsent: Option<Unsent>,
    steering: Steering,
    /// Datagrams for other workers, by worker.
    handovers: Vec<Handover>,
    /// Whether any of `handovers` is not empty.
    has_handovers: bool,
    counters: Arc<WorkerCounters>,
}

impl<A: Application, P: DatagramPort> Engine<A, P> {
    pub(crate) fn new(
        now: Instant,
        endpoint: Endpoint,
        port: P,
        steering: Steering,
        counters: Arc<WorkerCounters>,
    ) -> Self {
        Self {
            endpoint,
            port,
            links: Vec::new(),
            deadlines: Deadlines::new(now),
            touched: VecDeque::new(),
            scratch: Vec::with_capacity(SEND_BYTES),
            unsent: None,
            steering,
            handovers: (0..steering.workers())
                .map(|_| Handover::default())
                .collect(),
            has_handovers: false,
            counters,
        }
    }

    /// Returns the parts that a dial needs.
    pub(crate) fn endpoint_and_port(&mut self) -> (&mut Endpoint, &P) {
        (&mut self.endpoint, &self.port)
    }

    /// Returns whether the socket is full. The caller then waits for it to become writable and
    /// reads no more packets to send.
    pub(crate) fn is_blocked(&self) -> bool {
        self.unsent.is_some()
    }

    /// Returns when [`Self::expire`] is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Returns the connection of a handle.
    pub(crate) fn link(&mut self, handle: ConnectionHandle) -> Option<&mut Link<A::Connection>> {
        self.links.get_mut(handle.0)?.as_deref_mut()
    }

    /// Iterates over all connections.
    pub(crate) fn links(&mut self) -> impl Iterator<Item = &mut Link<A::Connection>> {
        self.links.iter_mut().filter_map(Option::as_deref_mut)
    }

    /// Adds a connection.
    pub(crate) fn insert(&mut self, now: Instant, accepted: Accepted<A::Connection>) {
        let handle = accepted.handle;
        if self.links.len() <= handle.0 {
            self.links.resize_with(handle.0 + 1, || None);
        }
        debug_assert!(
            self.links[handle.0].is_none(),
            "the endpoint reuses a handle only once it is free"
        );
        self.links[handle.0] = Some(Box::new(Link::new(now, accepted)));
        self.touch(handle);
    }

    /// Marks a connection as changed, for the next [`Self::flush`].
    pub(crate) fn touch(&mut self, handle: ConnectionHandle) {
        if let Some(link) = self.links.get_mut(handle.0).and_then(Option::as_mut)
            && !link.touched
        {
            link.touched = true;
            self.touched.push_back(handle);
        }
    }

    /// Runs the timers that are due. A deadline that has moved later costs one comparison: every
    /// keep-alive moves those of thousands of idle connections.
    pub(crate) fn expire(&mut self, app: &mut A, now: Instant) {
        while let Some((at, handle)) = self.deadlines.pop_due(now) {
            let Some(link) = self.links.get_mut(handle.0).and_then(Option::as_deref_mut) else {
                continue;
            };
            if link.scheduled != Some(at) {
                continue;
            }
            link.scheduled = None;
            if !link.is_due(now) {
                self.deadlines.keep(link, now);
                continue;
            }
            if link.quic.poll_timeout().is_some_and(|at| at <= now) {
                link.quic.handle_timeout(now);
            }
            if link.app_deadline.is_some_and(|at| at <= now) {
                link.app_deadline = None;
                app.deadline(now, link);
            }
            self.touch(handle);
        }
    }

    /// Sends what every touched connection has to send, and removes the drained ones.
    pub(crate) fn flush(&mut self, app: &mut A, now: Instant) {
        if self.unsent.is_some() && !self.retry_unsent(app, now) {
            return;
        }
        self.deliver(app, now);
        self.prune_deadlines();
        while let Some(handle) = self.touched.pop_front() {
            let Some(mut link) = self.links.get_mut(handle.0).and_then(Option::take) else {
                continue;
            };
            link.touched = false;
            while let Some(event) = link.quic.poll_endpoint_events() {
                if let Some(reply) = self.endpoint.handle_event(handle, event) {
                    link.quic.handle_event(reply);
                }
            }
            let sent = self.transmit(app, &mut link, now);
            if std::mem::take(&mut link.after_silence) && !sent && link.acknowledge_at_once(now) {
                self.transmit(app, &mut link, now);
            }
            link.note_backlog();
            while let Some(event) = link.quic.poll() {
                app.event(now, &mut link, event);
            }
            if link.quic.is_closed() && !link.close_reported {
                link.close_reported = true;
                app.closed(now, &mut link);
            }
            if link.quic.is_drained() {
                while let Some(event) = link.quic.poll_endpoint_events() {
                    let _ = self.endpoint.handle_event(handle, event);
                }
                app.drained(link);
                continue;
            }
            let blocked = self.unsent.is_some();
            self.deadlines.keep(&mut link, now);
            if blocked {
                // Its remaining packets follow those of the connections that wait already.
                link.touched = true;
                self.touched.push_back(handle);
            }
            self.links[handle.0] = Some(link);
            if blocked {
                return;
            }
        }
    }

    /// Sends on a connection until it has nothing to send or the socket is full. Returns whether it
    /// had anything.
    fn transmit(&mut self, app: &mut A, link: &mut Link<A::Connection>, now: Instant) -> bool {
        let mtu = usize::from(link.quic.current_mtu());
        let most = SEND_SEGMENTS
            .min(self.port.max_segments(now))
            .min(SEND_BYTES / mtu)
            .max(1);
        if link.quic.is_closed() {
            // CONNECTION_CLOSE is not paced.
            link.pace = None;
        }
        let mut sent = false;
        loop {
            let segments = match &mut link.pace {
                Some(pace) => most.min(pace.packets(now)),
                None => most,
            };
            if segments == 0 {
                return sent;
            }
            let before = link.pace.map(|_| link.quic.stats().frame_tx.datagram);
            self.scratch.clear();
            let Some(transmit) = link.quic.poll_transmit(now, segments, &mut self.scratch) else {
                return sent;
            };
            sent = true;
            if let (Some(pace), Some(before)) = (&mut link.pace, before) {
                let datagrams = link.quic.stats().frame_tx.datagram - before;
                pace.sent(datagrams_of(&transmit), datagrams);
            }
            let contents = &self.scratch;
            match self.port.send(now, &transmit, contents, &self.counters) {
                Ok(()) => {}
                Err(SendError { error, sent }) if error.kind() == io::ErrorKind::WouldBlock => {
                    let contents =
                        std::mem::replace(&mut self.scratch, Vec::with_capacity(SEND_BYTES));
                    let mut unsent = Unsent {
                        handle: link.handle,
                        transmit,
                        contents,
                    };
                    unsent.has_sent(sent);
                    self.unsent = Some(unsent);
                    return true;
                }
                Err(SendError { error, .. }) => app.send_failed(now, link, &error),
            }
        }
    }

    /// Sends the unsent batch again. Returns true once the socket has taken or refused it.
    fn retry_unsent(&mut self, app: &mut A, now: Instant) -> bool {
        let Some(mut unsent) = self.unsent.take() else {
            return true;
        };
        let contents = &unsent.contents;
        let sent = self
            .port
            .send(now, &unsent.transmit, contents, &self.counters);
        match sent {
            Ok(()) => {}
            Err(SendError { error, sent }) if error.kind() == io::ErrorKind::WouldBlock => {
                unsent.has_sent(sent);
                self.unsent = Some(unsent);
                return false;
            }
            Err(SendError { error, .. }) => {
                if let Some(link) = self.link(unsent.handle) {
                    app.send_failed(now, link, &error);
                }
            }
        }
        true
    }

    /// Removes stale entries from the heap once there are many.
    fn prune_deadlines(&mut self) {
        let links = &self.links;
        self.deadlines.prune(links.len(), |at, handle| {
            links[handle.0]
                .as_ref()
                .is_some_and(|link| link.scheduled == Some(at))
        });
    }
}

fn datagrams_of(transmit: &Transmit) -> usize {
    transmit
        .segment_size
        .map_or(1, |segment| transmit.size.div_ceil(segment))
}
