//! TCP streams with iperf3, their congestion control set and checked.

use std::fmt;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::iperf3;
use crate::veth_link::VethLink;

/// The congestion control of the streams. A figure without it means nothing: another one gives a
/// fraction or a multiple on the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Congestion {
    /// RFC 9438.
    Cubic,
    /// Bottleneck bandwidth and round-trip time, as the kernel has it.
    Bbr,
}

impl Congestion {
    /// What the kernel calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cubic => "cubic",
            Self::Bbr => "bbr",
        }
    }
}

/// Which way the payload goes, seen from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Direction {
    /// From client to server.
    Up,
    /// From server to client.
    Down,
}

impl fmt::Display for Direction {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

/// What to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Which way.
    pub(crate) direction: Direction,
    /// Streams at a time.
    pub(crate) streams: u32,
    /// For how long.
    pub(crate) seconds: u32,
    /// Their congestion control.
    pub(crate) congestion: Congestion,
}

/// What the streams carried together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Carried {
    /// Payload received, in Gbit.
    pub(crate) gbit: f64,
    /// Payload received per second, in Gbit/s.
    pub(crate) gbit_per_second: f64,
    /// Segments that the sender sent again.
    pub(crate) retransmits: u64,
}

/// The parts of iperf3's JSON that are read.
#[derive(Deserialize)]
struct Output {
    error: Option<String>,
    #[serde(default)]
    end: End,
}

#[derive(Deserialize, Default)]
struct End {
    sum_sent: Option<Sent>,
    sum_received: Option<Received>,
    sender_tcp_congestion: Option<String>,
    receiver_tcp_congestion: Option<String>,
}

#[derive(Deserialize)]
struct Sent {
    #[serde(default)]
    retransmits: u64,
}

#[derive(Deserialize)]
struct Received {
    bytes: f64,
    bits_per_second: f64,
}

/// Sends between the client machine and `address` on the server machine. `meanwhile` is called as
/// soon as the sender was started, and what it returns comes back with the figures.
///
/// # Errors
/// When iperf3 is missing or fails, or when the congestion control did not take.
pub(crate) fn carry<T>(
    veth: &VethLink,
    address: Ipv4Addr,
    load: Load,
    meanwhile: impl FnOnce() -> Result<T>,
) -> Result<(Carried, T)> {
    let mut server = iperf3::listen(&veth.server);
    let sender = veth
        .client
        .command("iperf3")
        .args(["-c", &address.to_string(), "-t", &load.seconds.to_string()])
        .args(["-P", &load.streams.to_string()])
        .args(["-C", load.congestion.name(), "-J"])
        .args((load.direction == Direction::Down).then_some("-R"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("iperf3: apt-get install iperf3")?;
    let seen = meanwhile();
    let output = sender.wait_with_output().context("iperf3")?;
    let carried = read(&output.stdout, load.congestion)?;
    server.wait_for_exit(Duration::from_secs(10));
    Ok((carried, seen?))
}

fn read(json: &[u8], congestion: Congestion) -> Result<Carried> {
    let output: Output = serde_json::from_slice(json).context("iperf3 wrote no JSON")?;
    if let Some(error) = output.error {
        bail!("iperf3 with {}: {error}", congestion.name());
    }
    let end = output.end;
    iperf3::check_congestion(
        congestion.name(),
        end.sender_tcp_congestion.as_deref(),
        end.receiver_tcp_congestion.as_deref(),
    )?;
    let received = end.sum_received.context("iperf3 received nothing")?;
    ensure!(received.bytes > 0.0, "not a byte arrived");
    Ok(Carried {
        gbit: received.bytes * 8e-9,
        gbit_per_second: received.bits_per_second * 1e-9,
        retransmits: end.sum_sent.map_or(0, |sent| sent.retransmits),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(sender: &str) -> String {
        format!(
            r#"{{"end": {{"sum_sent": {{"bytes": 9, "retransmits": 7}},
                "sum_received": {{"bytes": 1e9, "bits_per_second": 4e9}},
                "sender_tcp_congestion": "{sender}", "receiver_tcp_congestion": "cubic"}}}}"#
        )
    }

    #[test]
    fn a_stream_is_what_arrived() {
        let stream = read(json("cubic").as_bytes(), Congestion::Cubic).expect("a good run");
        assert_eq!((stream.gbit, stream.gbit_per_second), (8.0, 4.0));
        assert_eq!(stream.retransmits, 7);
    }

    #[test]
    fn another_congestion_control_at_either_end_is_no_figure() {
        let error = read(json("bbr").as_bytes(), Congestion::Cubic)
            .expect_err("bbr")
            .to_string();
        assert!(
            error.contains("the sender used the congestion control bbr"),
            "{error}"
        );
    }

    #[test]
    fn an_error_of_iperf3_is_passed_on() {
        let error = read(
            br#"{"error": "the server is busy", "end": {}}"#,
            Congestion::Bbr,
        )
        .expect_err("busy");
        assert!(error.to_string().contains("the server is busy"), "{error}");
    }
}
