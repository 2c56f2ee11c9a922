//! UDP datagrams that one worker received and another one owns, with their metadata.
//!
//! They are collected during a turn and handed over as a whole, which keeps their order. Two
//! buffers circulate, so that this allocates nothing in the steady state. Memory that a flood
//! needed is freed.

use std::net::{IpAddr, SocketAddr};

use quinn_proto::EcnCodepoint;

/// Buffers above this capacity are not kept.
const KEPT_BYTES: usize = 1 << 20;
/// The overhead per datagram, in bytes.
const OVERHEAD: usize = size_of::<(Arrival, usize)>();

/// The metadata of a received datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) from: SocketAddr,
    pub(crate) local_ip: Option<IpAddr>,
    pub(crate) ecn: Option<EcnCodepoint>,
}

#[derive(Debug, Default)]
pub(crate) struct Handover {
    bytes: Vec<u8>,
    /// Metadata and length of each datagram.
    arrivals: Vec<(Arrival, usize)>,
}

impl Handover {
    /// Appends a datagram.
    pub(super) fn push(&mut self, arrival: Arrival, datagram: &[u8]) {
        self.bytes.extend_from_slice(datagram);
        self.arrivals.push((arrival, datagram.len()));
    }

    /// Returns the number of datagrams.
    pub(crate) fn len(&self) -> usize {
        self.arrivals.len()
    }

    /// Returns whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// Returns the bytes held, overhead included.
    fn size(&self) -> usize {
        self.bytes.len() + self.arrivals.len() * OVERHEAD
    }

    /// Appends the datagrams of `other` if the whole then has at most `max_bytes`, and returns
    /// whether it did. `other` is empty afterwards.
    pub(crate) fn append(&mut self, other: &mut Self, max_bytes: usize) -> bool {
        let fits = self.size() + other.size() <= max_bytes;
        if fits {
            self.bytes.extend_from_slice(&other.bytes);
            self.arrivals.extend_from_slice(&other.arrivals);
        }
        other.clear();
        fits
    }

    /// Removes all datagrams.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.arrivals.clear();
        if self.bytes.capacity() + self.arrivals.capacity() * OVERHEAD > KEPT_BYTES {
            *self = Self::default();
        }
    }

    /// Calls `each` with every datagram, in order of arrival.
    pub(super) fn for_each(&self, mut each: impl FnMut(Arrival, &[u8])) {
        let mut rest = self.bytes.as_slice();
        for (arrival, len) in &self.arrivals {
            let (datagram, tail) = rest.split_at(*len);
            each(*arrival, datagram);
            rest = tail;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn of(ports: &[u16]) -> Handover {
        let mut handover = Handover::default();
        for port in ports {
            let arrival = Arrival {
                from: (Ipv4Addr::LOCALHOST, *port).into(),
                local_ip: None,
                ecn: None,
            };
            handover.push(arrival, &[*port as u8; 100]);
        }
        handover
    }

    #[test]
    fn datagrams_keep_order_and_sender_and_those_that_do_not_fit_are_dropped() {
        let mut waiting = Handover::default();
        let three = 3 * (100 + OVERHEAD);
        assert!(waiting.append(&mut of(&[1, 2]), three));
        let mut too_many = of(&[3, 4]);
        assert!(!waiting.append(&mut too_many, three));
        assert!(too_many.is_empty());
        assert!(waiting.append(&mut of(&[5]), three));
        let mut seen = Vec::new();
        waiting.for_each(|arrival, datagram| {
            assert_eq!(datagram, [arrival.from.port() as u8; 100]);
            seen.push(arrival.from.port());
        });
        assert_eq!(seen, [1, 2, 5]);
    }

    #[test]
    fn empty_datagrams_are_bounded_too() {
        let mut flood = Handover::default();
        let arrival = of(&[1]).arrivals[0].0;
        (0..1000).for_each(|_| flood.push(arrival, &[]));
        assert!(!Handover::default().append(&mut flood, 1000 * OVERHEAD - 1));
    }

    #[test]
    fn memory_of_a_flood_is_freed() {
        let mut handover = of(&vec![1; KEPT_BYTES / OVERHEAD]);
        handover.clear();
        assert_eq!(handover.bytes.capacity() + handover.arrivals.capacity(), 0);
        let mut small = of(&[1; 100]);
        small.clear();
        assert!(small.bytes.capacity() > 0);
    }
}
