//! How a worker sleeps in `poll`, and what wakes it from outside: one eventfd.
//!
//! Any thread may ring it, any number of times; the worker sees one readable descriptor and silences it
//! before it looks at its queues, so that a ring between the two is never lost.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, Timespec, eventfd, poll};

/// A handle that rings one worker. Clones ring the same worker.
#[derive(Clone, Debug)]
pub(crate) struct Bell {
    fd: Arc<OwnedFd>,
}

impl Bell {
    /// A silent bell.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { fd: Arc::new(fd) })
    }

    /// Makes the worker's next `poll` return at once.
    pub(crate) fn ring(&self) {
        // The only failure is a counter that is full (EAGAIN): the bell rings already.
        let _ = rustix::io::write(&*self.fd, &1u64.to_ne_bytes());
    }

    /// Takes the ring back; called by the worker before it reads its queues.
    pub(crate) fn silence(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.fd, &mut count);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Sleeps until one of `fds` is ready or `until` has come, not at all if `busy`. False when a signal
/// interrupted it: then nothing is known about the descriptors.
///
/// # Errors
/// The system is out of memory, or a descriptor is not one.
pub(crate) fn sleep(
    fds: &mut [PollFd<'_>],
    busy: bool,
    until: Option<Instant>,
) -> io::Result<bool> {
    let span = if busy {
        Some(Duration::ZERO)
    } else {
        until.map(|at| at.saturating_duration_since(Instant::now()))
    };
    let timeout = span.map(|span| Timespec {
        tv_sec: span.as_secs().min(3600) as i64,
        tv_nsec: span.subsec_nanos().into(),
    });
    match poll(fds, timeout.as_ref()) {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::PollFlags;

    fn readable(bell: &Bell) -> bool {
        let mut fds = [PollFd::new(bell, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&now)).expect("poll") == 1
    }

    #[test]
    fn a_ring_is_seen_once_and_then_silent() {
        let bell = Bell::new().expect("eventfd");
        assert!(!readable(&bell));
        bell.ring();
        bell.clone().ring();
        assert!(readable(&bell));
        bell.silence();
        assert!(!readable(&bell));
    }
}
