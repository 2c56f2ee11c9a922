//! What the others reached in the last run that held, kept in a file next to the build: a peer that
//! has become slower makes our ratio better than it is.
//!
//! The absolute figures of a virtual machine drift by a third from one hour to the next, for all
//! tunnels alike. So a figure is compared with its own last one after correction for the drift of
//! the machine: the median change of the same figure of all others. Ours are excluded, because they
//! are what changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::figures::{Spreads, find};
use super::setting::{Setting, TunnelSetting};
use crate::figure::{Metric, Run};
use crate::statistics::Spread;
use crate::tunnels::{BARE_LINK, QDT, QDT_CHACHA};

/// A figure below this share of its last one has fallen.
const FALLEN: f64 = 0.9;

/// What was found under one setting.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Last {
    /// Figures of another machine, another kernel, or streams of another kind are not comparable.
    setting: String,
    peers: Peers,
}

/// By name.
type Peers = BTreeMap<String, Peer>;

/// The figures of one of them, by the name of the run, Gbit/s.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Peer {
    version: String,
    gbit_per_second: BTreeMap<String, f64>,
}

/// Where it is kept, and what is kept there for each setting.
#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    last: BTreeMap<String, Peers>,
}

impl Kept {
    /// Reads the file; there need not be one.
    ///
    /// # Errors
    /// When there is one that cannot be read.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let named = || format!("{}: delete it to begin anew", path.display());
        let last = match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).with_context(named)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(named),
        };
        Ok(Self {
            path: path.to_owned(),
            last,
        })
    }

    /// Which figures have fallen.
    pub(crate) fn fallen(&self, now: &Last) -> Vec<String> {
        let last = self.last.get(&now.setting);
        last.map(|last| now.fallen(last)).unwrap_or_default()
    }

    /// Writes the figures found, and the known ones of tunnels that were not measured.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn replace(&self, now: Last) -> Result<()> {
        let mut all = self.last.clone();
        let peers = all.entry(now.setting).or_default();
        for (name, peer) in now.peers {
            match peers.get_mut(&name) {
                Some(known) if known.version == peer.version => {
                    known.gbit_per_second.extend(peer.gbit_per_second);
                }
                _ => {
                    peers.insert(name, peer);
                }
            }
        }
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let text = serde_json::to_string_pretty(&all).context("the last figures as JSON")?;
        fs::write(&self.path, text + "\n").with_context(|| self.path.display().to_string())
    }
}

impl Last {
    /// The medians of this run.
    pub(crate) fn of(setting: &Setting, tunnels: &[(&TunnelSetting, Spreads)]) -> Self {
        let Setting {
            kernel,
            processor,
            congestion,
            seconds,
            ..
        } = setting;
        let peers = tunnels
            .iter()
            .filter(|(setting, _)| ![QDT, QDT_CHACHA].contains(&setting.name))
            .map(|(setting, figures)| {
                let of = |run: &Run| find(figures, *run, &Metric::GbitPerSecond);
                let gbit_per_second = figures
                    .keys()
                    .filter_map(|run| Some((run.to_string(), of(run)?.median)))
                    .collect();
                let peer = Peer {
                    version: setting.version.clone(),
                    gbit_per_second,
                };
                (setting.name.to_owned(), peer)
            })
            .collect();
        Self {
            setting: format!(
                "{processor}, Linux {kernel}, {}, {seconds} s",
                congestion.name()
            ),
            peers,
        }
    }

    fn fallen(&self, last: &Peers) -> Vec<String> {
        let mut fallen = Vec::new();
        for (name, peer) in &self.peers {
            if name == BARE_LINK {
                continue;
            }
            for (run, now) in &peer.gbit_per_second {
                let Some(became) = self.became(last, name, run) else {
                    continue;
                };
                let others = self
                    .peers
                    .keys()
                    .filter(|other| *other != name)
                    .filter_map(|other| self.became(last, other, run));
                let machine = Spread::of(others).map_or(1.0, |others| others.median);
                if became < FALLEN * machine.min(1.0) {
                    fallen.push(format!(
                        "{name} {run}: {now:.2} Gbit/s, {:.0} % of its last figure; the machine is at {:.0} %",
                        became * 100.0,
                        machine * 100.0
                    ));
                }
            }
        }
        fallen
    }

