//! Measures our tunnel against the bare link and against other tunnels.
//!
//! Invariants: every tunnel is measured in the same run, on the same link, in interleaved
//! rounds, with the same TCP congestion control, which is checked; a figure that does not hold is
//! reported together with the reason why it does not, and the exit code says so.

mod arguments;
mod chacha_client;
mod cpu;
mod figure;
mod iperf3;
mod links;
mod measure;
mod memory;
mod profile;
mod programs;
mod report;
mod rtt;
mod sessions;
mod statistics;
mod tcp;
mod tunnels;
mod udp;
mod veth_link;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use arguments::{Arguments, Task};
use measure::{Known, Plan, measure};
use report::Report;
use tunnels::Tunnel;
use veth_link::VethLink;

fn main() -> ExitCode {
    let done =
        Arguments::parse(std::env::args().skip(1)).and_then(|arguments| match &arguments.task {
            Task::Measure => run(&arguments),
            Task::Profile => profile::run(&arguments).map(|()| ExitCode::SUCCESS),
            Task::Links(options) => links::run(options),
            Task::LinksHelp => {
                say(links::HELP);
                Ok(ExitCode::SUCCESS)
            }
            Task::ChachaClient(config) => chacha_client::run(config),
            Task::Sessions(arguments) => sessions::run(arguments),
            Task::Help => {
                say(arguments::HELP);
                Ok(ExitCode::SUCCESS)
            }
        });
    done.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "bench: {error:#}");
        ExitCode::from(2)
    })
}

/// Measures every tunnel and prints the table and the JSON document.
fn run(arguments: &Arguments) -> Result<ExitCode> {
    conformance::check_requirements();
    let veth = VethLink::lay()?;
    let tunnels = Tunnel::start_all(&veth, arguments)?;
    let plan = Plan {
        measures: &arguments.measures,
        seconds: arguments.seconds,
        congestion: arguments.congestion,
    };
    let mut known = vec![Known::new(); tunnels.len()];
    let mut report = Report::new(arguments, &veth, &tunnels)?;
    for round in 0..arguments.rounds {
        // Each tunnel is first once: that spreads the effect of a warm cache or a busy neighbour.
        for place in 0..tunnels.len() {
            let index = (place + round) % tunnels.len();
            let tunnel = &tunnels[index];
            note(&format!(
                "round {} of {}: {}",
                round + 1,
                arguments.rounds,
                tunnel.name
            ));
            report.add(index, measure(&veth, tunnel, &plan, &mut known[index]));
        }
    }
    say(&report.table());
    let code = conclude(report.json()?, arguments.json.as_deref(), report.holds())?;
    report.keep()?;
    Ok(code)
}

/// Writes the JSON document to `file`, else to stdout; the exit code says whether every figure
/// holds.
fn conclude(json: String, file: Option<&Path>, holds: bool) -> Result<ExitCode> {
    match file {
        Some(path) => std::fs::write(path, json + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?,
        None => say(&json),
    }
    Ok(if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is asked for: stdout.
fn say(text: &str) {
    // A closed stdout has no reader.
    let _ = writeln!(io::stdout(), "{text}");
}

/// How far it is: stderr.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
