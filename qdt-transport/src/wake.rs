//! How a worker sleeps in `poll` and what wakes it: its socket, its TUN queue and an eventfd.
//!
//! A port to another platform replaces [`Source`], a descriptor here, and this file.
//!
//! Invariants: any thread may wake a worker, any number of times; the worker clears the eventfd
//! before it reads its queues, so that no wake-up in between is lost. A descriptor that this turn
//! does not read is polled without `POLLIN`, but `poll` reports errors and hang-ups anyway: the
//! owner of a failed TUN queue drops it, or the loop would never sleep.

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
    /// Creates the eventfd.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { fd: Arc::new(fd) })
    }

    /// Makes the worker's next `poll` return at once.
    pub(crate) fn wake(&self) {
        // The only error is a full counter (EAGAIN), which is readable already.
        let _ = rustix::io::write(&*self.fd, &1u64.to_ne_bytes());
    }

    /// Returns the eventfd as something to wait for.
    pub(crate) fn source(&self) -> Source<'_> {
        Source::of(&*self.fd)
    }

    /// Resets the eventfd, before the worker reads its queues.
    pub(crate) fn clear(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.fd, &mut count);
    }
}

/// Something that may become ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a>(BorrowedFd<'a>);

impl<'a> Source<'a> {
    /// Returns the source of a descriptor.
    pub(crate) fn of(what: &'a impl AsFd) -> Self {
        Self(what.as_fd())
    }

    /// Sleeps until it is writable, until `until`, or until a signal or an error; the caller tries
    /// again to find out.
    pub(crate) fn wait_writable(self, until: Instant) {
        let mut fds = [PollFd::new(&self.0, PollFlags::OUT)];
        let _ = sleep(&mut fds, false, Some(until));
    }
}

/// The sources that a worker sleeps on.
pub(crate) struct Sources<'a> {
    /// The UDP socket.
    pub(crate) udp: Source<'a>,
    /// Whether the socket is full, so that room in it wakes the worker too.
    pub(crate) udp_is_full: bool,
    /// The eventfd that other threads write.
    pub(crate) waker: Source<'a>,
    /// The TUN queue, if any.
    pub(crate) tun: Option<Source<'a>>,
    /// Whether the TUN queue would be read now; otherwise only its end wakes the worker.
    pub(crate) reads_tun: bool,
}

/// The sources that are ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    /// The UDP socket has datagrams, or an error that a read returns.
    pub(crate) udp: bool,
    /// Another thread woke the worker.
    pub(crate) waker: bool,
    /// The TUN queue has packets or failed, which a read reports.
    pub(crate) tun: bool,
}

impl Sources<'_> {
    /// Sleeps until a source is ready or until `until`; does not sleep if `busy`.
    ///
    /// # Errors
    /// The system is out of memory, or a descriptor is invalid.
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

/// Sleeps until one of `fds` is ready or until `until`; does not sleep if `busy`. Returns false
/// after a signal, when nothing is known about the descriptors.
///
/// # Errors
/// The system is out of memory, or a descriptor is invalid.
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
    fn wake_ups_are_seen_once_and_then_cleared() {
        let waker = Waker::new().expect("eventfd");
        assert!(!readable(&waker));
        waker.wake();
        waker.clone().wake();
        assert!(readable(&waker));
        waker.clear();
        assert!(!readable(&waker));
    }

    #[test]
    fn a_failed_device_wakes_a_worker_that_does_not_read_it_too() {
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
    fn packets_of_a_device_that_is_not_read_now_do_not_wake_the_worker() {
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
