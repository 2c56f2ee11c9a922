//! Who takes more than others of a TUN queue that the worker cannot empty.
//!
//! All sessions of a worker wait in one queue of the kernel, which drops what comes last when it is full: whoever has
//! much in it keeps much, and TCP's own way to equal shares takes minutes there. So while the queue stands, each session
//! that takes clearly more than an equal share is told so once in a while, by a mark or a loss ([`super::Relief`]), and
//! those that take less find room (approximate fairness through differential dropping: Pan, Breslau, Prabhakar, Shenker
//! 2003; here without a random number, because one packet in a while is enough for senders that listen).
//!
//! What always holds: nobody is told while the queue runs empty now and then or while shares are small, a session that
//! is alone is never told, and none is told more than once in two windows.

use std::time::{Duration, Instant};

/// How long shares are counted before anybody is told: some round trips of a queue that stands.
const WINDOW: Duration = Duration::from_millis(200);
/// More than this many hundredths of an equal share is clearly more.
const GREEDY: u64 = 125;
/// Sessions with less than this part of an equal share want no more, and do not count as sharing.
const MODEST: u64 = 4;

/// Nobody is told while an equal share is less, in bytes: of a few packets a loss is much, and chance makes them unequal.
const SMALL: u64 = 48_000;

/// One worker's count.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    /// The number of the window, and when it began.
    window: u64,
    began: Option<Instant>,
    /// Whether the queue has been empty in it.
    was_emptied: bool,
    /// Bytes of sessions that share the queue in it, and how many these are.
    bytes: u64,
    sharing: u64,
    /// An equal share of the window before.
    equal: u64,
    /// Whether the queue stood throughout that.
    stands: bool,
}

/// What is kept for a session.
#[derive(Clone, Debug, Default)]
pub struct Share {
    window: u64,
    bytes: u64,
    /// Bytes of the window before.
    before: u64,
    counts: bool,
    told: bool,
    /// Told in the window before: what it takes back is not seen yet.
    was_told: bool,
}

