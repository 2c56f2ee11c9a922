//! CPU time by owner: /proc/stat, /proc/PID/stat (proc(5)).
//!
//! Three shares are told apart: the ends of the tunnel, everything of this measurement (the ends,
//! iperf3, this program, the kernel's own threads), and every other program on the machine. A
//! figure taken while other programs used more than a little of the machine does not hold.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};

/// One reading of all counters, in seconds.
#[derive(Debug, Clone)]
pub(crate) struct CpuReading {
    ends: f64,
    own: f64,
    /// By process id: one that ends takes its count with it.
    kernel_threads: BTreeMap<u32, f64>,
    busy: f64,
    total: f64,
    stolen: f64,
}

/// What lies between two readings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuUse {
    /// Seconds of CPU that the two ends of the tunnel used.
    pub(crate) ends: f64,
    /// Seconds of CPU that the whole machine used, without other programs.
    pub(crate) whole: f64,
    /// Share of the machine that other programs used or the hypervisor kept, 0 to 1.
    pub(crate) foreign: f64,
}

/// The counters of one process.
#[derive(Debug, Clone, Copy)]
struct Ticks {
    parent: u32,
    own: u64,
    reaped: u64,
}

impl CpuReading {
    /// Reads the counters now; `ends` are the processes of the tunnel.
    ///
    /// # Errors
    /// When an end is gone or /proc cannot be read.
    pub(crate) fn take(ends: &[u32]) -> Result<Self> {
        let line = fs::read_to_string("/proc/stat").context("/proc/stat")?;
        let machine: Vec<f64> = line
            .lines()
            .next()
            .context("/proc/stat is empty")?
            .split_whitespace()
            .skip(1)
            .filter_map(|field| field.parse().ok())
            .map(seconds)
            .collect();
        // user nice system idle iowait irq softirq steal; guest time is part of user.
        let [user, nice, system, idle, iowait, irq, softirq, steal] = machine[..]
            .first_chunk::<8>()
            .copied()
            .context("/proc/stat has fewer fields than Linux 2.6.11 wrote")?;
        let busy = user + nice + system + irq + softirq;
        let this = std::process::id();
        let mut reading = Self {
            ends: 0.0,
            own: 0.0,
            kernel_threads: BTreeMap::new(),
            busy,
            total: busy + idle + iowait + steal,
            stolen: steal,
        };
        for &end in ends {
            let ticks = ticks(end).with_context(|| format!("process {end} has ended"))?;
            reading.ends += seconds(ticks.own as f64);
        }
        for entry in fs::read_dir("/proc").context("/proc")? {
            let name = entry.context("/proc")?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A process that ended meanwhile was another program's.
            let Some(ticks) = ticks(pid) else { continue };
            if pid == this {
                reading.own += seconds((ticks.own + ticks.reaped) as f64);
            } else if ticks.parent == 2 {
                reading
                    .kernel_threads
                    .insert(pid, seconds(ticks.own as f64));
            }
        }
        Ok(reading)
    }

    /// What was used since `earlier`. Everything that this measurement started in between has to
    /// have ended, apart from the ends.
    pub(crate) fn since(&self, earlier: &Self) -> CpuUse {
        let ends = self.ends - earlier.ends;
        let kernel_threads: f64 = self
            .kernel_threads
            .iter()
            .map(|(pid, now)| now - earlier.kernel_threads.get(pid).unwrap_or(&0.0))
            .map(|used| used.max(0.0))
            .sum();
        let ours = ends + self.own - earlier.own + kernel_threads;
        let busy = self.busy - earlier.busy;
        let stolen = self.stolen - earlier.stolen;
        // Ticks are counted separately for processes and for the machine, so a small difference
        // below zero means no other program.
        let others = (busy - ours).max(0.0);
        CpuUse {
            ends,
            whole: busy - others,
            foreign: (others + stolen) / (self.total - earlier.total).max(f64::MIN_POSITIVE),
        }
    }
}

/// Time in /proc is counted in ticks; Linux shows 100 of them per second to programs.
fn seconds(ticks: f64) -> f64 {
    ticks / 100.0
}

fn ticks(pid: u32) -> Option<Ticks> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in parentheses may hold anything, so what counts stands behind the last of them.
fn parse(stat: &str) -> Option<Ticks> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // proc(5) counts from 1; `rest` begins with field 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Ticks {
        parent: u32::try_from(field(4)?).ok()?,
        own: field(14)? + field(15)?,
        reaped: field(16)? + field(17)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_parentheses_in_its_name_is_read() {
        let line = "42 (a) b) S 7 42 42 0 -1 0 10 20 30 40 100 20 3 4 20 0 1 0 5";
        let read = parse(line).expect("the line is complete");
        assert_eq!((read.parent, read.own, read.reaped), (7, 120, 7));
    }

    #[test]
    fn an_ended_kernel_thread_does_not_lower_foreign_cpu_time() {
        let reading = |threads: &[(u32, f64)], busy| CpuReading {
            ends: 0.0,
            own: 0.0,
            kernel_threads: threads.iter().copied().collect(),
            busy,
            total: 10.0 + busy,
            stolen: 0.0,
        };
        let used = reading(&[(7, 2.0)], 1.0).since(&reading(&[(7, 1.5), (8, 3.0)], 0.0));
        assert_eq!((used.whole, used.foreign), (0.5, 0.5));
    }

    #[test]
    fn cpu_time_of_this_measurement_and_its_ended_children_is_not_foreign() {
        let before = CpuReading::take(&[]).expect("/proc is there");
        let burned = std::process::Command::new("sh")
            .args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"])
            .status()
            .expect("there is a shell");
        assert!(burned.success());
        let used = CpuReading::take(&[])
            .expect("/proc is there")
            .since(&before);
        assert!(used.whole >= 0.05, "{used:?}");
        assert!((0.0..=1.0).contains(&used.foreign), "{used:?}");
    }
}
