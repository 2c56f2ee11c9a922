//! The interval of a tunnel's keep-alives.
//!
//! A tunnel that was just in use gets one soon, because its user notices an outage. An unused
//! tunnel gets them ever more rarely, down to the minimum:
//! * A NAT on the path forgets an unused mapping: after two minutes if it follows RFC 4787 (REQ-5),
//!   after 30 seconds if it does not.
//! * QUIC closes a silent connection after the negotiated idle timeout (RFC 9000 section 10.1), of
//!   which some seconds are left to retransmit a lost keep-alive.
//!
//! The longest intervals are randomized, so that many clients that started together do not send
//! together.

use std::time::Duration;

use bytes::Buf as _;
use qdt_proto::http3::decode_varint;
use quinn_proto::Connection;

use crate::path::IDLE_TIMEOUT;

/// The first interval after the tunnel was in use.
const FIRST: Duration = Duration::from_secs(5);
/// The longest interval, below the shortest NAT timeout.
const LONGEST: Duration = Duration::from_secs(25);
/// The part of the idle timeout left for retransmissions, which QUIC sends after about 0.1, 0.2,
/// 0.4 ... seconds.
const RETRANSMISSION_TIME: Duration = Duration::from_secs(5);
/// The shortest interval, so that no idle timeout of a server makes its clients send without pause.
const SHORTEST: Duration = Duration::from_millis(100);
/// The fraction by which the longest intervals are shortened at most.
const SPREAD: f64 = 0.1;
/// The transport parameter max_idle_timeout (RFC 9000 section 18.2).
const MAX_IDLE_TIMEOUT: u64 = 0x01;

/// The keep-alive timer of one connection. It reads no clock: [`Self::wait`] counts from the last
/// acknowledgement or the last keep-alive, whichever is later.
#[derive(Debug, Clone)]
pub struct KeepAlive {
    interval: Option<Duration>,
    longest: Duration,
    wait: Duration,
}

impl KeepAlive {
    /// Returns the timer of a connection that has completed its handshake. `interval` is the
    /// user's, limited to what keeps the connection alive.
    #[must_use]
    pub fn new(interval: Option<Duration>, quic: &Connection) -> Self {
        Self::with_idle_timeout(interval, idle_timeout(quic))
    }

    pub(super) fn with_idle_timeout(interval: Option<Duration>, idle: Duration) -> Self {
        let longest = LONGEST
            .min(idle.saturating_sub(RETRANSMISSION_TIME).max(idle / 2))
            .max(SHORTEST);
        let mut keep_alive = Self {
            interval,
            longest,
            wait: FIRST,
        };
        keep_alive.in_use();
        keep_alive
    }

    /// Returns the silence after which a keep-alive is due.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// Shortens the interval, because the tunnel carries packets or its liveness is in doubt.
    pub fn in_use(&mut self) {
        self.wait = self.interval.unwrap_or(FIRST).min(self.longest);
    }

    /// Lengthens the interval after a keep-alive.
    pub fn sent(&mut self) {
        if self.interval.is_none() {
            let share = 1.0 - SPREAD * rand::random::<f64>();
            self.wait = (2 * self.wait).min(self.longest.mul_f64(share));
        }
    }
}

/// Returns the idle timeout of the connection: the smaller one of both ends.
fn idle_timeout(quic: &Connection) -> Duration {
    let Ok(Some(theirs)) = quic.crypto_session().transport_parameters() else {
        return IDLE_TIMEOUT;
    };
    let mut encoded = Vec::new();
    theirs.write(&mut encoded);
    match max_idle_timeout(&encoded) {
        // Zero means no timeout.
        None | Some(0) => IDLE_TIMEOUT,
        Some(millis) => IDLE_TIMEOUT.min(Duration::from_millis(millis)),
    }
}

