//! Round-trip times, as ping(8) measures them: on an idle path, and while something else is sent.

use std::net::Ipv4Addr;
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};
use conformance::Machine;

use crate::figure::{Metric, RunFigures};
use crate::statistics::percentile;

/// Echo requests to an idle path, back to back and spaced.
pub(crate) const BACK_TO_BACK: usize = 1000;
pub(crate) const SPACED: usize = 300;
/// Echo requests per second where they are spaced, and of those while something else is sent.
pub(crate) const PER_SECOND: usize = 100;

/// When the next request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// With the answer to the one before, so that no processor falls asleep.
    BackToBack,
    /// [`PER_SECOND`].
    Spaced,
}

/// What the answers took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rtt {
    /// Median, ms.
    pub(crate) p50_ms: f64,
    /// 99th percentile, ms.
    pub(crate) p99_ms: f64,
    /// Requests without an answer.
    pub(crate) lost: usize,
}

/// A ping that runs.
#[derive(Debug)]
pub(crate) struct Pinging {
    child: Child,
    requests: usize,
}

/// Round-trip times to `address` on an idle path.
///
/// # Errors
/// When ping cannot be started, or a request stayed without an answer.
pub(crate) fn idle(machine: &Machine, address: Ipv4Addr, pace: Pace) -> Result<Rtt> {
    let requests = match pace {
        Pace::BackToBack => BACK_TO_BACK,
        Pace::Spaced => SPACED,
    };
    let rtt = Pinging::start(machine, address, pace, requests)?.finish()?;
    ensure!(
        rtt.lost == 0,
        "{} of {requests} pings to {address} were not answered on an idle path",
        rtt.lost
    );
    Ok(rtt)
}

impl Pinging {
    /// Starts to send so many requests.
    ///
    /// # Errors
    /// When ping cannot be started.
    pub(crate) fn start(
        machine: &Machine,
        address: Ipv4Addr,
        pace: Pace,
        requests: usize,
    ) -> Result<Self> {
        let interval = (1.0 / PER_SECOND as f64).to_string();
        let pace: &[&str] = match pace {
            Pace::BackToBack => &["-A"],
            Pace::Spaced => &["-i", &interval],
        };
        let child = machine
            .command("ping")
            .arg("-n")
            .args(pace)
            .args(["-c", &requests.to_string(), "-W", "2"])
            .arg(address.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("ping: apt-get install iputils-ping")?;
        Ok(Self { child, requests })
    }

    /// Waits for the last answer.
    ///
    /// # Errors
    /// When there was no answer at all.
    pub(crate) fn finish(self) -> Result<Rtt> {
        let output = self.child.wait_with_output().context("ping")?;
        let times = times(&String::from_utf8_lossy(&output.stdout));
        let of = |share| percentile(&times, share).context("no ping was answered");
        Ok(Rtt {
            p50_ms: of(0.5)?,
            p99_ms: of(0.99)?,
            lost: self.requests.saturating_sub(times.len()),
        })
    }
}

impl Rtt {
    /// Adds its figures to those of a run.
    pub(crate) fn add_to(self, way: &mut RunFigures) {
        way.insert(Metric::RttP50Ms, self.p50_ms);
        way.insert(Metric::RttP99Ms, self.p99_ms);
        way.insert(Metric::RttLost, self.lost as f64);
    }
}

fn times(text: &str) -> Vec<f64> {
    text.lines()
        .filter_map(|line| line.split_once("time=")?.1.split(' ').next()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_a_time() {
        let text = "PING 10.8.0.1 (10.8.0.1) 56(84) bytes of data.\n\
            64 bytes from 10.8.0.1: icmp_seq=1 ttl=64 time=0.074 ms\n\
            64 bytes from 10.8.0.1: icmp_seq=2 ttl=64 time=12.5 ms\n\n\
            --- 10.8.0.1 ping statistics ---\n\
            2 packets transmitted, 2 received, 0% packet loss, time 10ms\n";
        assert_eq!(times(text), [0.074, 12.5]);
    }
}
