//! Memory of both ends of a tunnel (/proc/PID/status, proc(5)).

use std::fs;

use anyhow::{Context as _, Result};

use crate::figure::{Metric, RunFigures};

/// Resident memory of both ends, now and at most; the client's process comes first.
///
/// # Errors
/// When an end is gone.
pub(crate) fn of_ends(ends: &[u32]) -> Result<RunFigures> {
    let names = [
        (Metric::ClientMib, Metric::ClientPeakMib),
        (Metric::ServerMib, Metric::ServerPeakMib),
    ];
    let mut way = RunFigures::new();
    for (pid, (now, peak)) in ends.iter().zip(names) {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))
            .with_context(|| format!("process {pid} has ended"))?;
        for (what, line) in [(now, "VmRSS:"), (peak, "VmHWM:")] {
            let mib = mib(&status, line).with_context(|| format!("{line} of process {pid}"))?;
            way.insert(what, mib);
        }
    }
    Ok(way)
}

fn mib(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_this_process_is_read() {
        let status = "Name:\tqdt\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\n";
        assert_eq!(mib(status, "VmRSS:"), Some(10.0));
        let ends = of_ends(&[std::process::id()]).expect("this process lives");
        assert!(ends[&Metric::ClientPeakMib] >= ends[&Metric::ClientMib]);
    }
}
