//! The QUIC engine of a worker: one endpoint, its connections, their timers, one UDP socket.
//!
//! The engine moves packets between the socket and quinn-proto's state machines and tells an
//! [`Application`] what happened; it knows neither sessions nor the TUN. Call order in a turn of
//! the loop: [`Engine::receive`], [`Engine::expire`], then [`Engine::flush`], which sends what
//! every touched connection has to send. Whoever changes a connection from outside calls
//! [`Engine::touch`], or its packets wait for the next timer.
//!
//! Invariants: a connection is in `touched` exactly when its `touched` flag is set, and whoever was
//! put there first is served first, and goes to the end where the socket is full before it is done;
//! the earliest deadline of every connection is in the heap, or the moment soon after it when it is
//! far off; nothing is polled for transmission while the socket is full; the endpoint sees
//! datagrams of this worker's connection ids only, so that nothing is answered for those of
//! another.

mod deadlines;
mod handover;
mod link;
mod receiving;
#[cfg(test)]
mod silence_tests;
mod socket;
#[cfg(test)]
mod tests;
mod trains;

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use quinn_proto::{ConnectionHandle, Endpoint, Event, Incoming, Transmit};

use crate::counters::WorkerCounters;
use crate::udp::{DatagramPort, SendError, Steering, UdpPort};
use deadlines::Deadlines;
pub(crate) use handover::Handover;
pub(crate) use link::{Link, Pace};

/// Datagrams per send call at most; more gains nothing (26 to 44 measured the same).
const SEND_SEGMENTS: usize = 44;
/// The largest UDP payload of one GSO send (UDP_MAX_SEGMENTS and the 16-bit length, minus headers).
const SEND_BYTES: usize = 65_507;

/// What the owner of the connections does with them.
pub(crate) trait Application: Sized {
    /// What the application keeps for each connection.
    type Connection;

    /// A first packet of `len` bytes arrived: accept it (and give the connection's state), or deal
    /// with it otherwise through `gate`.
    fn incoming(
        &mut self,
        now: Instant,
        incoming: Incoming,
        len: usize,
        gate: &mut Gate<'_>,
    ) -> Option<Accepted<Self::Connection>>;

    /// Something happened on a connection.
    fn event(&mut self, now: Instant, link: &mut Link<Self::Connection>, event: Event);

    /// Datagrams may be waiting on a connection.
    fn datagrams(&mut self, now: Instant, link: &mut Link<Self::Connection>);

    /// The application's own deadline of a connection has passed.
    fn deadline(&mut self, now: Instant, link: &mut Link<Self::Connection>);

    /// A connection has ended, by whichever side; its last packets are still being sent.
    fn lost(&mut self, now: Instant, link: &mut Link<Self::Connection>);

    /// A connection is over and forgotten.
    fn gone(&mut self, link: Box<Link<Self::Connection>>);

    /// The system refused to send on a connection (never `WouldBlock`).
    fn unsendable(&mut self, now: Instant, link: &mut Link<Self::Connection>, error: &io::Error);
}

/// A connection that the application took.
pub(crate) struct Accepted<C> {
    pub(crate) handle: ConnectionHandle,
    pub(crate) quic: quinn_proto::Connection,
    pub(crate) app: C,
    /// When the application first wants to look at it.
    pub(crate) wake_at: Option<Instant>,
}

/// Where the application answers an incoming connection.
pub(crate) struct Gate<'a> {
    pub(crate) endpoint: &'a mut Endpoint,
    pub(crate) response: &'a mut Vec<u8>,
    transmit: Option<Transmit>,
}

impl Gate<'_> {
    /// Sends what the endpoint wrote into `response`.
    pub(crate) fn respond(&mut self, transmit: Transmit) {
        self.transmit = Some(transmit);
    }
}

/// A packet train, or the rest of one, that the socket had no room for.
struct Unsent {
    handle: ConnectionHandle,
    transmit: Transmit,
    contents: Vec<u8>,
}

impl Unsent {
    /// The first `bytes` of it have left.
    fn has_sent(&mut self, bytes: usize) {
        self.contents.drain(..bytes);
        self.transmit.size -= bytes;
    }
}

/// See the module.
pub(crate) struct Engine<A: Application, P = UdpPort> {
    endpoint: Endpoint,
    port: P,
    links: Vec<Option<Box<Link<A::Connection>>>>,
    deadlines: Deadlines,
    touched: VecDeque<ConnectionHandle>,
    scratch: Vec<u8>,
    unsent: Option<Unsent>,
    steering: Steering,
    /// What belongs to other workers, by their number.
    handovers: Vec<Handover>,
    /// Any of them has something.
    has_handovers: bool,
}