    /// This run's figure divided by the last one, where it is the same release.
    fn became(&self, last: &Peers, name: &str, run: &str) -> Option<f64> {
        let (now, before) = (self.peers.get(name)?, last.get(name)?);
        if now.version != before.version {
            return None;
        }
        Some(now.gbit_per_second.get(run)? / before.gbit_per_second.get(run)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(figures: &[(&str, f64)]) -> Last {
        let peer = |gbit: f64| Peer {
            version: "1".to_owned(),
            gbit_per_second: BTreeMap::from([("tcp1_up".to_owned(), gbit)]),
        };
        Last {
            setting: "a machine".to_owned(),
            peers: figures
                .iter()
                .map(|(name, gbit)| ((*name).to_owned(), peer(*gbit)))
                .collect(),
        }
    }

    #[test]
    fn a_peer_that_becomes_slower_alone_is_named() {
        let last = run(&[("cable", 50.0), ("wireguard-go", 3.5), ("quincy", 1.7)]);
        let now = run(&[("cable", 49.0), ("wireguard-go", 3.0), ("quincy", 1.7)]);
        let fallen = now.fallen(&last.peers);
        assert_eq!(fallen.len(), 1, "{fallen:?}");
        assert!(
            fallen[0].starts_with("wireguard-go tcp1_up: 3.00"),
            "{fallen:?}"
        );
    }

    #[test]
    fn a_machine_that_became_slower_for_all_peers_voids_no_figure() {
        let last = run(&[("cable", 50.0), ("wireguard-go", 3.5), ("quincy", 1.7)]);
        let now = run(&[("cable", 35.0), ("wireguard-go", 2.4), ("quincy", 1.2)]);
        assert_eq!(now.fallen(&last.peers), Vec::<String>::new());
    }

    #[test]
    fn a_peer_that_did_not_gain_with_the_others_has_not_fallen() {
        let last = run(&[("cable", 50.0), ("wireguard-go", 3.5), ("quincy", 1.7)]);
        let now = run(&[("cable", 65.0), ("wireguard-go", 3.4), ("quincy", 2.2)]);
        assert_eq!(now.fallen(&last.peers), Vec::<String>::new());
    }

    #[test]
    fn another_release_is_not_compared() {
        let last = run(&[("cable", 50.0), ("wireguard-go", 3.5)]);
        let mut newer = run(&[("cable", 50.0), ("wireguard-go", 1.0)]);
        for peer in newer.peers.values_mut() {
            peer.version = "2".to_owned();
        }
        assert_eq!(newer.fallen(&last.peers), Vec::<String>::new());
    }

    #[test]
    fn another_setting_and_unmeasured_peers_keep_their_figures() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bench/last.json");
        let kept = |path| Kept::read(path).expect("a file of this program or none");
        let both = run(&[("cable", 50.0), ("wireguard-go", 3.5)]);
        let bare = run(&[("cable", 60.0)]);
        let mut elsewhere = run(&[("cable", 50.0), ("wireguard-go", 1.0)]);
        elsewhere.setting = "another machine".to_owned();
        for written in [&both, &elsewhere, &bare] {
            kept(&path).replace(written.clone()).expect("written");
        }
        let known = run(&[("cable", 60.0), ("wireguard-go", 3.5)]);
        assert_eq!(kept(&path).last[&known.setting], known.peers);
        assert_eq!(kept(&path).last[&elsewhere.setting], elsewhere.peers);
        assert_eq!(kept(&path).fallen(&elsewhere), Vec::<String>::new());
        let slow = run(&[("cable", 60.0), ("wireguard-go", 1.0)]);
        assert_eq!(kept(&path).fallen(&slow).len(), 1);
    }
}
