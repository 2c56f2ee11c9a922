//! Round-trip times, as ping(8) measures them.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use conformance::Machine;

use crate::statistics::Spread;

/// Echo requests per measurement, and seconds between two of them.
pub(crate) const REQUESTS: usize = 300;
const INTERVAL: &str = "0.01";

/// The median round-trip time to `address` in milliseconds, on an idle path.
///
/// # Errors
/// When ping cannot be started, or a request stayed without an answer.
pub(crate) fn median_ms(machine: &Machine, address: Ipv4Addr) -> Result<f64> {
    let output = machine
        .command("ping")
        .args(["-n", "-i", INTERVAL, "-c", &REQUESTS.to_string()])
        .arg(address.to_string())
        .output()
        .context("ping: apt-get install iputils-ping")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let times = times(&text);
    ensure!(
        times.len() == REQUESTS,
        "{} of {REQUESTS} pings to {address} were answered",
        times.len()
    );
    Ok(Spread::of(times).context("no pings")?.median)
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
