//! How long a tunnel may be silent before its server is asked for a sign of life.
//!
//! A tunnel that was just in use is asked soon, because whoever used it would like to know. One
//! that nobody uses is asked ever more rarely, until it is no more than what has to stay:
//! * A NAT on the path forgets a mapping that carries nothing: after two minutes where it follows
//!   RFC 4787 (REQ-5), after 30 seconds where it does not.
//! * QUIC gives a silent connection up after the idle timeout that both ends announced (RFC 9000
//!   section 10.1). Some seconds before it are left for repeating a question that is lost.
//!
//! The longest waits differ at random, so that many clients that began together do not ask
//! together.

use std::time::Duration;

use bytes::Buf as _;
use qdt_proto::http3::decode_varint;
use quinn_proto::Connection;

use crate::path::IDLE;

/// The first wait after the tunnel was in use.
const FIRST: Duration = Duration::from_secs(5);
/// The longest: less than the shortest memory of a NAT.
const LONGEST: Duration = Duration::from_secs(25);
/// What is left of the idle timeout for repeating a lost question: QUIC does that after about 0.1,
/// 0.2, 0.4 ... seconds.
const REPEATING: Duration = Duration::from_secs(5);
/// The shortest, whatever idle timeout a server announces: it must not make its clients send
/// without end.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest waits are up to this share shorter.
const SPREAD: f64 = 0.1;
/// The transport parameter max_idle_timeout (RFC 9000 section 18.2).
const MAX_IDLE_TIMEOUT: u64 = 0x01;

/// When the server of one connection is asked next. It knows no clock: [`Self::wait`] is counted
/// from the last sign of life or the last question, whichever came later.
#[derive(Debug, Clone)]
pub struct Pulse {
    interval: Option<Duration>,
    longest: Duration,
    wait: Duration,
}

impl Pulse {
    /// For a connection whose handshake is done. `interval` is what the user asks for, in place of
    /// all but what keeps the connection alive.
    #[must_use]
    pub fn new(interval: Option<Duration>, quic: &Connection) -> Self {
        Self::with_idle_timeout(interval, idle_timeout(quic))
    }

    pub(super) fn with_idle_timeout(interval: Option<Duration>, idle: Duration) -> Self {
        let longest = LONGEST
            .min(idle.saturating_sub(REPEATING).max(idle / 2))
            .max(SHORTEST);
        let mut pulse = Self {
            interval,
            longest,
            wait: FIRST,
        };
        pulse.in_use();
        pulse
    }

    /// How long nothing may be heard before the server is asked.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// The tunnel carries packets, or there is doubt.
    pub fn in_use(&mut self) {
        self.wait = self.interval.unwrap_or(FIRST).min(self.longest);
    }

    /// The server was asked.
    pub fn asked(&mut self) {
        if self.interval.is_none() {
            let share = 1.0 - SPREAD * rand::random::<f64>();
            self.wait = (2 * self.wait).min(self.longest.mul_f64(share));
        }
    }
}

/// The silence after which one of the two ends gives the connection up: ours, or the peer's where
/// that is shorter.
fn idle_timeout(quic: &Connection) -> Duration {
    let Ok(Some(theirs)) = quic.crypto_session().transport_parameters() else {
        return IDLE;
    };
    let mut encoded = Vec::new();
    theirs.write(&mut encoded);
    match max_idle_timeout(&encoded) {
        // Zero is the same as none.
        None | Some(0) => IDLE,
        Some(millis) => IDLE.min(Duration::from_millis(millis)),
    }
}

/// The value of max_idle_timeout in milliseconds among encoded transport parameters.
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

    /// The waits before the first questions of a tunnel that is not in use.
    fn waits(mut pulse: Pulse, count: usize) -> Vec<Duration> {
        let mut waits = Vec::new();
        for _ in 0..count {
            waits.push(pulse.wait());
            pulse.asked();
        }
        waits
    }

    #[test]
    fn a_silent_tunnel_is_asked_ever_more_rarely_and_at_most_every_25_seconds() {
        let waits = waits(Pulse::with_idle_timeout(None, IDLE), 100);
        assert_eq!(waits[..3], [5 * SECOND, 10 * SECOND, 20 * SECOND]);
        for wait in &waits[3..] {
            assert!((22 * SECOND..=25 * SECOND).contains(wait), "{wait:?}");
        }
    }

    #[test]
    fn a_tunnel_that_was_used_is_asked_soon_again() {
        let mut pulse = Pulse::with_idle_timeout(None, IDLE);
        (0..10).for_each(|_| pulse.asked());
        pulse.in_use();
        assert_eq!(pulse.wait(), 5 * SECOND);
    }

    #[test]
    fn ten_thousand_clients_that_began_together_do_not_ask_together() {
        let mut in_tenth = [0; 10];
        for _ in 0..10_000 {
            let asked: Duration = waits(Pulse::with_idle_timeout(None, IDLE), 20).iter().sum();
            in_tenth[(asked.as_millis() % 1000 / 100) as usize] += 1;
        }
        for count in in_tenth {
            assert!((800..1200).contains(&count), "{in_tenth:?}");
        }
    }

    #[test]
    fn an_interval_that_the_user_chose_stays_as_it_is() {
        for interval in [SECOND / 10, 5 * SECOND, 20 * SECOND] {
            let mut pulse = Pulse::with_idle_timeout(Some(interval), IDLE);
            pulse.in_use();
            assert_eq!(waits(pulse, 5), [interval; 5]);
        }
    }

    #[test]
    fn no_wait_outlasts_what_the_connection_survives_with_time_for_repeating() {
        for (idle, most) in [(30, 25), (15, 10), (8, 4), (60, 25)] {
            for interval in [None, Some(600 * SECOND)] {
                let pulse = Pulse::with_idle_timeout(interval, idle * SECOND);
                for wait in waits(pulse, 20) {
                    assert!(wait <= most * SECOND, "{wait:?} of {idle} s");
                }
            }
        }
    }

    #[test]
    fn a_server_that_announces_a_tiny_idle_timeout_is_not_asked_without_end() {
        for interval in [None, Some(5 * SECOND)] {
            let pulse = Pulse::with_idle_timeout(interval, Duration::from_millis(1));
            for wait in waits(pulse, 20) {
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
