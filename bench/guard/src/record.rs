//! The committed file: what a packet cost when it was last written down, and what built the program
//! then.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::callgrind;
use crate::counts::PerPacket;

/// How to write the counts down anew; also the last words of every failure.
pub(crate) const HOW_TO_RECORD: &str = "\
cargo build --profile lab --locked -p qdt-server -p qdt-client -p guard && target/lab/guard record";

/// What the counts depend on besides the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Build {
    /// The processor's architecture, as Rust names it.
    pub(crate) architecture: String,
    /// Cargo's profile.
    pub(crate) profile: String,
    /// The compiler's version.
    pub(crate) rustc: String,
    /// The counting tool's version.
    pub(crate) valgrind: String,
}

impl Build {
    /// This program's.
    ///
    /// # Errors
    /// There is no valgrind.
    pub(crate) fn present() -> Result<Self> {
        Ok(Self {
            architecture: std::env::consts::ARCH.into(),
            profile: env!("GUARD_PROFILE").into(),
            rustc: env!("GUARD_RUSTC").into(),
            valgrind: callgrind::version()?,
        })
    }

    /// # Errors
    /// Counts of the two kinds of build cannot be held against each other.
    pub(crate) fn must_be_comparable(&self, present: &Self) -> Result<()> {
        for (what, recorded, present) in [
            (
                "processor architecture",
                &self.architecture,
                &present.architecture,
            ),
            ("cargo profile", &self.profile, &present.profile),
        ] {
            ensure!(
                recorded == present,
                "the {what} is {present}, the recorded counts are of {recorded}: they do not compare. \
                 Build as they were built, or write down your own:\n  {HOW_TO_RECORD}"
            );
        }
        Ok(())
    }

    /// What else is different, in words; empty where nothing is.
    pub(crate) fn differences(&self, present: &Self) -> Vec<String> {
        [
            ("rustc", &self.rustc, &present.rustc),
            ("valgrind", &self.valgrind, &present.valgrind),
        ]
        .into_iter()
        .filter(|(_, recorded, present)| recorded != present)
        .map(|(what, recorded, present)| {
            format!("recorded with {what} {recorded}, counted with {present}: that alone can change counts")
        })
        .collect()
    }
}

/// The file's contents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// What was counted with.
    pub(crate) build: Build,
    /// By name, in the order of a packet's way.
    pub(crate) cases: Vec<(String, PerPacket)>,
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// The file does not exist or is not a record.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!(
                "the recorded counts {}: write them with\n  {HOW_TO_RECORD}\n",
                path.display()
            )
        })?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is no record of counts", path.display()))
    }

    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("the record as JSON")?;
        std::fs::write(path, text + "\n")
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// What was recorded for a case.
    pub(crate) fn case(&self, name: &str) -> Option<&PerPacket> {
        let found = self.cases.iter().find(|(case, _)| case == name);
        found.map(|(_, per_packet)| per_packet)
    }
}
