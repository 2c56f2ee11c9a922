//! The command line of `bench links`.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};

use super::link::{LINKS, Link};

/// What `bench links --help` prints.
pub(crate) const HELP: &str = "\
bench links [OPTIONS]

Round trips under load and TCP throughput over shaped and lossy links, for the bare link, our pair and wireguard-go.

  --links NAMES      those of them (all of the first seven):
                     tbf20,tbf100        tbf at both ends' egress, 20 and 100 Mbit/s
                     loss0,loss0.1,loss1,loss5
                                         round trip 20 ms, 100 Mbit/s, so many percent lost each way
                     reorder             the same without loss, 1 % overtaken by what left up to 2 ms later
                     open                the same relay without any impairment
                     hour                our pair alone, 3.6 million packets at 1 % loss each way as fast as they go:
                                         what the session was before it has to be afterwards
  --only NAMES       cable,qdt,qdt-chacha,wireguard-go: those of them (cable,qdt,wireguard-go)
  --measures NAMES   rtt,tcp: round trips under four TCP flows; one TCP flow with bbr and with cubic (both)
  --rounds N         rounds of each link (3)
  --seconds N        length of one measurement, after a warm-up of 3 s (6)
  --mtu N            `mtu` in both configurations of our pair (the programs' default)
  --seed N           of the relay's random numbers (1)
  --json FILE        where the JSON document goes (stdout)";

/// What is measured of each tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measures {
    /// Round trips, idle and under four TCP flows.
    pub(crate) round_trips: bool,
    /// The throughput of one TCP flow.
    pub(crate) tcp: bool,
}

/// The command line, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// The links, in the order they are measured.
    pub(crate) links: Vec<&'static Link>,
    /// Names of those to measure.
    pub(crate) only: Vec<String>,
    /// What is measured of them.
    pub(crate) measures: Measures,
    /// Rounds in which every tunnel is measured on each link.
    pub(crate) rounds: usize,
    /// Length of one measurement in seconds, without the warm-up.
    pub(crate) seconds: u32,
    /// `mtu` of our pair; none: the programs' default.
    pub(crate) mtu: Option<u16>,
    /// Where the relay's random numbers begin.
    pub(crate) seed: u64,
    /// Where the JSON document goes; none: stdout.
    pub(crate) json: Option<PathBuf>,
}

impl Options {
    /// Reads what follows `links`; nothing, where help is asked for.
    ///
    /// # Errors
    /// An unknown argument, a missing or wrong value.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut read = Self {
            links: LINKS.iter().filter(|link| link.by_default).collect(),
            only: ["cable", "qdt", "wireguard-go"].map(str::to_owned).into(),
            measures: Measures {
                round_trips: true,
                tcp: true,
            },
            rounds: 3,
            seconds: 6,
            mtu: None,
            seed: 1,
            json: None,
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .with_context(|| format!("{argument} needs a value (see bench links --help)"))
            };
            match argument.as_str() {
                "-h" | "--help" => return Ok(None),
                "--links" => read.links = links(&value()?)?,
                "--only" => read.only = value()?.split(',').map(str::to_owned).collect(),
                "--measures" => read.measures = measures(&value()?)?,
                "--rounds" => read.rounds = number(&argument, &value()?)?.into(),
                "--seconds" => read.seconds = number(&argument, &value()?)?.into(),
                "--mtu" => read.mtu = Some(number(&argument, &value()?)?),
                "--seed" => read.seed = number(&argument, &value()?)?.into(),
                "--json" => read.json = Some(value()?.into()),
                _ => bail!("unknown argument {argument} (see bench links --help)"),
            }
        }
        Ok(Some(read))
    }
}

fn links(names: &str) -> Result<Vec<&'static Link>> {
    names
        .split(',')
        .map(|name| {
            LINKS
                .iter()
                .find(|link| link.name == name)
                .with_context(|| {
                    let known: Vec<_> = LINKS.iter().map(|link| link.name).collect();
                    format!("--links {name}: there are {}", known.join(", "))
                })
        })
        .collect()
}

fn measures(names: &str) -> Result<Measures> {
    let mut read = Measures {
        round_trips: false,
        tcp: false,
    };
    for name in names.split(',') {
        match name {
            "rtt" => read.round_trips = true,
            "tcp" => read.tcp = true,
            _ => bail!("--measures {name}: there are rtt, tcp"),
        }
    }
    Ok(read)
}

fn number(argument: &str, text: &str) -> Result<u16> {
    let number = text.parse().unwrap_or(0);
    ensure!(
        number > 0,
        "{argument} {text}: not a number from 1 to 65535"
    );
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn without_arguments_every_documented_link_is_measured() {
        let read = parse("").expect("nothing is wrong").expect("no help");
        let names: Vec<_> = read.links.iter().map(|link| link.name).collect();
        assert_eq!(
            names,
            [
                "tbf20", "tbf100", "loss0", "loss0.1", "loss1", "loss5", "reorder"
            ]
        );
    }

    #[test]
    fn links_and_measures_are_chosen_by_name() {
        let read = parse("--links loss1,open --measures rtt").expect("nothing is wrong");
        let read = read.expect("no help");
        assert_eq!(read.links.len(), 2);
        assert!(read.measures.round_trips && !read.measures.tcp);
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (line, words) in [
            ("--links tbf3", "--links tbf3: there are tbf20"),
            ("--measures udp", "--measures udp: there are rtt, tcp"),
            ("--rounds", "--rounds needs a value"),
            ("--seed 0", "--seed 0: not a number"),
            ("--loss 1", "unknown argument --loss"),
        ] {
            let error = parse(line).expect_err(line).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
