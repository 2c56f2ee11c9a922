//! What every use of iperf3 shares: the end that listens, and whether the congestion control took.
//!
//! A listening end serves one test and ends with it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use conformance::{Machine, Process};

/// Starts the end that listens and waits until it does.
///
/// # Panics
/// When iperf3 is missing or does not listen.
pub(crate) fn listen(machine: &Machine) -> Process {
    static RUN: AtomicU32 = AtomicU32::new(0);
    let name = format!("iperf3-{}", RUN.fetch_add(1, Ordering::Relaxed));
    let mut server = Process::start(
        machine,
        &name,
        "iperf3".as_ref(),
        &["-s", "-1", "--forceflush"],
    );
    server.wait_for_line("Server listening", Duration::from_secs(10));
    server
}

/// Checks what iperf3 says that its two ends used against what was `asked` for.
///
/// # Errors
/// When either end used another one, or does not tell.
pub(crate) fn check_congestion(
    asked: &str,
    sender: Option<&str>,
    receiver: Option<&str>,
) -> Result<()> {
    for (side, took) in [("sender", sender), ("receiver", receiver)] {
        let took = took.unwrap_or("an unknown one");
        ensure!(
            took == asked,
            "the {side} used the congestion control {took} and not {asked}, so this run is void: is it in \
             net.ipv4.tcp_available_congestion_control (modprobe tcp_{asked})?"
        );
    }
    Ok(())
}
