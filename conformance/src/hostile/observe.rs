//! Observers of an attacked machine, read from its kernel.

use std::fs;
use std::time::Duration;

use crate::{Machine, Process, wait_until};

/// Resident memory of a process in bytes.
///
/// # Panics
/// When it has ended.
#[must_use]
#[track_caller]
pub fn resident_bytes(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid()))
        .expect("the process under attack runs");
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .expect("a running process has resident memory")
        * 1024
}

/// Waits until nothing waits in the sockets bound to that UDP port of the machine.
///
/// # Panics
/// When the program does not read them in time.
#[track_caller]
pub fn receive_queue_drained(machine: &Machine, port: u16) {
    let what = format!("UDP port {port} of {} is read empty", machine.name());
    wait_until(&what, Duration::from_secs(10), || {
        waiting(machine, port) == 0
    });
}

/// Bytes waiting in those sockets.
fn waiting(machine: &Machine, port: u16) -> u64 {
    let wanted = format!(":{port:04X}");
    machine.enter(|| {
        ["udp", "udp6"]
            .iter()
            .flat_map(|table| {
                let text = fs::read_to_string(format!("/proc/thread-self/net/{table}"));
                let lines: Vec<String> = text
                    .unwrap_or_default()
                    .lines()
                    .skip(1)
                    .map(str::to_owned)
                    .collect();
                lines
            })
            .filter_map(|line| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let queues = fields.get(4).filter(|_| fields[1].ends_with(&wanted))?;
                u64::from_str_radix(queues.split_once(':')?.1, 16).ok()
            })
            .sum()
    })
}

/// How many sessions a server's log says were opened and closed.
#[must_use]
pub fn session_lines(process: &Process) -> (usize, usize) {
    let log = process.stdout();
    let count = |message: &str| log.lines().filter(|line| line.contains(message)).count();
    (count("session opened"), count("session closed"))
}
