//! The command line. Defaults are the values that the documented figures were taken with.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::links;
use crate::measure::Measure;
use crate::tcp::Congestion;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
bench [measure|profile|links|sessions] [OPTIONS]

  measure            all tunnels in turn, then a table and a JSON document (the default)
  profile            perf on both ends of our pair, under one TCP stream up and one down
  links              round trips under load and throughput over shaped and lossy links (see `bench links --help`)
  sessions           very many sessions at one server (see `bench sessions --help`)

  --rounds N         rounds of the whole (3)
  --measures NAMES   rtt,tcp,udp: those of them (all)
  --seconds N        length of one TCP run (4)
  --congestion NAME  cubic or bbr: congestion control of the TCP streams (cubic)
  --only NAMES       cable,qdt,qdt-chacha,wireguard-go,boringtun,quincy,go-peer: those of them (all)
  --mtu N            `mtu` in both configurations of our pair (the programs' default)
  --json FILE        where the JSON document goes (stdout)
  --last FILE        what the others reached last: read, and written by a run that holds (bench/last.json
                     next to the folder of this program)
  --out FOLDER       where `profile` writes (a new folder in the folder for temporary files)

The programs are taken from QDT_BIN_DIR, else from the folder of this program. wireguard-go is
built there by Go, unless WIREGUARD_GO names one. Exit code: 0, 1 when a figure does not hold, 2
when nothing could be measured.";

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Task {
    /// Measure and report.
    Measure,
    /// Take profiles.
    Profile,
    /// Measure over shaped and lossy links.
    Links(Box<links::Options>),
    /// Print what `links` can be told.
    LinksHelp,
    /// Be the client that does not announce AES, with this configuration; started by `measure`.
    ChachaClient(PathBuf),
    /// Measure very many sessions at one server, with these arguments.
    Sessions(Vec<String>),
    /// Print [`HELP`].
    Help,
}

/// The command line, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// What to do.
    pub(crate) task: Task,
    /// Rounds in which every tunnel is measured.
    pub(crate) rounds: usize,
    /// What is measured.
    pub(crate) measures: Vec<Measure>,
    /// Length of one TCP run in seconds.
    pub(crate) seconds: u32,
    /// Congestion control of the TCP streams.
    pub(crate) congestion: Congestion,
    /// Names of those to measure; empty: all.
    pub(crate) only: Vec<String>,
    /// `mtu` of our pair; none: the programs' default.
    pub(crate) mtu: Option<u16>,
    /// Where the JSON document goes; none: stdout.
    pub(crate) json: Option<PathBuf>,
    /// Where the last figures of the others are kept; none: next to the build.
    pub(crate) last: Option<PathBuf>,
    /// Where profiles go; none: a new folder.
    pub(crate) out: Option<PathBuf>,
}

impl Arguments {
    /// Reads the arguments that follow the program's name.
    ///
    /// # Errors
    /// An unknown argument, a missing or wrong value.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut read = Self {
            task: Task::Measure,
            rounds: 3,
            measures: Measure::ALL.map(|(_, measure)| measure).to_vec(),
            seconds: 4,
            congestion: Congestion::Cubic,
            only: Vec::new(),
            mtu: None,
            json: None,
            last: None,
            out: None,
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .with_context(|| format!("{argument} needs a value (see --help)"))
            };
            match argument.as_str() {
                "measure" => read.task = Task::Measure,
                "profile" => read.task = Task::Profile,
                "links" => {
                    // Everything behind it is its own.
                    let options = links::Options::parse(arguments.by_ref())?;
                    read.task =
                        options.map_or(Task::LinksHelp, |options| Task::Links(Box::new(options)));
                }
                // Everything behind it is its own.
                "sessions" => read.task = Task::Sessions(arguments.by_ref().collect()),
                "chacha-client" => read.task = Task::ChachaClient(value()?.into()),
                "-h" | "--help" => read.task = Task::Help,
                "--rounds" => read.rounds = positive(&argument, &value()?)?.into(),
                "--seconds" => read.seconds = positive(&argument, &value()?)?.into(),
                "--measures" => {
                    read.measures = value()?
                        .split(',')
                        .map(|name| named(&argument, name, &Measure::ALL))
                        .collect::<Result<_>>()?;
                }
                "--congestion" => {
                    let known = [Congestion::Cubic, Congestion::Bbr].map(|one| (one.name(), one));
                    read.congestion = named(&argument, &value()?, &known)?;
                }
                "--mtu" => read.mtu = Some(positive(&argument, &value()?)?),
                "--only" => read.only = value()?.split(',').map(str::to_owned).collect(),
                "--json" => read.json = Some(value()?.into()),
                "--last" => read.last = Some(value()?.into()),
                "--out" => read.out = Some(value()?.into()),
                _ => bail!("unknown argument {argument} (see --help)"),
            }
        }
        Ok(read)
    }
}

fn named<T: Copy>(argument: &str, name: &str, known: &[(&str, T)]) -> Result<T> {
    let found = known.iter().find(|(known, _)| *known == name);
    let (_, value) = found.with_context(|| {
        let names: Vec<_> = known.iter().map(|(known, _)| *known).collect();
        format!("{argument} {name}: there are {}", names.join(", "))
    })?;
    Ok(*value)
}

fn positive(argument: &str, text: &str) -> Result<u16> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => bail!("{argument} {text}: not a number from 1 to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn an_empty_command_line_is_the_documented_measurement() {
        let read = parse("").expect("nothing is wrong");
        assert_eq!(
            (read.task, read.rounds, read.seconds),
            (Task::Measure, 3, 4)
        );
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (line, words) in [
            ("--round 3", "unknown argument --round"),
            ("--rounds", "--rounds needs a value"),
            ("--rounds 0", "--rounds 0: not a number"),
            (
                "--measures rtt,all",
                "--measures all: there are rtt, tcp, udp",
            ),
            (
                "--congestion reno",
                "--congestion reno: there are cubic, bbr",
            ),
        ] {
            let error = parse(line).expect_err(line).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
