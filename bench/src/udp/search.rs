//! The search for the highest rate that holds, by trials: doubled until one fails, then halved (on
//! a logarithmic scale) until the two are close. RFC 2544, section 26.1, with a loss that is
//! allowed and trials of a fraction of a second; a rate has failed when it failed twice, because
//! now and then the machine itself is away for a moment.

use anyhow::{Result, ensure};

use super::LOSS_LIMIT;

/// The rate found is closer to the first that failed than by this factor.
const CLOSE: f64 = 1.03;
/// How far the first step from a known rate goes.
const NEAR: f64 = 1.1;
/// A path that does not carry so many packets per second carries nothing.
const LEAST: f64 = 100.0;
/// Share of what was asked of the sender that it has to send.
const KEPT_UP: f64 = 0.9;

/// What became of one rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trial {
    /// Packets per second that were asked for.
    pub(crate) asked: f64,
    /// Packets sent.
    pub(crate) sent: u64,
    /// Packets that arrived.
    pub(crate) received: u64,
    /// Seconds from the first to the last.
    pub(crate) seconds: f64,
}

impl Trial {
    /// Share of the packets sent that did not arrive, 0 to 1.
    pub(crate) fn loss(&self) -> f64 {
        1.0 - self.received.min(self.sent) as f64 / (self.sent as f64).max(1.0)
    }

    /// Packets per second that arrived.
    pub(crate) fn packets_per_second(&self) -> f64 {
        self.received as f64 / self.seconds
    }

    /// Whether few enough are missing.
    pub(crate) fn holds(&self) -> bool {
        self.sent > 0 && self.loss() < LOSS_LIMIT
    }

    /// Whether the sender sent what was asked of it.
    pub(crate) fn sender_kept_up(&self) -> bool {
        self.sent as f64 >= KEPT_UP * self.asked * self.seconds
    }
}

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Found {
    /// Packets per second.
    pub(crate) rate: f64,
    /// The sender sent no more: the path may carry more.
    pub(crate) sender_limited: bool,
}

/// The highest rate that holds, in packets per second, from `known` on or, where nothing is known,
/// from `first` on.
///
/// # Errors
/// When even [`LEAST`] does not hold, or an attempt fails to send.
pub(super) fn highest(
    known: Option<f64>,
    first: f64,
    mut attempt: impl FnMut(f64) -> Result<Trial>,
) -> Result<Found> {
    let mut rate = known.unwrap_or(first);
    let mut step = if known.is_some() { NEAR } else { 2.0 };
    let (mut held, mut failed) = (None::<f64>, None::<f64>);
    loop {
        let mut trial = attempt(rate)?;
        if !trial.holds() {
            trial = attempt(rate)?;
        }
        if trial.holds() {
            if !trial.sender_kept_up() {
                return Ok(Found {
                    rate: trial.packets_per_second(),
                    sender_limited: true,
                });
            }
            held = Some(rate);
        } else {
            failed = Some(rate);
        }
        rate = match (held, failed) {
            (Some(low), Some(high)) if high / low <= CLOSE => {
                return Ok(Found {
                    rate: low,
                    sender_limited: false,
                });
            }
            (Some(low), Some(high)) => (low * high).sqrt(),
            (Some(low), None) => low * step,
            (None, Some(high)) => high / step,
            (None, None) => unreachable!("a trial holds or fails"),
        };
        if held.is_none() || failed.is_none() {
            step = (step * step).min(2.0);
        }
        ensure!(
            rate >= LEAST,
            "not even {LEAST} packets per second arrive with less than {} % missing",
            LOSS_LIMIT * 100.0
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path that carries so many packets per second, from a sender that sends so many at most.
    fn path(capacity: f64, sender: f64) -> impl FnMut(f64) -> Result<Trial> {
        move |asked| {
            let sent = asked.min(sender);
            Ok(Trial {
                asked,
                sent: sent as u64,
                received: sent.min(capacity) as u64,
                seconds: 1.0,
            })
        }
    }

    #[test]
    fn the_highest_rate_is_found_from_below_and_from_above() {
        for known in [None, Some(120_000.0), Some(900_000.0), Some(330_000.0)] {
            let found = highest(known, 50_000.0, path(333_000.0, 1e9)).expect("it holds");
            assert!(!found.sender_limited);
            assert!(
                (333_000.0 / CLOSE..=333_400.0).contains(&found.rate),
                "{found:?}"
            );
        }
    }

    #[test]
    fn what_the_sender_cannot_send_is_not_the_paths_rate() {
        let found = highest(None, 50_000.0, path(1e9, 700_000.0)).expect("it holds");
        assert_eq!((found.rate, found.sender_limited), (700_000.0, true));
    }

    #[test]
    fn one_bad_moment_changes_nothing() {
        let mut carries = path(333_000.0, 1e9);
        let mut number = 0;
        let found = highest(None, 50_000.0, |rate| {
            number += 1;
            let trial = carries(rate)?;
            let received = if number % 2 == 1 { 0 } else { trial.received };
            Ok(Trial { received, ..trial })
        });
        let found = found.expect("every second trial is good");
        assert!(found.rate > 320_000.0, "{found:?}");
    }

    #[test]
    fn a_path_that_carries_nothing_is_an_error() {
        let error = highest(None, 50_000.0, path(0.0, 1e9)).expect_err("nothing arrives");
        assert!(
            error.to_string().contains("not even 100 packets"),
            "{error}"
        );
    }
}
