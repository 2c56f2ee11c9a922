//! The QUIC engine of a worker: one endpoint, its connections, their timers, one UDP socket.
//!
//! The engine moves packets between the socket and quinn-proto's state machines and tells an
//! [`Application`] what happened; it knows neither sessions nor the TUN. Call order in a turn of the loop:
//! [`Engine::receive`], [`Engine::expire`], then [`Engine::flush`], which sends what every touched connection
//! has to send. Whoever changes a connection from outside calls [`Engine::touch`], or its packets wait for
//! the next timer.
//!
//! Invariants: a connection is in `touched` exactly when its `touched` flag is set, and whoever was put there first is
//! served first, and goes to the end where the socket is full before it is done; the earliest deadline of every
//! connection is in the heap, or the moment soon after it when it is far off; nothing is polled for transmission while
//! the socket is full.

mod deadlines;
mod link;
#[cfg(test)]
mod silence_tests;
#[cfg(test)]
mod tests;
mod trains;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use quinn_proto::{ConnectionHandle, DatagramEvent, Endpoint, Event, Incoming, Transmit};

use crate::counters::WorkerCounters;
use crate::http3_streams::error_code;
use crate::udp::{Received, UdpPort};
use crate::wake::sleep;
use deadlines::Deadlines;
pub(crate) use link::{Link, Pace};
use qdt_proto::http3::code;
use rustix::event::{PollFd, PollFlags};
use trains::Trains;

/// Receive calls per turn: enough to empty a burst, few enough that the TUN is not left waiting.
const RECEIVE_CALLS: usize = 4;
/// Datagrams per send call at most; more gains nothing (26 to 44 measured the same).
const SEND_SEGMENTS: usize = 44;
/// After so long without a packet the next one is acknowledged at once.
const SILENCE: Duration = Duration::from_secs(1);
/// How long the last packets may take to leave.
const LEAVE_WITHIN: Duration = Duration::from_millis(500);
/// The largest UDP payload of one GSO send (UDP_MAX_SEGMENTS and the 16-bit length, minus headers).
const SEND_BYTES: usize = 65_507;

/// What the owner of the connections does with them.
pub(crate) trait Application: Sized {
    /// What the application keeps for each connection.
    type Connection;

    /// A first packet of `len` bytes arrived: accept it (and give the connection's state), or deal with it
    /// otherwise through `gate`.
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
    fn lost(&mut self, link: &mut Link<Self::Connection>);

    /// A connection is over and forgotten.
    fn gone(&mut self, link: Box<Link<Self::Connection>>);

    /// The system refused to send on a connection (never `WouldBlock`).
    fn unsendable(&mut self, link: &mut Link<Self::Connection>, error: &io::Error);
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

/// A packet train that the socket had no room for.
struct Unsent {
    handle: ConnectionHandle,
    transmit: Transmit,
    contents: Vec<u8>,
}

/// See the module.
pub(crate) struct Engine<A: Application> {
    endpoint: Endpoint,
    port: UdpPort,
    links: Vec<Option<Box<Link<A::Connection>>>>,
    deadlines: Deadlines,
    touched: VecDeque<ConnectionHandle>,
    scratch: Vec<u8>,
    unsent: Option<Unsent>,
}

impl<A: Application> Engine<A> {
    pub(crate) fn new(endpoint: Endpoint, port: UdpPort) -> Self {
        Self {
            endpoint,
            port,
            links: Vec::new(),
            deadlines: Deadlines::default(),
            touched: VecDeque::new(),
            scratch: Vec::with_capacity(SEND_BYTES),
            unsent: None,
        }
    }

    /// What dialling needs.
    pub(crate) fn endpoint_and_port(&mut self) -> (&mut Endpoint, &UdpPort) {
        (&mut self.endpoint, &self.port)
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.port.as_fd()
    }

