//! Fair shares of a TUN queue that the worker cannot empty.
//!
//! All sessions of a worker wait in one kernel queue with tail drop: a session with many packets in
//! it keeps many, and TCP takes minutes to converge to equal shares there. So while the queue
//! stands, a session above an equal share gets a congestion signal now and then
//! ([`super::CongestionSignal`]), which makes room for the others (approximate fairness through
//! differential dropping: Pan, Breslau, Prabhakar, Shenker 2003; here without random numbers,
//! because a rare signal suffices for responsive flows).
//!
//! Invariants: no session is signalled while the queue runs empty now and then or while shares are
//! small; a session that is alone is never signalled; none is signalled more than once in two
//! windows.

use std::time::{Duration, Instant};

/// The time over which shares are counted: some round trips of a standing queue.
const WINDOW: Duration = Duration::from_millis(200);
/// The percentage of an equal share above which a session is signalled.
const OVER_SHARE: u64 = 125;
/// Sessions below this fraction of an equal share do not count as sharing: they want no more.
const MODEST: u64 = 4;

/// The equal share in bytes below which no session is signalled: with a few packets each, shares
/// differ by chance and a loss is expensive.
const SMALL: u64 = 48_000;

/// The shares of one worker's TUN queue.
#[derive(Clone, Debug, Default)]
pub struct FairShare {
    /// The number of the window, and when it began.
    window: u64,
    began: Option<Instant>,
    /// Whether the queue was empty during the window.
    was_emptied: bool,
    /// Bytes of sessions that share the queue in it, and how many these are.
    bytes: u64,
    sharing: u64,
    /// The equal share of the previous window.
    equal: u64,
    /// Whether the queue stood throughout the previous window.
    stands: bool,
}

/// The share of one session.
#[derive(Clone, Debug, Default)]
pub struct Share {
    window: u64,
    bytes: u64,
    /// Bytes of the previous window.
    before: u64,
    counts: bool,
    signalled: bool,
    /// Signalled in the previous window: the response is not visible yet.
    was_signalled: bool,
}

impl FairShare {
    /// Takes note of a read of the queue at `now` and whether that emptied it.
    pub fn queue_read(&mut self, now: Instant, is_empty: bool) {
        self.was_emptied |= is_empty;
        let began = *self.began.get_or_insert(now);
        if now.saturating_duration_since(began) < WINDOW {
            return;
        }
        self.stands = !self.was_emptied;
        self.equal = self.bytes / self.sharing.max(1);
        self.window += 1;
        self.began = Some(now);
        self.was_emptied = is_empty;
        self.bytes = 0;
        self.sharing = 0;
    }

    /// Counts a packet or super-packet of `len` bytes of a session. Returns the session while it is
    /// over its share and to be signalled.
    pub fn over_share<'a>(&mut self, session: &'a mut Share, len: usize) -> Option<&'a mut Share> {
        if session.window != self.window {
            let is_next = session.window + 1 == self.window;
            *session = Share {
                window: self.window,
                before: if is_next { session.bytes } else { 0 },
                was_signalled: is_next && session.signalled,
                ..Share::default()
            };
        }
        session.bytes += len as u64;
        if session.counts {
            self.bytes += len as u64;
        } else if session.bytes * MODEST > self.equal {
            session.counts = true;
            self.sharing += 1;
            self.bytes += session.bytes;
        }
        // Both are of the previous window: the current one may have more senders or a faster
        // worker.
        let is_over = session.before * 100 > self.equal * OVER_SHARE;
        let queue_stands = self.stands && !self.was_emptied && self.equal >= SMALL;
        (queue_stands && is_over && !session.signalled && !session.was_signalled).then_some(session)
    }
}

