//! CPU profiles: perf(1) on both ends of our pair, under one TCP stream up and one down.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::arguments::Arguments;
use crate::tcp::{Direction, Load, carry};
use crate::tunnels::{QDT, Tunnel};
use crate::veth_link::VethLink;
use crate::{note, say};

/// Samples per second: not a divisor of the timer's frequency.
const FREQUENCY: &str = "997";
/// Callers are found by the tables of the debug information: what is written in assembler, as the
/// ciphers are, keeps no frame pointer.
const STACKS: &str = "dwarf,4096";

/// Takes four profiles and writes, for each, the functions by their own time and, in a second
/// file, the calls that lead to them.
///
/// # Errors
/// When perf is missing or has seen nothing.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    conformance::check_requirements();
    let folder = match &arguments.out {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("qdt-profile-{}", std::process::id())),
    };
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let veth = VethLink::lay()?;
    let only = Arguments {
        only: match arguments.only.as_slice() {
            [] => vec![QDT.to_owned()],
            named => named.to_vec(),
        },
        ..arguments.clone()
    };
    for tunnel in &Tunnel::start_all(&veth, &only)? {
        for (way, direction) in [("up", Direction::Up), ("down", Direction::Down)] {
            note(&format!("{} {way}", tunnel.name));
            let recorders = ["client", "server"]
                .iter()
                .zip(tunnel.ends())
                .map(|(end, pid)| {
                    let data = folder.join(format!("{}-{way}-{end}.data", tunnel.name));
                    Ok((record(pid, &data, arguments.seconds)?, data))
                })
                .collect::<Result<Vec<_>>>()?;
            let load = Load {
                direction,
                streams: 1,
                seconds: arguments.seconds + 1,
                congestion: arguments.congestion,
            };
            let (carried, ()) = carry(&veth, tunnel.address, load, || Ok(()))?;
            say(&format!(
                "{} {way} under perf: {:.2} Gbit/s",
                tunnel.name, carried.gbit_per_second
            ));
            for (mut recorder, data) in recorders {
                let status = recorder.wait().context("perf")?;
                ensure!(status.success(), "perf record: {status}");
                let own = report(&data, &["--no-children", "-g", "none"], "txt")?;
                report(
                    &data,
                    &["--no-children", "-g", "caller,0.5,callee"],
                    "calls.txt",
                )?;
                say(&format!("{}", own.display()));
            }
        }
    }
    Ok(())
}

/// Records for `seconds` and ends by itself.
fn record(pid: u32, data: &Path, seconds: u32) -> Result<Child> {
    Command::new("perf")
        .args([
            "record",
            "-q",
            "-F",
            FREQUENCY,
            "--call-graph",
            STACKS,
            "-o",
        ])
        .arg(data)
        .args(["-p", &pid.to_string(), "--", "sleep", &seconds.to_string()])
        .stdin(Stdio::null())
        .spawn()
        .context("perf: apt-get install linux-perf")
}

fn report(data: &Path, arguments: &[&str], ending: &str) -> Result<PathBuf> {
    let path = data.with_extension(ending);
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    let status = Command::new("perf")
        .args([
            "report",
            "--stdio",
            "--no-inline",
            "--percent-limit",
            "0.2",
            "-i",
        ])
        .arg(data)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(Stdio::null())
        .status()
        .context("perf")?;
    ensure!(status.success(), "perf report: {status}");
    Ok(path)
}
