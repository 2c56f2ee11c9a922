//! The command line of `bench sessions`. What was not asked for stays at the value that the
//! documented figures were taken with.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};

use super::sharing::Link;

/// What `bench sessions --help` prints.
pub(super) const HELP: &str = "\
bench sessions [OPTIONS]

  --sessions LIST    how many idle sessions, in rising order (100,1000,10000)
  --idle N           seconds for which idle sessions are watched, best more than they wait for anything (35)
  --active N         sessions that share the link, at most as many as the first of --sessions (100)
  --rounds N         how often active sessions and one session are compared; 0 leaves traffic out (3)
  --mbit N           they do so on the bare link, and on a link of that rate; 0 leaves the latter out (500)
  --warm-up N        seconds that many streams run before anything is counted: until they share (5)
  --seconds N        length of one measurement with traffic (10)
  --json FILE        where the JSON document goes (stdout)

qdt-server is taken from QDT_BIN_DIR, else from the folder of this program; the clients are this program. Needs
root. Exit code: 0, 1 when a figure does not hold, 2 when nothing could be measured.";

/// The command line, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    /// Whether the help is all that was asked for.
    pub(super) help: bool,
    /// How many idle sessions, rising.
    pub(super) sessions: Vec<usize>,
    /// How long they are watched, in seconds.
    pub(super) idle: u64,
    /// How many sessions share the link.
    pub(super) active: usize,
    /// Comparisons of active sessions with one.
    pub(super) rounds: usize,
    /// Rate of the link that is shared besides the bare one, in Mbit/s; 0: none.
    pub(super) mbit: u32,
    /// How long many streams run before anything is counted, in seconds.
    pub(super) warm_up: u64,
    /// Length of one measurement with traffic, in seconds.
    pub(super) seconds: u64,
    /// Where the JSON document goes; none: stdout.
    pub(super) json: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments behind `sessions`.
    ///
    /// # Errors
    /// An unknown argument, a missing or wrong value.
    pub(super) fn parse(arguments: &[String]) -> Result<Self> {
        let mut read = Self {
            help: false,
            sessions: vec![100, 1_000, 10_000],
            idle: 35,
            active: 100,
            rounds: 3,
            mbit: 500,
            warm_up: 5,
            seconds: 10,
            json: None,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .with_context(|| format!("{argument} needs a value (see --help)"))
            };
            match argument.as_str() {
                "-h" | "--help" => read.help = true,
                "--sessions" => {
                    read.sessions = value()?
                        .split(',')
                        .map(|count| number(argument, count, 1))
                        .collect::<Result<_>>()?;
                }
                "--idle" => read.idle = number(argument, value()?, 1)?,
                "--active" => read.active = number(argument, value()?, 1)?,
                "--rounds" => read.rounds = number(argument, value()?, 0)?,
                "--mbit" => read.mbit = number(argument, value()?, 0)?,
                "--warm-up" => read.warm_up = number(argument, value()?, 1)?,
                "--seconds" => read.seconds = number(argument, value()?, 1)?,
                "--json" => read.json = Some(value()?.into()),
                _ => bail!("unknown argument {argument} (see `bench sessions --help`)"),
            }
        }
        ensure!(
            read.sessions.is_sorted_by(|a, b| a < b) && read.sessions.last() <= Some(&MOST),
            "--sessions: rising numbers up to {MOST}"
        );
        ensure!(
            read.sessions.first() >= Some(&read.active),
            "--active {}: at most the first of --sessions",
            read.active
        );
        Ok(read)
    }

    /// The links that sessions share, one after the other.
    pub(super) fn links(&self) -> Vec<Link> {
        let shaped = (self.mbit > 0).then_some(Link::Shaped { mbit: self.mbit });
        [Link::Open].into_iter().chain(shaped).collect()
    }
}

/// Addresses of the pool, without a few that are never leased.
const MOST: usize = 60_000;

fn number<T: FromStr + PartialOrd>(argument: &str, text: &str, least: T) -> Result<T> {
    match text.parse() {
        Ok(number) if number >= least => Ok(number),
        _ => bail!("{argument} {text}: not a number that makes sense here (see --help)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        Options::parse(&words)
    }

    #[test]
    fn an_empty_command_line_is_the_documented_measurement() {
        let read = parse("").expect("nothing is wrong");
        assert_eq!(read.sessions, [100, 1_000, 10_000]);
        assert_eq!((read.idle, read.active, read.rounds), (35, 100, 3));
        assert_eq!(read.links(), [Link::Open, Link::Shaped { mbit: 500 }]);
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (line, words) in [
            ("--session 3", "unknown argument --session"),
            ("--idle", "--idle needs a value"),
            ("--idle 0", "--idle 0: not a number"),
            ("--sessions 1000,100", "rising numbers"),
            ("--sessions 1,70000", "rising numbers up to 60000"),
            ("--sessions 10 --active 11", "--active 11"),
        ] {
            let error = parse(line).expect_err(line).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