/// Returns max_idle_timeout in milliseconds from encoded transport parameters.
fn max_idle_timeout(mut encoded: &[u8]) -> Option<u64> {
    let varint = |encoded: &mut &[u8]| {
        let (value, len) = decode_varint(encoded)?;
        encoded.advance(len);
        Some(value)
    };
    loop {
        let id = varint(&mut encoded)?;
        let len = usize::try_from(varint(&mut encoded)?).ok()?;
        let (mut value, rest) = encoded.split_at_checked(len)?;
        if id == MAX_IDLE_TIMEOUT {
            return varint(&mut value);
        }
        encoded = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns the first intervals of a tunnel that is not in use.
    fn waits(mut keep_alive: KeepAlive, count: usize) -> Vec<Duration> {
        let mut waits = Vec::new();
        for _ in 0..count {
            waits.push(keep_alive.wait());
            keep_alive.sent();
        }
        waits
    }

    #[test]
    fn an_unused_tunnel_sends_keep_alives_ever_more_rarely_up_to_25_seconds() {
        let waits = waits(KeepAlive::with_idle_timeout(None, IDLE_TIMEOUT), 100);
        assert_eq!(waits[..3], [5 * SECOND, 10 * SECOND, 20 * SECOND]);
        for wait in &waits[3..] {
            assert!((22 * SECOND..=25 * SECOND).contains(wait), "{wait:?}");
        }
    }

    #[test]
    fn a_used_tunnel_sends_a_keep_alive_soon_again() {
        let mut keep_alive = KeepAlive::with_idle_timeout(None, IDLE_TIMEOUT);
        (0..10).for_each(|_| keep_alive.sent());
        keep_alive.in_use();
        assert_eq!(keep_alive.wait(), 5 * SECOND);
    }

    #[test]
    fn ten_thousand_clients_that_start_together_do_not_send_keep_alives_together() {
        let mut in_tenth = [0; 10];
        for _ in 0..10_000 {
            let asked: Duration = waits(KeepAlive::with_idle_timeout(None, IDLE_TIMEOUT), 20)
                .iter()
                .sum();
            in_tenth[(asked.as_millis() % 1000 / 100) as usize] += 1;
        }
        for count in in_tenth {
            assert!((800..1200).contains(&count), "{in_tenth:?}");
        }
    }

    #[test]
    fn a_configured_interval_stays_constant() {
        for interval in [SECOND / 10, 5 * SECOND, 20 * SECOND] {
            let mut keep_alive = KeepAlive::with_idle_timeout(Some(interval), IDLE_TIMEOUT);
            keep_alive.in_use();
            assert_eq!(waits(keep_alive, 5), [interval; 5]);
        }
    }

    #[test]
    fn every_interval_leaves_time_for_retransmissions_before_the_idle_timeout() {
        for (idle, most) in [(30, 25), (15, 10), (8, 4), (60, 25)] {
            for interval in [None, Some(600 * SECOND)] {
                let keep_alive = KeepAlive::with_idle_timeout(interval, idle * SECOND);
                for wait in waits(keep_alive, 20) {
                    assert!(wait <= most * SECOND, "{wait:?} of {idle} s");
                }
            }
        }
    }

    #[test]
    fn a_tiny_idle_timeout_does_not_make_keep_alives_frequent() {
        for interval in [None, Some(5 * SECOND)] {
            let keep_alive = KeepAlive::with_idle_timeout(interval, Duration::from_millis(1));
            for wait in waits(keep_alive, 20) {
                assert!(wait >= SECOND / 12, "{wait:?}");
            }
        }
    }

    #[test]
    fn the_idle_timeout_is_found_among_the_peers_parameters() {
        // initial_max_data (0x04) of 1000 before it, an unknown one with a long id behind.
        let encoded = [0x04, 2, 0x43, 0xe8, 0x01, 2, 0x7a, 0x98, 0x7f, 0xff, 1, 9];
        assert_eq!(max_idle_timeout(&encoded), Some(15_000));
        assert_eq!(max_idle_timeout(&encoded[..4]), None);
        assert_eq!(max_idle_timeout(&[0x01, 9, 0]), None, "cut off");
    }
}
