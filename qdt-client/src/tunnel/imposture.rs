//! Wrong certificates during the first connect.
//!
//! Whoever sees the first packet of an attempt can answer it before the server does: the keys of a
//! first flight follow from what travels in the clear (RFC 9001, section 5.2). So a wrong
//! certificate does not say what the server would have answered, and does not end the client by
//! itself.
//!
//! What always holds here: the first one is told; it ends the client when others have come for
//! [`PATIENCE`], with no gap as long as that and without a word of the server in between.

use std::time::{Duration, Instant};

/// For how long nothing but wrong certificates may answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// What a wrong certificate means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sighting {
    /// It is the first: to be told.
    First,
    /// It is one more.
    Again,
    /// Nothing else has answered for long enough.
    Last,
}

/// The wrong certificates since the server was last heard.
#[derive(Debug, Default)]
pub(super) struct Imposture {
    seen: Option<Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    first: Instant,
    last: Instant,
}

impl Imposture {
    /// One was shown.
    pub(super) fn seen(&mut self, now: Instant) -> Sighting {
        let earlier = self.seen.filter(|seen| now < seen.last + PATIENCE);
        let first = earlier.map_or(now, |seen| seen.first);
        self.seen = Some(Seen { first, last: now });
        match earlier {
            None => Sighting::First,
            Some(_) if now < first + PATIENCE => Sighting::Again,
            Some(_) => Sighting::Last,
        }
    }

    /// The server was heard, whatever it said.
    pub(super) fn server_heard(&mut self) {
        self.seen = None;
    }
}
