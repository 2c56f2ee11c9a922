//! How a worker sleeps in `poll`, and what wakes it from outside: one eventfd.
//!
//! What can wake a worker hands out a [`Source`]; what that is on this platform (a descriptor) is
//! known here and where a port to another begins.
//!
//! Any thread may wake it, any number of times; the worker sees one readable descriptor and clears
//! it before it looks at its queues, so that a wake-up between the two is never lost.
//!
//! What always holds: a descriptor that will not be read in this turn is asked about nothing but
//! its end. `poll` reports errors and hang-ups unasked, and a loop that does nothing about them
//! would never sleep: whoever names a TUN queue lets go of it when it is gone.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::clock;

/// A handle that wakes one worker. Clones wake the same worker.
#[derive(Clone, Debug)]
pub(crate) struct Waker {
    fd: Arc<OwnedFd>,
}

impl Waker {
    /// Returns a waker that was not used yet.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { fd: Arc::new(fd) })
    }

    /// Makes the worker's next `poll` return at once.
    pub(crate) fn wake(&self) {
        // The only failure is a counter that is full (EAGAIN): the worker is woken already.
        let _ = rustix::io::write(&*self.fd, &1u64.to_ne_bytes());
    }

    /// Returns what a wake-up makes ready.
    pub(crate) fn source(&self) -> Source<'_> {
        Source::of(&*self.fd)
    }

    /// Takes the wake-up back; called by the worker before it reads its queues.
    pub(crate) fn clear(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.fd, &mut count);
    }
}

/// Something that may become ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a>(BorrowedFd<'a>);

impl<'a> Source<'a> {
    /// Returns what `poll` says of a descriptor.
    pub(crate) fn of(what: &'a impl AsFd) -> Self {
        Self(what.as_fd())
    }

    /// Sleeps until it takes more, `until` has come or the system says otherwise: the caller finds
    /// out by trying.
    pub(crate) fn wait_for_room(self, until: Instant) {
        let mut fds = [PollFd::new(&self.0, PollFlags::OUT)];
        let _ = sleep(&mut fds, false, Some(until));
    }
}

/// What a worker sleeps on.
pub(crate) struct Sources<'a> {
    /// The UDP socket.
    pub(crate) udp: Source<'a>,
    /// The socket is full: to be woken when it has room, too.
    pub(crate) udp_is_full: bool,
    /// What other threads wake it by.
    pub(crate) waker: Source<'a>,
    /// The TUN queue, where there is one.
    pub(crate) tun: Option<Source<'a>>,
    /// The TUN queue would be read now; otherwise only its end is of interest.
    pub(crate) reads_tun: bool,
}

/// What there is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    /// The UDP socket has something, or an error that reading it takes away.
    pub(crate) udp: bool,
    /// Another thread woke it.
    pub(crate) waker: bool,
    /// The TUN queue has something, or is gone, which reading it turns into words.
    pub(crate) tun: bool,
}

impl Sources<'_> {
    /// Sleeps until there is something to do or `until` has come, not at all if `busy`.
    ///
    /// # Errors
    /// The system is out of memory, or a descriptor is not one.
    pub(crate) fn wait(&self, busy: bool, until: Option<Instant>) -> io::Result<Ready> {
        let mut udp = PollFlags::IN;
        udp.set(PollFlags::OUT, self.udp_is_full);
        let mut tun = PollFlags::empty();
        tun.set(PollFlags::IN, self.reads_tun || self.tun.is_none());
        let mut fds = [
            PollFd::new(&self.udp.0, udp),
            PollFd::new(&self.waker.0, PollFlags::IN),
            PollFd::new(&self.tun.as_ref().unwrap_or(&self.waker).0, tun),
        ];
        if !sleep(&mut fds, busy, until)? {
            return Ok(Ready::default());
        }
        Ok(Ready {
            udp: !fds[0].revents().difference(PollFlags::OUT).is_empty(),
            waker: !fds[1].revents().is_empty(),
            tun: self.tun.is_some() && !fds[2].revents().is_empty(),
        })
    }
}

/// Sleeps until one of `fds` is ready or `until` has come, not at all if `busy`. False when a
/// signal interrupted it: then nothing is known about the descriptors.
///
/// # Errors
/// The system is out of memory, or a descriptor is not one.
fn sleep(fds: &mut [PollFd<'_>], busy: bool, until: Option<Instant>) -> io::Result<bool> {
    let span = if busy {
        Some(Duration::ZERO)
    } else {
        until.map(|at| at.saturating_duration_since(clock::now()))
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
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn readable(waker: &Waker) -> bool {
        let mut fds = [PollFd::new(&waker.fd, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&now)).expect("poll") == 1
    }

    #[test]
    fn a_wake_up_is_seen_once_until_the_next() {
        let waker = Waker::new().expect("eventfd");
        assert!(!readable(&waker));
        waker.wake();
        waker.clone().wake();
        assert!(readable(&waker));
        waker.clear();
        assert!(!readable(&waker));
    }

    #[test]
    fn a_device_that_is_gone_wakes_a_worker_whether_it_would_read_it_or_not() {
        let waker = Waker::new().expect("eventfd");
        let (udp, _peer) = UnixDatagram::pair().expect("pair");
        let (tun, kernel) = std::os::unix::net::UnixStream::pair().expect("pair");
        drop(kernel);
        let sources = |tun, reads_tun| Sources {
            udp: Source::of(&udp),
            udp_is_full: false,
            waker: waker.source(),
            tun,
            reads_tun,
        };
        let soon = || Some(Instant::now() + Duration::from_millis(50));
        for reads in [true, false] {
            let ready = sources(Some(Source::of(&tun)), reads).wait(false, soon());
            assert!(ready.expect("poll").tun);
        }
        let start = Instant::now();
        let without = sources(None, false).wait(false, soon());
        assert_eq!(without.expect("poll"), Ready::default());
        assert!(start.elapsed() >= Duration::from_millis(50), "it slept");
    }

    #[test]
    fn packets_of_a_device_that_is_not_read_now_wake_nobody() {
        let waker = Waker::new().expect("eventfd");
        let (udp, _peer) = UnixDatagram::pair().expect("pair");
        let (tun, kernel) = UnixDatagram::pair().expect("pair");
        kernel.send(b"packet").expect("send");
        let sources = |reads_tun| Sources {
            udp: Source::of(&udp),
            udp_is_full: false,
            waker: waker.source(),
            tun: Some(Source::of(&tun)),
            reads_tun,
        };
        let soon = || Some(Instant::now() + Duration::from_millis(50));
        let paused = sources(false).wait(false, soon());
        assert_eq!(paused.expect("poll"), Ready::default());
        assert!(sources(true).wait(false, soon()).expect("poll").tun);
    }

    #[test]
    fn room_in_a_full_socket_wakes_a_worker_without_a_packet_to_read() {
        let waker = Waker::new().expect("eventfd");
        let (udp, peer) = UnixDatagram::pair().expect("pair");
        let sources = Sources {
            udp: Source::of(&udp),
            udp_is_full: true,
            waker: waker.source(),
            tun: None,
            reads_tun: true,
        };
        assert_eq!(sources.wait(false, None).expect("poll"), Ready::default());
        peer.send(b"packet").expect("send");
        assert!(sources.wait(false, None).expect("poll").udp);
    }
}