impl<A: Application, P: DatagramPort> Engine<A, P> {
    pub(crate) fn new(now: Instant, endpoint: Endpoint, port: P, steering: Steering) -> Self {
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
        }
    }

    /// What dialling needs.
    pub(crate) fn endpoint_and_port(&mut self) -> (&mut Endpoint, &P) {
        (&mut self.endpoint, &self.port)
    }

    /// Whether the socket is full; the caller then waits for it to become writable and reads no
    /// more packets that would have to be sent.
    pub(crate) fn is_blocked(&self) -> bool {
        self.unsent.is_some()
    }

    /// When [`Self::expire`] has something to do next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// A connection by its handle.
    pub(crate) fn link(&mut self, handle: ConnectionHandle) -> Option<&mut Link<A::Connection>> {
        self.links.get_mut(handle.0)?.as_deref_mut()
    }

    /// Every connection.
    pub(crate) fn links(&mut self) -> impl Iterator<Item = &mut Link<A::Connection>> {
        self.links.iter_mut().filter_map(Option::as_deref_mut)
    }

    /// Takes a connection in.
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

    /// Marks a connection as changed: [`Self::flush`] will look at it.
    pub(crate) fn touch(&mut self, handle: ConnectionHandle) {
        if let Some(link) = self.links.get_mut(handle.0).and_then(Option::as_mut)
            && !link.touched
        {
            link.touched = true;
            self.touched.push_back(handle);
        }
    }

    /// Runs the timers that are due. A connection whose deadline has meanwhile moved costs a glance
    /// and nothing more: thousands of idle ones have theirs moved by every sign of life.
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

    /// Sends what every touched connection has to send, and forgets those that are over.
    pub(crate) fn flush(&mut self, app: &mut A, now: Instant, counters: &WorkerCounters) {
        if self.unsent.is_some() && !self.retry_unsent(app, now, counters) {
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
            let sent = self.transmit(app, &mut link, now, counters);
            if std::mem::take(&mut link.after_silence) && !sent && link.acknowledge_at_once(now) {
                self.transmit(app, &mut link, now, counters);
            }
            link.note_backlog();
            while let Some(event) = link.quic.poll() {
                app.event(now, &mut link, event);
            }
            if link.quic.is_closed() && !link.is_lost {
                link.is_lost = true;
                app.lost(now, &mut link);
            }
            if link.quic.is_drained() {
                while let Some(event) = link.quic.poll_endpoint_events() {
                    let _ = self.endpoint.handle_event(handle, event);
                }
                app.gone(link);
                continue;
            }
            let blocked = self.unsent.is_some();
            self.deadlines.keep(&mut link, now);
            if blocked {
                // Its remaining packets go out once the socket has room, behind those of who waits
                // already.
                link.touched = true;
                self.touched.push_back(handle);
            }
            self.links[handle.0] = Some(link);
            if blocked {
                return;
            }
        }
    }

    /// Sends what a connection has to send; whether that was anything.
    fn transmit(
        &mut self,
        app: &mut A,
        link: &mut Link<A::Connection>,
        now: Instant,
        counters: &WorkerCounters,
    ) -> bool {
        let mtu = usize::from(link.quic.current_mtu());
        let most = SEND_SEGMENTS
            .min(self.port.max_segments(now))
            .min(SEND_BYTES / mtu)
            .max(1);
        if link.quic.is_closed() {
            // The last packet waits for nobody.
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
            match self.port.send(now, &transmit, &self.scratch, counters) {
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
                Err(SendError { error, .. }) => app.unsendable(now, link, &error),
            }
        }
    }

    /// Tries the waiting train again; true when the socket has taken (or refused) it.
    fn retry_unsent(&mut self, app: &mut A, now: Instant, counters: &WorkerCounters) -> bool {
        let Some(mut unsent) = self.unsent.take() else {
            return true;
        };
        match self
            .port
            .send(now, &unsent.transmit, &unsent.contents, counters)
        {
            Ok(()) => {}
            Err(SendError { error, sent }) if error.kind() == io::ErrorKind::WouldBlock => {
                unsent.has_sent(sent);
                self.unsent = Some(unsent);
                return false;
            }
            Err(SendError { error, .. }) => {
                if let Some(link) = self.link(unsent.handle) {
                    app.unsendable(now, link, &error);
                }
            }
        }
        true
    }

    /// Keeps entries that no connection waits for any more from piling up.
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
