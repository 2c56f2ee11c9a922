//! Wrong certificates during the first connect.
//!
//! An attacker on the path can answer the first packet of an attempt before the server does,
//! because the keys of Initial packets follow from cleartext (RFC 9001, section 5.2). So one wrong
//! certificate does not end the client.
//!
//! Invariants: the first one is logged; the client exits once they have come for [`GIVE_UP_AFTER`],
//! without a gap of that length and without an answer of the server.

use std::time::{Duration, Instant};

/// The time after which wrong certificates end the first connect.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_secs(15);

/// The position of a wrong certificate among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occurrence {
    /// The first one: to be logged.
    First,
    /// One more.
    Repeated,
    /// The last one: the client exits.
    Final,
}

/// The wrong certificates since the server's last answer.
#[derive(Debug, Default)]
pub(super) struct CertificateFailures {
    seen: Option<Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    first: Instant,
    last: Instant,
}

impl CertificateFailures {
    /// Records one.
    pub(super) fn record(&mut self, now: Instant) -> Occurrence {
        let earlier = self.seen.filter(|seen| now < seen.last + GIVE_UP_AFTER);
        let first = earlier.map_or(now, |seen| seen.first);
        self.seen = Some(Seen { first, last: now });
        match earlier {
            None => Occurrence::First,
            Some(_) if now < first + GIVE_UP_AFTER => Occurrence::Repeated,
            Some(_) => Occurrence::Final,
        }
    }

    /// Starts over, after any answer of the server.
    pub(super) fn reset(&mut self) {
        self.seen = None;
    }
}
