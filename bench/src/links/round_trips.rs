//! Round-trip times while something else happens, or nothing: an echo request every 10 ms.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use conformance::{Machine, PingReply, Pinger, wait_until};
use serde::Serialize;

/// Between two echo requests.
const INTERVAL: Duration = Duration::from_millis(10);

/// What the requests of one window found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct RoundTrips {
    /// The median in milliseconds.
    pub(crate) p50_ms: f64,
    /// 99 % took at most this, in milliseconds.
    pub(crate) p99_ms: f64,
    /// Share of the requests that stayed without an answer, 0 to 1.
    pub(crate) unanswered: f64,
}

/// Requests that are being sent.
#[derive(Debug)]
pub(crate) struct PingRun(Pinger);

impl PingRun {
    /// Begins to send to `target`.
    pub(crate) fn start(machine: &Machine, target: Ipv4Addr) -> Self {
        Self(Pinger::start(machine, target.into(), INTERVAL))
    }

    /// Waits until the requests of that time from the start, and as much again as answers may take,
    /// were sent.
    pub(crate) fn wait_for(&self, time: Duration) {
        let enough = requests(time + Duration::from_secs(1));
        wait_until(
            "the last echo request",
            time + Duration::from_secs(30),
            || self.0.sent() >= enough,
        );
    }

    /// Ends it; what counts are the requests sent between `from` and `until`, measured from the
    /// start.
    ///
    /// # Errors
    /// When none of them was answered.
    pub(crate) fn finish(self, from: Duration, until: Duration) -> Result<RoundTrips> {
        let (_, replies) = self.0.stop();
        of_window(&replies, requests(from), requests(until))
            .context("not one echo request was answered")
    }
}

/// How many requests are sent in that time.
fn requests(time: Duration) -> usize {
    (time.as_nanos() / INTERVAL.as_nanos()) as usize
}

/// Requests with numbers from `from`, below `until`.
fn of_window(replies: &[PingReply], from: usize, until: usize) -> Option<RoundTrips> {
    let mut times: Vec<f64> = replies
        .iter()
        .filter(|reply| (from..until).contains(&usize::from(reply.number)))
        .map(|reply| reply.rtt.as_secs_f64() * 1e3)
        .collect();
    times.sort_by(f64::total_cmp);
    Some(RoundTrips {
        p50_ms: *times.get(rank(times.len(), 50)?)?,
        p99_ms: *times.get(rank(times.len(), 99)?)?,
        unanswered: 1.0 - times.len() as f64 / (until - from) as f64,
    })
}

/// Where that percentile stands among `count` sorted values (nearest rank).
fn rank(count: usize, percent: usize) -> Option<usize> {
    (count * percent).div_ceil(100).checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn replies(times: impl Iterator<Item = (u16, u64)>) -> Vec<PingReply> {
        let at = Instant::now();
        times
            .map(|(number, ms)| PingReply {
                number,
                at,
                rtt: Duration::from_millis(ms),
            })
            .collect()
    }

    #[test]
    fn percentiles_are_those_of_the_window_alone() {
        let all = replies((0..300).map(|n| (n, if n < 100 { 900 } else { u64::from(n) - 99 })));
        let found = of_window(&all, 100, 200).expect("answers");
        assert_eq!((found.p50_ms, found.p99_ms), (50.0, 99.0));
        assert_eq!(found.unanswered, 0.0);
    }

    #[test]
    fn unanswered_requests_are_counted_and_no_answers_give_no_figure() {
        let found = of_window(&replies((0..75).map(|n| (n, 1))), 0, 100).expect("answers");
        assert_eq!(found.unanswered, 0.25);
        assert!(of_window(&replies((0..75).map(|n| (n, 1))), 80, 100).is_none());
    }
}
