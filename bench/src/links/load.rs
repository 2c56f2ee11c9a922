//! TCP flows by iperf3 that fill a link while something else is measured, or are measured
//! themselves.

use std::net::Ipv4Addr;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use conformance::Process;
use serde::{Deserialize, Serialize};

use crate::iperf3;
use crate::veth_link::VethLink;

/// Seconds at the beginning that count nowhere: TCP's slow start, and what it does to queues.
pub(crate) const WARM_UP: u32 = 3;

/// Which way the payload goes, seen from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlowDirection {
    /// From client to server.
    Up,
    /// From server to client.
    Down,
    /// As many flows each way.
    Both,
}

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flows {
    /// Their direction.
    pub(crate) way: FlowDirection,
    /// How many each way.
    pub(crate) count: u32,
    /// Their congestion control, checked at both ends.
    pub(crate) congestion: &'static str,
    /// Seconds after the warm-up.
    pub(crate) seconds: u32,
}

/// What one direction carried after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Carried {
    /// Payload received, in Mbit/s.
    pub(crate) mbit_per_second: f64,
    /// Segments that TCP sent again.
    pub(crate) retransmits: u64,
}

/// What both directions carried; none where nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Load {
    /// From client to server.
    pub(crate) up: Option<Carried>,
    /// From server to client.
    pub(crate) down: Option<Carried>,
}

/// Flows that are being sent.
#[derive(Debug)]
pub(crate) struct Running {
    server: Process,
    client: Child,
    flows: Flows,
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
    sum_sent: Option<Sum>,
    sum_received: Option<Sum>,
    sum_sent_bidir_reverse: Option<Sum>,
    sum_received_bidir_reverse: Option<Sum>,
    sender_tcp_congestion: Option<String>,
    receiver_tcp_congestion: Option<String>,
}

#[derive(Deserialize)]
struct Sum {
    bits_per_second: f64,
    #[serde(default)]
    retransmits: u64,
}

impl Running {
    /// Starts flows between the client machine and `address` on the server machine.
    ///
    /// # Errors
    /// When iperf3 is missing.
    pub(crate) fn start(veth: &VethLink, address: Ipv4Addr, flows: Flows) -> Result<Self> {
        let server = iperf3::listen(&veth.server);
        let client = veth
            .client
            .command("iperf3")
            .args(["-c", &address.to_string(), "-C", flows.congestion, "-J"])
            .args(["-t", &flows.seconds.to_string(), "-O", &WARM_UP.to_string()])
            .args(["-P", &flows.count.to_string()])
            .args(match flows.way {
                FlowDirection::Up => None,
                FlowDirection::Down => Some("-R"),
                FlowDirection::Both => Some("--bidir"),
            })
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("iperf3: apt-get install iperf3")?;
        Ok(Self {
            server,
            client,
            flows,
        })
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When iperf3 fails or the congestion control did not take.
    pub(crate) fn finish(mut self) -> Result<Load> {
        let output = self.client.wait_with_output().context("iperf3")?;
        let load = read(&output.stdout, self.flows)?;
        self.server.wait_for_exit(Duration::from_secs(10));
        Ok(load)
    }
}

fn read(json: &[u8], flows: Flows) -> Result<Load> {
    let output: Output = serde_json::from_slice(json).context("iperf3 wrote no JSON")?;
    if let Some(error) = output.error {
        bail!("iperf3: {error}");
    }
    let end = output.end;
    iperf3::check_congestion(
        flows.congestion,
        end.sender_tcp_congestion.as_deref(),
        end.receiver_tcp_congestion.as_deref(),
    )?;
    let carried = |sent: Option<Sum>, received: Option<Sum>| {
        let received = received.context("iperf3 received nothing")?;
        ensure!(received.bits_per_second > 0.0, "not a byte arrived");
        Ok(Some(Carried {
            mbit_per_second: received.bits_per_second * 1e-6,
            retransmits: sent.map_or(0, |sent| sent.retransmits),
        }))
    };
    let first = carried(end.sum_sent, end.sum_received)?;
    Ok(match flows.way {
        FlowDirection::Up => Load {
            up: first,
            down: None,
        },
        FlowDirection::Down => Load {
            up: None,
            down: first,
        },
        FlowDirection::Both => Load {
            up: first,
            down: carried(end.sum_sent_bidir_reverse, end.sum_received_bidir_reverse)?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flows(way: FlowDirection) -> Flows {
        Flows {
            way,
            count: 4,
            congestion: "bbr",
            seconds: 6,
        }
    }

    fn json(congestion: &str) -> String {
        format!(
            r#"{{"end": {{"sum_sent": {{"bits_per_second": 21e6, "retransmits": 7}},
                "sum_received": {{"bits_per_second": 20e6}},
                "sum_sent_bidir_reverse": {{"bits_per_second": 11e6, "retransmits": 3}},
                "sum_received_bidir_reverse": {{"bits_per_second": 10e6}},
                "sender_tcp_congestion": "{congestion}", "receiver_tcp_congestion": "bbr"}}}}"#
        )
    }

    #[test]
    fn each_direction_is_what_arrived_there() {
        let up = Some(Carried {
            mbit_per_second: 20.0,
            retransmits: 7,
        });
        let back = Some(Carried {
            mbit_per_second: 10.0,
            retransmits: 3,
        });
        for (way, up, down) in [
            (FlowDirection::Up, up, None),
            (FlowDirection::Down, None, up),
            (FlowDirection::Both, up, back),
        ] {
            let read = read(json("bbr").as_bytes(), flows(way)).expect("a good run");
            assert_eq!(read, Load { up, down });
        }
    }

    #[test]
    fn another_congestion_control_is_no_figure() {
        let error = read(json("cubic").as_bytes(), flows(FlowDirection::Up)).expect_err("cubic");
        let error = error.to_string();
        assert!(
            error.contains("the sender used the congestion control cubic"),
            "{error}"
        );
    }
}
