//! A network in memory that delays, drops, reorders and duplicates datagrams by a seed.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use quinn_proto::Transmit;

use crate::counters::WorkerCounters;
use crate::udp::{DatagramPort, RECEIVE_BUFFERS, Received, SendError};

/// Random numbers that are the same for a seed on every machine (splitmix64).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Returns a number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Returns 32 bytes to seed another generator.
    pub(super) fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        for word in seed.as_chunks_mut::<8>().0 {
            *word = self.next().to_le_bytes();
        }
        seed
    }
}

/// The conditions of the network, in both directions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditions {
    /// The shortest one-way delay, not 0.
    pub(super) delay: Duration,
    /// The most additional delay, by which datagrams are reordered.
    pub(super) jitter: Duration,
    /// Lost datagrams per thousand.
    pub(super) loss: u64,
    /// Duplicated datagrams per thousand.
    pub(super) twice: u64,
    /// The longest UDP payload that passes, in bytes.
    pub(super) mtu: usize,
}

impl Conditions {
    /// A path of Ethernet size without loss or reordering.
    pub(super) const GOOD: Self = Self {
        delay: Duration::from_millis(10),
        jitter: Duration::ZERO,
        loss: 0,
        twice: 0,
        mtu: 1472,
    };
}

/// A datagram in flight, ordered by its arrival.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct InFlight {
    at: Instant,
    number: u64,
    from: SocketAddr,
    to: SocketAddr,
    payload: Vec<u8>,
}

pub(super) struct Network {
    pub(super) now: Instant,
    pub(super) conditions: Conditions,
    random: Random,
    number: u64,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    arrived: BTreeMap<SocketAddr, VecDeque<(SocketAddr, Vec<u8>)>>,
}

impl Network {
    pub(super) fn new(now: Instant, seed: u64, conditions: Conditions) -> Self {
        Self {
            now,
            conditions,
            random: Random::new(seed),
            number: 0,
            in_flight: BinaryHeap::new(),
            arrived: BTreeMap::new(),
        }
    }

    /// Returns the number of datagrams sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.number
    }

    /// Returns when the next datagram arrives.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.in_flight.peek().map(|Reverse(next)| next.at)
    }

    /// Advances to `now` and delivers the datagrams due by then.
    pub(super) fn advance(&mut self, now: Instant) {
        self.now = now;
        while self.next_arrival().is_some_and(|at| at <= now) {
            let Some(Reverse(next)) = self.in_flight.pop() else {
                return;
            };
            let arrived = self.arrived.entry(next.to).or_default();
            arrived.push_back((next.from, next.payload));
        }
    }

    /// Drops the datagrams delivered to `address` and not received.
    pub(super) fn forget(&mut self, address: SocketAddr) {
        self.arrived.remove(&address);
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        // Every datagram draws the same number of random numbers.
        let (lost, twice) = (self.random.below(1000), self.random.below(1000));
        let jitter = self.conditions.jitter.as_micros() as u64 + 1;
        let late = [self.random.below(jitter), self.random.below(jitter)];
        self.number += 1;
        if lost < self.conditions.loss || payload.len() > self.conditions.mtu {
            return;
        }
        let copies = 1 + usize::from(twice < self.conditions.twice);
        for late in &late[..copies] {
            self.in_flight.push(Reverse(InFlight {
                at: self.now + self.conditions.delay + Duration::from_micros(*late),
                number: self.number,
                from,
                to,
                payload: payload.to_vec(),
            }));
        }
    }
}

/// A port on the network. Its address may change, as behind a NAT.
pub(crate) struct VirtualPort {
    pub(super) network: Rc<RefCell<Network>>,
    pub(super) address: Rc<Cell<SocketAddr>>,
}

impl DatagramPort for VirtualPort {
    fn max_segments(&self, _now: Instant) -> usize {
        64
    }

    fn address_for(&self, addr: SocketAddr) -> SocketAddr {
        addr
    }

    fn receive(&mut self, mut each: impl FnMut(Received)) -> io::Result<()> {
        let mut network = self.network.borrow_mut();
        let arrived = network.arrived.entry(self.address.get()).or_default();
        if arrived.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = arrived.len().min(RECEIVE_BUFFERS);
        for (from, payload) in arrived.drain(..count) {
            each(Received {
                from,
                local_ip: None,
                ecn: None,
                stride: payload.len().max(1),
                batch: payload.as_slice().into(),
            });
        }
        Ok(())
    }

    fn send(
        &mut self,
        _now: Instant,
        transmit: &Transmit,
        contents: &[u8],
        counters: &WorkerCounters,
    ) -> Result<(), SendError> {
        let contents = &contents[..transmit.size];
        let segment = transmit.segment_size.unwrap_or(contents.len()).max(1);
        let mut network = self.network.borrow_mut();
        for datagram in contents.chunks(segment) {
            network.send(self.address.get(), transmit.destination, datagram);
            counters.udp_written(1);
        }
        Ok(())
    }

    fn answer(&self, transmit: &Transmit, contents: &[u8]) {
        let contents = &contents[..transmit.size];
        let mut network = self.network.borrow_mut();
        network.send(self.address.get(), transmit.destination, contents);
    }
}
