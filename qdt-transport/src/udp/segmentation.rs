//! Whether several datagrams leave in one call (GSO, `UDP_SEGMENT` of udp(7)), and when that is
//! tried again.
//!
//! Invariants: only a batch that the system refused and whose datagrams it then took one by one
//! switches segmentation off, so no datagram that was sent alone, to whomever, changes anything;
//! while it is off one batch a second tries again; a log line tells of the first refusal, and one
//! that it has worked for a while since.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// From a refusal to the next attempt.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// It has to work for so long before the log says that it works again: where two devices differ, it
/// comes and goes.
const WORKS_AFTER: Duration = Duration::from_secs(5);

#[derive(Debug)]
enum State {
    On,
    /// Off until then.
    Off(Instant),
    /// On again since then, after a refusal that was logged.
    Again(Instant),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Segmentation {
    most: usize,
    state: State,
    /// How many sockets of this process have told of a refusal: the first speaks for all.
    refused: Arc<AtomicUsize>,
}

impl Segmentation {
    /// For a socket that takes `most` datagrams a call, 1 where the kernel has no such offload.
    pub(super) fn new(most: usize, refused: Arc<AtomicUsize>) -> Self {
        Self {
            most,
            state: State::On,
            refused,
        }
    }

    /// How many equal datagrams one call may carry now.
    pub(super) fn segments(&self, now: Instant) -> usize {
        match self.state {
            State::Off(until) if now < until => 1,
            _ => self.most,
        }
    }

    /// Whether an error may be about the batch instead of its datagrams. Kernel and drivers have no
    /// better words for a device without checksum offload or a route through IPsec (EIO), and for
    /// what they cannot cut (EINVAL).
    pub(super) fn may_be_why(error: &io::Error) -> bool {
        matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL))
    }

    /// A batch was refused with `error`, and its datagrams were not.
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

    /// A batch was sent; true where it was off before.
    pub(super) fn worked(&mut self, now: Instant) -> bool {
        match self.state {
            State::On => return false,
            State::Off(_) => {
                self.state = State::Again(now);
                return true;
            }
            State::Again(since) if now < since + WORKS_AFTER => {}
            State::Again(_) => {
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
    fn a_refusal_is_tried_again_after_a_second_and_told_once_by_all_sockets() {
        let refused = Arc::new(AtomicUsize::new(0));
        let mut sockets = [0, 1].map(|_| Segmentation::new(64, refused.clone()));
        let error = io::Error::from_raw_os_error(libc::EIO);
        let mut now = Instant::now();
        for _ in 0..10 {
            for socket in &mut sockets {
                assert_eq!(socket.segments(now), 64, "it is tried");
                socket.was_refused(now, &error);
                assert_eq!(socket.segments(now), 1);
            }
            assert_eq!(refused.load(Ordering::Relaxed), 2, "told once each");
            now += RETRY_AFTER;
        }
        for socket in &mut sockets {
            assert!(socket.worked(now), "it was off");
            assert_eq!(socket.segments(now), 64);
        }
        assert_eq!(refused.load(Ordering::Relaxed), 2, "for a moment so far");
        for socket in &mut sockets {
            assert!(!socket.worked(now + WORKS_AFTER), "it was on");
        }
        assert_eq!(refused.load(Ordering::Relaxed), 0);
    }
}