impl Shares {
    /// The queue was read at `now`; `is_empty` says whether until nothing was left.
    pub fn looked(&mut self, now: Instant, is_empty: bool) {
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

    /// A packet or super-packet of `len` bytes of a session was read; gives back the session when it is to be told that it
    /// takes too much. It is asked again until it was.
    pub fn tells<'a>(&mut self, session: &'a mut Share, len: usize) -> Option<&'a mut Share> {
        if session.window != self.window {
            let is_next = session.window + 1 == self.window;
            *session = Share {
                window: self.window,
                before: if is_next { session.bytes } else { 0 },
                was_told: is_next && session.told,
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
        // Both of the window before: what is counted since may be of more senders, or of a faster turn of the same.
        let is_greedy = session.before * 100 > self.equal * GREEDY;
        let queue_stands = self.stands && !self.was_emptied && self.equal >= SMALL;
        (queue_stands && is_greedy && !session.told && !session.was_told).then_some(session)
    }
}

impl Share {
    /// A packet of the session was marked or dropped.
    pub(super) fn is_told(&mut self) {
        self.told = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: usize = 64_000;

    /// Senders that share a queue: each window, each has so many reads in it, told ones take three tenths back, and all
    /// ask for one more now and then, as CUBIC's windows do.
    struct Senders {
        now: Instant,
        shares: Shares,
        sessions: Vec<(Share, f64)>,
    }

    impl Senders {
        fn new(reads: &[f64]) -> Self {
            Self {
                now: Instant::now(),
                shares: Shares::default(),
                sessions: reads
                    .iter()
                    .map(|&reads| (Share::default(), reads))
                    .collect(),
            }
        }

        /// One window; how often each was told.
        fn window(&mut self, runs_empty: bool) -> Vec<usize> {
            let mut told = vec![0; self.sessions.len()];
            for ((share, reads), told) in self.sessions.iter_mut().zip(&mut told) {
                for _ in 0..reads.round() as usize {
                    if let Some(share) = self.shares.tells(share, READ) {
                        share.is_told();
                        *told += 1;
                    }
                }
            }
            self.now += WINDOW;
            self.shares.looked(self.now, runs_empty);
            told
        }

        fn windows(&mut self, count: usize) -> Vec<usize> {
            let mut sum = vec![0; self.sessions.len()];
            for _ in 0..count {
                for (sum, told) in sum.iter_mut().zip(self.window(false)) {
                    *sum += told;
                }
            }
            sum
        }
    }

    #[test]
    fn a_session_with_more_than_the_others_is_told_in_every_other_window_and_they_are_not() {
        let mut senders = Senders::new(&[30.0, 10.0, 10.0, 10.0]);
        senders.windows(2);
        assert_eq!(senders.windows(10), [5, 0, 0, 0]);
    }

    #[test]
    fn a_session_that_is_alone_is_never_told() {
        assert_eq!(Senders::new(&[500.0]).windows(10), [0]);
    }

    #[test]
    fn a_session_that_is_alone_is_not_told_either_when_it_carries_more_or_less_than_before() {
        let mut senders = Senders::new(&[0.0]);
        for reads in [300.0, 500.0, 500.0, 100.0, 100.0, 10.0, 400.0, 1.0, 80.0] {
            senders.sessions[0].1 = reads;
            assert_eq!(senders.windows(2), [0], "{reads}");
        }
    }

    #[test]
    fn sessions_that_are_equal_are_not_told_when_all_carry_more_or_others_join_them() {
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
    fn nobody_is_told_of_a_queue_that_stood_once_the_next_window_saw_it_empty() {
        let mut senders = Senders::new(&[30.0, 10.0]);
        senders.windows(3);
        senders.shares.looked(senders.now, true);
        assert_eq!(senders.window(false), [0, 0]);
    }

    #[test]
    fn nobody_is_told_while_shares_are_a_few_packets() {
        let (mut shares, mut now) = (Shares::default(), Instant::now());
        let mut sessions = vec![Share::default(); 100];
        for _ in 0..10 {
            for (place, session) in sessions.iter_mut().enumerate() {
                for _ in 0..5 + place % 7 {
                    assert!(shares.tells(session, 1400).is_none());
                }
            }
            now += WINDOW;
            shares.looked(now, false);
        }
    }

    #[test]
    fn a_session_that_had_nothing_to_take_is_asked_again() {
        let mut senders = Senders::new(&[30.0, 10.0]);
        // Told once, and spared in the window after that.
        assert_eq!(senders.windows(4), [1, 0]);
        let greedy = &mut senders.sessions[0].0;
        let asked = (0..5).filter(|_| senders.shares.tells(greedy, READ).is_some());
        assert_eq!(asked.count(), 5);
    }

    #[test]
    fn sessions_with_little_do_not_make_the_others_greedy() {
        let reads = [vec![1.0; 50], vec![40.0; 3]].concat();
        let mut senders = Senders::new(&reads);
        senders.windows(3);
        assert_eq!(senders.windows(10), [0; 53]);
    }

    #[test]
    fn nobody_is_told_while_the_queue_runs_empty_now_and_then() {
        let mut senders = Senders::new(&[30.0, 10.0]);
        for _ in 0..10 {
            assert_eq!(senders.window(true), [0, 0]);
        }
    }

    #[test]
    fn senders_that_listen_end_up_with_equal_shares() {
        let reads: Vec<_> = (1..=20).map(|place| f64::from(place * place)).collect();
        let mut senders = Senders::new(&reads);
        let mut sums = [0.0; 20];
        for window in 0..100 {
            let told = senders.window(false);
            let sessions = senders.sessions.iter_mut().zip(&mut sums);
            for (((_, reads), sum), told) in sessions.zip(told) {
                if window >= 50 {
                    *sum += *reads;
                }
                *reads = if told > 0 { *reads * 0.7 } else { *reads + 1.0 };
            }
        }
        let (sum, squares) = sums.iter().fold((0.0, 0.0), |(sum, squares), it| {
            (sum + it, squares + it * it)
        });
        let jain_index = sum * sum / (20.0 * squares);
        assert!(jain_index > 0.98, "{jain_index}: {sums:?}");
    }
}
