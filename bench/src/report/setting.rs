//! Under which circumstances the figures were taken: without these they mean nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use conformance::Machine;
use serde::Serialize;

use crate::arguments::Arguments;
use crate::measure::Measure;
use crate::programs;
use crate::rtt;
use crate::tcp::Congestion;
use crate::tunnels::{QDT_CHACHA, Tunnel};
use crate::veth_link::VethLink;

/// What holds for the whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Setting {
    /// The kernel's release.
    pub(crate) kernel: String,
    /// The processor, as /proc/cpuinfo calls it, and how many of them.
    pub(crate) processor: String,
    /// Congestion control of the streams inside; checked after each.
    pub(crate) congestion: Congestion,
    /// What was measured.
    pub(crate) measures: Vec<Measure>,
    /// Seconds per TCP run.
    pub(crate) seconds: u32,
    /// Rounds of the whole.
    pub(crate) rounds: usize,
    /// Pings on an idle path, back to back and spaced.
    pub(crate) pings: [usize; 2],
    /// Pings per second where they are spaced.
    pub(crate) pings_per_second: usize,
    /// Which build of our programs.
    pub(crate) programs: String,
}

/// What holds for one tunnel.
#[derive(Debug, Serialize)]
pub(crate) struct TunnelSetting {
    /// Its name.
    pub(crate) name: &'static str,
    /// Which release it is.
    pub(crate) version: String,
    /// MTU of the device at the client.
    pub(crate) mtu: u32,
    /// Offload of that device: the names of those ethtool(8) shows as on.
    pub(crate) offload: Vec<String>,
}

/// The offloads that decide how many packets share a call.
const OFFLOADS: [(&str, &str); 4] = [
    ("tcp-segmentation-offload", "tso"),
    ("tx-udp-segmentation", "uso"),
    ("generic-receive-offload", "gro"),
    ("tx-checksumming", "csum"),
];

impl Setting {
    /// Reads it from the machine.
    pub(crate) fn read(arguments: &Arguments) -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = text("/proc/cpuinfo");
        let models: Vec<_> = cpuinfo
            .lines()
            .filter_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map(|(_, model)| model)
            .collect();
        Self {
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor: format!(
                "{} x {}",
                models.len(),
                models.first().unwrap_or(&"unknown")
            ),
            congestion: arguments.congestion,
            measures: arguments.measures.clone(),
            seconds: arguments.seconds,
            rounds: arguments.rounds,
            pings: [rtt::BACK_TO_BACK, rtt::SPACED],
            pings_per_second: rtt::PER_SECOND,
            programs: programs::ours("qdt-server").map_or_else(
                |_| "none".to_owned(),
                |path| {
                    path.parent()
                        .unwrap_or(Path::new("/"))
                        .display()
                        .to_string()
                },
            ),
        }
    }

    /// A build that is not the one people run tells nothing about it.
    pub(crate) fn doubts(&self) -> Vec<String> {
        wrong_profile(Path::new(&self.programs))
            .map(|wrong| format!("our programs are of the profile {wrong}, not release"))
            .into_iter()
            .collect()
    }
}

/// Where this program itself is the client of a tunnel, its own build counts too.
pub(crate) fn doubts_about_this_program() -> Option<String> {
    let this = programs::this().ok()?;
    let wrong = wrong_profile(this.parent()?)?;
    Some(format!(
        "{QDT_CHACHA}: its client is a part of this program, which is of the profile {wrong}, not release"
    ))
}

/// The last name of a folder of programs, where it is that of a profile which is not for use.
fn wrong_profile(folder: &Path) -> Option<&'static str> {
    ["debug", "lab"]
        .into_iter()
        .find(|wrong| folder.file_name() == Some(wrong.as_ref()))
}

impl TunnelSetting {
    /// Reads it from the client machine.
    pub(crate) fn read(veth: &VethLink, tunnel: &Tunnel<'_>) -> Self {
        Self {
            name: tunnel.name,
            version: tunnel.version.clone(),
            mtu: mtu(&veth.client, tunnel.device),
            offload: offload(veth.client.command("ethtool").args(["-k", tunnel.device])),
        }
    }
}

fn mtu(machine: &Machine, device: &str) -> u32 {
    machine
        .ip(&format!("-o link show dev {device}"))
        .split_whitespace()
        .skip_while(|word| *word != "mtu")
        .nth(1)
        .and_then(|mtu| mtu.parse().ok())
        .expect("a device has an MTU")
}

fn offload(ethtool: &mut Command) -> Vec<String> {
    let output = ethtool.output().expect("check_requirements saw ethtool");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    OFFLOADS
        .iter()
        .filter(|(feature, _)| {
            text.lines().any(|line| {
                line.trim()
                    .strip_prefix(feature)
                    .is_some_and(|state| state.starts_with(": on"))
            })
        })
        .map(|(_, short)| (*short).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_another_profile_raise_a_doubt() {
        assert_eq!(wrong_profile(Path::new("/a/target/lab")), Some("lab"));
        assert_eq!(wrong_profile(Path::new("/a/target/release")), None);
    }

    #[test]
    fn offloads_that_are_on_are_named() {
        let mut shown = Command::new("printf");
        shown.arg("Features:\ntx-checksumming: on\ntcp-segmentation-offload: off\n\ttx-udp-segmentation: on\n");
        assert_eq!(offload(&mut shown), ["uso", "csum"]);
    }
}
