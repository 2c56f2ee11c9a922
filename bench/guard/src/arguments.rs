//! The command line.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

/// What `--help` prints.
pub(crate) const HELP: &str = "\
guard [check|record] [OPTIONS]

  check              count, and compare with what was recorded (the default)
  record             count, and write that down as the new measure

  --recorded FILE    the recorded counts (bench/guard/instructions.json)
  --only NAMES       these cases, separated by commas (all)

Needs valgrind. Build it as the recorded counts were built:

  cargo build --profile lab --locked -p qdt-server -p qdt-client -p guard && target/lab/guard

Exit code: 0, 1 when something has become more than a tenth dearer, 2 when nothing could be counted.";

/// Where the recorded counts are, unless a file is named.
const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.json");

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Task {
    /// Count and compare.
    Check,
    /// Count and write down.
    Record,
    /// Do the work of this case; started under callgrind by the other two.
    Run(String),
    /// Print [`HELP`].
    Help,
}

/// The command line, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// What to do.
    pub(crate) task: Task,
    /// The file with the recorded counts.
    pub(crate) recorded: PathBuf,
    /// Names of the cases to count; empty: all.
    pub(crate) only: Vec<String>,
}

impl Arguments {
    /// Reads the arguments that follow the program's name.
    ///
    /// # Errors
    /// An unknown argument or a missing value.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut read = Self {
            task: Task::Check,
            recorded: RECORDED.into(),
            only: Vec::new(),
        };
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .with_context(|| format!("{argument} needs a value (see --help)"))
            };
            match argument.as_str() {
                "check" => read.task = Task::Check,
                "record" => read.task = Task::Record,
                "run" => read.task = Task::Run(value()?),
                "-h" | "--help" => read.task = Task::Help,
                "--recorded" => read.recorded = value()?.into(),
                "--only" => read.only = value()?.split(',').map(str::to_owned).collect(),
                _ => bail!("unknown argument {argument} (see --help)"),
            }
        }
        Ok(read)
    }
}
