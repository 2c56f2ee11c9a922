//! Counts the instructions that a packet costs in our own code, and holds them against what was
//! recorded.
//!
//! The program runs itself under valgrind's callgrind, once for each case, so nothing is timed and
//! a busy machine changes nothing. What always holds: a case that could not be counted is an error
//! and never a pass; the counts of one build are compared with counts of the same kind of build
//! only.

mod arguments;
mod callgrind;
mod cases;
mod counts;
mod packets;
mod record;
mod report;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};

use arguments::{Arguments, Task};
use counts::PerPacket;
use record::{Build, Record};
use report::Report;

fn main() -> ExitCode {
    let done =
        Arguments::parse(std::env::args().skip(1)).and_then(|arguments| match &arguments.task {
            Task::Check => check(&arguments),
            Task::Record => record(&arguments).map(|()| ExitCode::SUCCESS),
            Task::Run(case) => cases::run(case).map(|()| ExitCode::SUCCESS),
            Task::Help => {
                say(arguments::HELP);
                Ok(ExitCode::SUCCESS)
            }
        });
    done.unwrap_or_else(|error| {
        note(&format!("guard: {error:#}"));
        ExitCode::from(2)
    })
}

/// Counts and compares; fails where something has become dearer.
fn check(arguments: &Arguments) -> Result<ExitCode> {
    let build = Build::present()?;
    let recorded = Record::read(&arguments.recorded)?;
    recorded.build.must_be_comparable(&build)?;
    let counted = count(arguments)?;
    let report = Report::new(&recorded, &build, &counted, arguments.only.is_empty());
    say(&report.to_string());
    Ok(if report.holds() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Counts and writes down.
fn record(arguments: &Arguments) -> Result<()> {
    ensure!(
        arguments.only.is_empty(),
        "a record holds every case: leave --only out"
    );
    let record = Record {
        build: Build::present()?,
        cases: count(arguments)?.into_iter().collect(),
    };
    record.write(&arguments.recorded)?;
    say(&format!("recorded in {}", arguments.recorded.display()));
    Ok(())
}

/// What a packet costs in each case that was asked for, in the order of the list.
fn count(arguments: &Arguments) -> Result<Vec<(String, PerPacket)>> {
    let names = cases::names(&arguments.only)?;
    let total = names.len();
    let mut counted = Vec::with_capacity(total);
    for (index, name) in names.into_iter().enumerate() {
        note(&format!("{} of {total}: {name}", index + 1));
        let per_packet = callgrind::count(name).with_context(|| name.to_owned())?;
        counted.push((name.to_owned(), per_packet));
    }
    Ok(counted)
}

/// What is asked for: stdout.
fn say(text: &str) {
    // A closed stdout has no reader.
    let _ = writeln!(io::stdout(), "{text}");
}

/// How far it is, and what went wrong: stderr.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
