//! UDP datagrams that one worker received and another owns, with what is known of how they came.
//!
//! They are gathered in a turn, given away as a whole and taken as a whole, so that their order
//! stays; two buffers circulate, so that this allocates nothing in the long run. What a flood made
//! large is given back.

use std::net::{IpAddr, SocketAddr};

use quinn_proto::EcnCodepoint;

/// Buffers that hold more than this are not kept.
const KEPT_BYTES: usize = 1 << 20;
/// What is held of a datagram beside its bytes.
const EACH: usize = size_of::<(Arrival, usize)>();

/// How a datagram came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) from: SocketAddr,
    pub(crate) local_ip: Option<IpAddr>,
    pub(crate) ecn: Option<EcnCodepoint>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Handover {
    bytes: Vec<u8>,
    /// How each came, and its length.
    arrivals: Vec<(Arrival, usize)>,
}

impl Handover {
    /// Appends one.
    pub(super) fn push(&mut self, arrival: Arrival, datagram: &[u8]) {
        self.bytes.extend_from_slice(datagram);
        self.arrivals.push((arrival, datagram.len()));
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.arrivals.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// How many bytes are held.
    fn size(&self) -> usize {
        self.bytes.len() + self.arrivals.len() * EACH
    }

    /// Appends those of `other` where the whole then holds `max_bytes` at most, and says whether it
    /// did; `other` is empty afterwards.
    pub(crate) fn append(&mut self, other: &mut Self, max_bytes: usize) -> bool {
        let fits = self.size() + other.size() <= max_bytes;
        if fits {
            self.bytes.extend_from_slice(&other.bytes);
            self.arrivals.extend_from_slice(&other.arrivals);
        }
        other.clear();
        fits
    }

    /// Forgets all of them.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.arrivals.clear();
        if self.bytes.capacity() + self.arrivals.capacity() * EACH > KEPT_BYTES {
            *self = Self::default();
        }
    }

    /// Each, in the order in which they came.
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
    fn datagrams_keep_their_order_and_sender_and_what_does_not_fit_is_left_out() {
        let mut waiting = Handover::default();
        let three = 3 * (100 + EACH);
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
        assert!(!Handover::default().append(&mut flood, 1000 * EACH - 1));
    }

    #[test]
    fn the_memory_of_a_flood_is_not_kept() {
        let mut handover = of(&vec![1; KEPT_BYTES / EACH]);
        handover.clear();
        assert_eq!(handover.bytes.capacity() + handover.arrivals.capacity(), 0);
        let mut small = of(&[1; 100]);
        small.clear();
        assert!(small.bytes.capacity() > 0);
    }
}
