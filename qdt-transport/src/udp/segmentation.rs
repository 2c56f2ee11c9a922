//! Segmentation offload (GSO, `UDP_SEGMENT` of udp(7)): whether a call may carry several datagrams,
//! and when to retry after a refusal.
//!
//! Invariants: only a batch that the system refused and whose datagrams it then took one by one
//! switches segmentation off, so no single datagram does; while it is off, one batch a second
//! retries; the log has the first refusal, and the recovery once it has lasted.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The time from a refusal to the next attempt.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The time without a refusal after which the log reports recovery. With two outgoing devices that
/// differ, refusals come and go.
const RECOVERED_AFTER: Duration = Duration::from_secs(5);

#[derive(Debug)]
enum State {
    On,
    /// Off until this instant.
    Off(Instant),
    /// On again since this instant, after a logged refusal.
    Recovering(Instant),
}

#[derive(Debug)]
pub(super) struct Segmentation {
    max: usize,
    state: State,
    /// Sockets of this process with a logged refusal; only the first one logs.
    refused: Arc<AtomicUsize>,
}

impl Segmentation {
    /// Returns the state of a socket that takes `max` datagrams per call, 1 where the kernel lacks
    /// the offload.
    pub(super) fn new(max: usize, refused: Arc<AtomicUsize>) -> Self {
        Self {
            max,
            state: State::On,
            refused,
        }
    }

    /// Returns how many equal datagrams a call may carry now.
    pub(super) fn segments(&self, now: Instant) -> usize {
        match self.state {
            State::Off(until) if now < until => 1,
            _ => self.max,
        }
    }

    /// Returns whether an error may concern the batch instead of its datagrams. Kernel and drivers
    /// report EIO for a device without checksum offload or a route through IPsec, and EINVAL for
    /// batches that they cannot split.
    pub(super) fn may_be_refusal(error: &io::Error) -> bool {
        matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL))
    }

    /// Switches segmentation off, after a batch was refused with `error` and its datagrams were
    /// not.
    #[cold]
    pub(super) fn was_refused(&mut self, now: Instant, error: &io::Error) {
        if matches!(self.state, State::On) && self.refused.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                err = %error,
                "UDP segmentation offload refused: datagrams are sent one by one, which costs CPU; it is tried again \
                 every second; look at `ethtool -k` of the outgoing device and at IPsec policies"
            );
        }
        self.state = State::Off(now + RETRY_AFTER);
    }

    /// Takes note of a sent batch. Returns true if segmentation was off before.
    pub(super) fn worked(&mut self, now: Instant) -> bool {
        match self.state {
            State::On => return false,
            State::Off(_) => {
                self.state = State::Recovering(now);
                return true;
            }
            State::Recovering(since) if now < since + RECOVERED_AFTER => {}
            State::Recovering(_) => {
                self.state = State::On;
                if self.refused.fetch_sub(1, Ordering::Relaxed) == 1 {
                    tracing::info!("UDP segmentation offload works again");
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segmentation_is_retried_after_a_second_and_all_sockets_log_one_refusal() {
        let refused = Arc::new(AtomicUsize::new(0));
        let mut sockets = [0, 1].map(|_| Segmentation::new(64, refused.clone()));
        let error = io::Error::from_raw_os_error(libc::EIO);
        let mut now = Instant::now();
        for _ in 0..10 {
            for socket in &mut sockets {
                assert_eq!(socket.segments(now), 64, "retried");
                socket.was_refused(now, &error);
                assert_eq!(socket.segments(now), 1);
            }
            assert_eq!(refused.load(Ordering::Relaxed), 2, "each counted once");
            now += RETRY_AFTER;
        }
        for socket in &mut sockets {
            assert!(socket.worked(now), "it was off");
            assert_eq!(socket.segments(now), 64);
        }
        assert_eq!(refused.load(Ordering::Relaxed), 2, "for a moment so far");
        for socket in &mut sockets {
            assert!(!socket.worked(now + RECOVERED_AFTER), "it was on");
        }
        assert_eq!(refused.load(Ordering::Relaxed), 0);
    }
}