    /// Whether the socket is full; the caller then waits for it to become writable and reads no more packets
    /// that would have to be sent.
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
    pub(crate) fn insert(&mut self, accepted: Accepted<A::Connection>) {
        let handle = accepted.handle;
        if self.links.len() <= handle.0 {
            self.links.resize_with(handle.0 + 1, || None);
        }
        debug_assert!(
            self.links[handle.0].is_none(),
            "the endpoint reuses a handle only once it is free"
        );
        self.links[handle.0] = Some(Box::new(Link::new(accepted)));
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

    /// Reads the socket within the budget of a turn. Returns whether there may be more.
    pub(crate) fn receive(&mut self, app: &mut A, now: Instant, counters: &WorkerCounters) -> bool {
        for _ in 0..RECEIVE_CALLS {
            let mut trains = Trains::default();
            match self.port.receive(|received| trains.push(received)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                // An ICMP error of an earlier send, or the network's trouble: neither ends the socket.
                Err(_) => continue,
            }
            let was_full = trains.is_full();
            for received in trains.into_iter() {
                self.train(app, now, received, counters);
            }
            self.deliver(app, now);
            if !was_full {
                // The socket was empty then; what came since wakes the next turn.
                return false;
            }
        }
        true
    }

    fn train(&mut self, app: &mut A, now: Instant, received: Received, counters: &WorkerCounters) {
        let Received {
            from,
            local_ip,
            ecn,
            stride,
            mut train,
        } = received;
        counters.udp_read(train.len().div_ceil(stride));
        while !train.is_empty() {
            let datagram = train.split_to(stride.min(train.len()));
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
                    let mut gate = Gate {
                        endpoint: &mut self.endpoint,
                        response: &mut self.scratch,
                        transmit: None,
                    };
                    let accepted = app.incoming(now, incoming, len, &mut gate);
                    if let Some(transmit) = gate.transmit {
                        let _ = self.port.send(&transmit, &self.scratch);
                    }
                    if let Some(accepted) = accepted {
                        self.insert(accepted);
                    }
                }
                Some(DatagramEvent::Response(transmit)) => {
                    // Unsolicited answers (resets, version negotiation) are never worth waiting for.
                    let _ = self.port.send(&transmit, &self.scratch);
                }
            }
        }
    }

    /// Tells the application what the received packets meant.
    fn deliver(&mut self, app: &mut A, now: Instant) {
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

    /// Runs the timers that are due. A connection whose deadline has meanwhile moved costs a glance and nothing more:
    /// thousands of idle ones have theirs moved by every sign of life.
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
        if self.unsent.is_some() && !self.retry_unsent(app, counters) {
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
                app.lost(&mut link);
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
                // Its remaining packets go out once the socket has room, behind those of who waits already.
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
            .min(self.port.max_segments())
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
            match self.port.send(&transmit, &self.scratch) {
                Ok(()) => counters.udp_written(datagrams_of(&transmit)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let contents =
                        std::mem::replace(&mut self.scratch, Vec::with_capacity(SEND_BYTES));
                    self.unsent = Some(Unsent {
                        handle: link.handle,
                        transmit,
                        contents,
                    });
                    return sent;
                }
                Err(error) => app.unsendable(link, &error),
            }
        }
    }

    /// Tries the waiting train again; true when the socket has taken (or refused) it.
    fn retry_unsent(&mut self, app: &mut A, counters: &WorkerCounters) -> bool {
        let Some(unsent) = self.unsent.take() else {
            return true;
        };
        match self.port.send(&unsent.transmit, &unsent.contents) {
            Ok(()) => counters.udp_written(datagrams_of(&unsent.transmit)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.unsent = Some(unsent);
                return false;
            }
            Err(error) => {
                if let Some(link) = self.link(unsent.handle) {
                    app.unsendable(link, &error);
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

    /// Closes every connection with H3_NO_ERROR and a reason, and waits until the socket has taken that or
    /// [`LEAVE_WITHIN`] has passed.
    pub(crate) fn leave(
        &mut self,
        app: &mut A,
        now: Instant,
        reason: &'static str,
        counters: &WorkerCounters,
    ) {
        let handles: Vec<_> = self.links().map(|link| link.handle).collect();
        for handle in handles {
            if let Some(link) = self.link(handle) {
                link.quic
                    .close(now, error_code(code::H3_NO_ERROR), reason.as_bytes().into());
            }
            self.touch(handle);
        }
        let until = now + LEAVE_WITHIN;
        loop {
            self.flush(app, Instant::now(), counters);
            if !self.is_blocked() || Instant::now() >= until {
                return;
            }
            let socket = self.socket();
            let mut fds = [PollFd::new(&socket, PollFlags::OUT)];
            // What wakes it early is found out by trying again.
            let _ = sleep(&mut fds, false, Some(until));
        }
    }
}

fn datagrams_of(transmit: &Transmit) -> usize {
    transmit
        .segment_size
        .map_or(1, |segment| transmit.size.div_ceil(segment))
}