impl Share {
    /// Takes note of a marked or dropped packet of the session.
    pub(super) fn signalled(&mut self) {
        self.signalled = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: usize = 64_000;

    /// Senders that share a queue, with reads per window: each adds one per window and multiplies
    /// by 0.7 when signalled, like CUBIC.
    struct Senders {
        now: Instant,
        shares: FairShare,
        sessions: Vec<(Share, f64)>,
    }

    impl Senders {
        fn new(reads: &[f64]) -> Self {
            Self {
                now: Instant::now(),
                shares: FairShare::default(),
                sessions: reads
                    .iter()
                    .map(|&reads| (Share::default(), reads))
                    .collect(),
            }
        }

        /// Runs one window. Returns the signals of each sender.
        fn window(&mut self, runs_empty: bool) -> Vec<usize> {
            let mut signalled = vec![0; self.sessions.len()];
            for ((share, reads), signalled) in self.sessions.iter_mut().zip(&mut signalled) {
                for _ in 0..reads.round() as usize {
                    if let Some(share) = self.shares.over_share(share, READ) {
                        share.signalled();
                        *signalled += 1;
                    }
                }
            }
            self.now += WINDOW;
            self.shares.queue_read(self.now, runs_empty);
            signalled
        }

        fn windows(&mut self, count: usize) -> Vec<usize> {
            let mut sum = vec![0; self.sessions.len()];
            for _ in 0..count {
                for (sum, signalled) in sum.iter_mut().zip(self.window(false)) {
                    *sum += signalled;
                }
            }
            sum
        }
    }

    #[test]
    fn only_a_session_over_its_share_is_signalled_in_every_other_window() {
        let mut senders = Senders::new(&[30.0, 10.0, 10.0, 10.0]);
        senders.windows(2);
        assert_eq!(senders.windows(10), [5, 0, 0, 0]);
    }

    #[test]
    fn a_session_that_is_alone_is_never_signalled() {
        assert_eq!(Senders::new(&[500.0]).windows(10), [0]);
    }

    #[test]
    fn a_session_that_is_alone_is_not_signalled_when_its_rate_changes() {
        let mut senders = Senders::new(&[0.0]);
        for reads in [300.0, 500.0, 500.0, 100.0, 100.0, 10.0, 400.0, 1.0, 80.0] {
            senders.sessions[0].1 = reads;
            assert_eq!(senders.windows(2), [0], "{reads}");
        }
    }

    #[test]
    fn equal_sessions_are_not_signalled_when_their_rate_or_number_changes() {
        let mut senders = Senders::new(&[30.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        senders.windows(3);
        for reads in [5.0, 9.0, 20.0, 3.0] {
            for (_, each) in &mut senders.sessions {
                *each = reads;
            }
            assert_eq!(senders.windows(3), [0; 6], "{reads}");
        }
    }

    #[test]
    fn no_session_is_signalled_once_the_queue_has_run_empty() {
        let mut senders = Senders::new(&[30.0, 10.0]);
        senders.windows(3);
        senders.shares.queue_read(senders.now, true);
        assert_eq!(senders.window(false), [0, 0]);
    }

    #[test]
    fn no_session_is_signalled_while_shares_are_a_few_packets() {
        let (mut shares, mut now) = (FairShare::default(), Instant::now());
        let mut sessions = vec![Share::default(); 100];
        for _ in 0..10 {
            for (place, session) in sessions.iter_mut().enumerate() {
                for _ in 0..5 + place % 7 {
                    assert!(shares.over_share(session, 1400).is_none());
                }
            }
            now += WINDOW;
            shares.queue_read(now, false);
        }
    }

    #[test]
    fn a_session_is_returned_until_a_packet_of_it_was_signalled() {
        let mut senders = Senders::new(&[30.0, 10.0]);
        // Signalled once, and not in the next window.
        assert_eq!(senders.windows(4), [1, 0]);
        let over_share = &mut senders.sessions[0].0;
        let named = (0..5).filter(|_| senders.shares.over_share(over_share, READ).is_some());
        assert_eq!(named.count(), 5);
    }

    #[test]
    fn small_sessions_do_not_put_the_others_over_their_share() {
        let reads = [vec![1.0; 50], vec![40.0; 3]].concat();
        let mut senders = Senders::new(&reads);
        senders.windows(3);
        assert_eq!(senders.windows(10), [0; 53]);
    }

    #[test]
    fn no_session_is_signalled_while_the_queue_runs_empty_now_and_then() {
        let mut senders = Senders::new(&[30.0, 10.0]);
        for _ in 0..10 {
            assert_eq!(senders.window(true), [0, 0]);
        }
    }

    #[test]
    fn responsive_senders_end_up_with_equal_shares() {
        let reads: Vec<_> = (1..=20).map(|place| f64::from(place * place)).collect();
        let mut senders = Senders::new(&reads);
        let mut sums = [0.0; 20];
        for window in 0..100 {
            let signalled = senders.window(false);
            let sessions = senders.sessions.iter_mut().zip(&mut sums);
            for (((_, reads), sum), signalled) in sessions.zip(signalled) {
                if window >= 50 {
                    *sum += *reads;
                }
                *reads = if signalled > 0 {
                    *reads * 0.7
                } else {
                    *reads + 1.0
                };
            }
        }
        let (sum, squares) = sums.iter().fold((0.0, 0.0), |(sum, squares), it| {
            (sum + it, squares + it * it)
        });
        let jain_index = sum * sum / (20.0 * squares);
        assert!(jain_index > 0.98, "{jain_index}: {sums:?}");
    }
}
