//! Who shares what: sets of connections that are measured after one another, and the link that they
//! share.
//!
//! Invariants: a set is measured on the same link, with the same settings and in the same
//! round as those it is compared with, and one of them passes the link without any tunnel.

use std::fmt;
use std::net::Ipv4Addr;

use super::server::SINK;
use crate::veth_link::{CLIENT, SERVER, VethLink};

/// Bytes that tbf sends at once: less than a train of datagrams, so that the link takes trains
/// apart before it drops any.
const BURST: &str = "16kb";
/// How long a packet may wait in tbf's queue.
const LATENCY: &str = "50ms";

/// A named set of connections.
#[derive(Debug, Clone)]
pub(super) struct Sharing {
    /// Its name in the report.
    pub(super) name: String,
    /// Where each connection begins; an address may come again.
    pub(super) sources: Vec<Ipv4Addr>,
    /// Where all of them end.
    pub(super) sink: Ipv4Addr,
}

impl Sharing {
    /// So many connections outside the tunnel: the effect of the link and the machine alone.
    pub(super) fn no_tunnel(streams: usize) -> Self {
        Self {
            name: format!("no tunnel, {}", counted(streams)),
            sources: vec![CLIENT; streams],
            sink: SERVER,
        }
    }

    /// So many connections through the session with that inner address.
    pub(super) fn one_session(address: Ipv4Addr, streams: usize) -> Self {
        Self {
            name: format!("one session, {}", counted(streams)),
            sources: vec![address; streams],
            sink: SINK,
        }
    }

    /// A connection through each of these sessions.
    pub(super) fn a_stream_each(addresses: Vec<Ipv4Addr>) -> Self {
        Self {
            name: format!("{} sessions, a stream each", addresses.len()),
            sources: addresses,
            sink: SINK,
        }
    }

    /// Whether the connections are inside the tunnel.
    pub(super) fn is_through_tunnel(&self) -> bool {
        self.sink == SINK
    }
}

fn counted(streams: usize) -> String {
    match streams {
        1 => "one stream".to_owned(),
        _ => format!("{streams} streams"),
    }
}

/// What is between the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// The bare veth link: the processors are the limit.
    Open,
    /// A token bucket at the egress of both machines.
    Shaped {
        /// Its rate in Mbit/s.
        mbit: u32,
    },
}

impl Link {
    /// Shapes the veth link so, until the returned value is dropped.
    ///
    /// # Panics
    /// When tc is missing or refuses.
    pub(super) fn lay<'veth>(&self, veth: &'veth VethLink) -> ShapedLink<'veth> {
        let Self::Shaped { mbit } = self else {
            return ShapedLink { shaped: None };
        };
        veth.shape(*mbit, BURST, LATENCY);
        ShapedLink { shaped: Some(veth) }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => write!(to, "open"),
            Self::Shaped { mbit } => write!(to, "{mbit} Mbit/s"),
        }
    }
}

/// A link that is there.
#[derive(Debug)]
pub(super) struct ShapedLink<'veth> {
    shaped: Option<&'veth VethLink>,
}

impl Drop for ShapedLink<'_> {
    fn drop(&mut self) {
        if let Some(veth) = self.shaped
            && !std::thread::panicking()
        {
            veth.unshape();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_named_after_what_shares_the_link() {
        let address = Ipv4Addr::new(10, 8, 0, 2);
        let names = [
            Sharing::no_tunnel(100),
            Sharing::one_session(address, 1),
            Sharing::a_stream_each(vec![address; 3]),
        ]
        .map(|set| (set.is_through_tunnel(), set.name));
        assert_eq!(
            names,
            [
                (false, "no tunnel, 100 streams".to_owned()),
                (true, "one session, one stream".to_owned()),
                (true, "3 sessions, a stream each".to_owned()),
            ]
        );
    }
}
