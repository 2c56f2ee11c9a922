//! What only an engine with a socket can do: be waited for, and wait until the last packets left.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use qdt_proto::http3::code;
use rustix::event::{PollFd, PollFlags};

use super::{Application, Engine};
use crate::counters::WorkerCounters;
use crate::http3_streams::error_code;
use crate::wake::sleep;

/// How long the last packets may take to leave.
const LEAVE_WITHIN: Duration = Duration::from_millis(500);

impl<A: Application> Engine<A> {
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.port.as_fd()
    }

    /// Closes every connection with H3_NO_ERROR and a reason, and waits until the socket has taken
    /// that or [`LEAVE_WITHIN`] has passed on `clock`.
    pub(crate) fn leave(
        &mut self,
        app: &mut A,
        clock: impl Fn() -> Instant,
        reason: &'static str,
        counters: &WorkerCounters,
    ) {
        let now = clock();
        let handles: Vec<_> = self.links().map(|link| link.handle).collect();
        for handle in handles {
            if let Some(link) = self.link(handle) {
                link.quic
                    .close(now, error_code(code::H3_NO_ERROR), reason.as_bytes().into());
            }
            self.touch(handle);
        }
        let until = now + LEAVE_WITHIN;
        loop {
            self.flush(app, clock(), counters);
            if !self.is_blocked() || clock() >= until {
                return;
            }
            let socket = self.socket();
            let mut fds = [PollFd::new(&socket, PollFlags::OUT)];
            // What wakes it early is found out by trying again.
            let _ = sleep(&mut fds, false, Some(until));
        }
    }
}
