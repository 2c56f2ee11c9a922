//! The container suite: our programs and the Go peer, each in its container,
//! in every combination under every condition. `scripts/containers` runs it
//! from a clean machine; alone it needs an engine that runs and the images.
//!
//! Topics are modules with a function `cells`. A cell passes or fails; one
//! that cannot be run fails, it is never skipped. At the end stand
//! `target/containers/report.md` and `junit.xml`.

mod cell;
mod command;
mod compose;
mod container;
mod engine;
mod images;
mod itself;
mod matrix;
mod network;
mod observability;
mod outcome;
mod parity;
mod programs;
mod progress;
mod report;
mod second_stack;
mod spec;
mod stage;
mod try_out;

use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use conformance::requirements;
use libtest_mimic::{Arguments, Failed, Trial};

use cell::{Cell, Work};
use engine::{Engine, image_tag};
use outcome::{Outcome, Outcomes};
use report::Entry;
use stage::{Stage, output_folder};

/// The unit of deadlines.
const SECOND: Duration = Duration::from_secs(1);

/// Cells at once, where the command line says nothing: more of them measure the machine and not the
/// programs.
const AT_ONCE: usize = 2;

/// The images under test, named in the report.
const IMAGES: [&str; 5] = [
    "qdt-server",
    "qdt-client",
    "qdt-go-peer",
    "qdt-aioquic",
    "qdt-prometheus",
];

/// Every topic, in the order of the report.
fn all_cells() -> Vec<Cell> {
    [
        matrix::cells(),
        second_stack::cells(),
        observability::cells(),
        images::cells(),
        compose::cells(),
        parity::cells(),
        itself::cells(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let listing = arguments.list;
    if !listing && !any_is_run(&arguments) {
        progress::line(
            "NO CELL IS RUN: no name contains the filter, or what does is n/a; --list names all that can be run",
        );
        return ExitCode::FAILURE;
    }
    let start = Instant::now();
    if !listing {
        // Plain `cargo test` comes here too, on machines that never had an engine.
        let engine = match requirements().and_then(|()| Engine::connect().map_err(str::to_owned)) {
            Ok(engine) => engine,
            Err(message) => {
                progress::line(&message);
                progress::line("\ntest result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured");
                return ExitCode::FAILURE;
            }
        };
        let leftovers = engine.sweep(false) + command::sweep();
        if leftovers > 0 {
            progress::line(&format!(
                "removed {leftovers} containers and networks of runs that were killed"
            ));
        }
        fs::create_dir_all(output_folder()).expect("the target folder is writable");
        let record = output_folder().join("harness.log");
        arguments.logfile = Some(record.to_string_lossy().into_owned());
        outcome::remember_places();
    }

    let outcomes = Arc::new(Outcomes::default());
    let (trials, entries) = trials(all_cells(), &arguments, &outcomes, start);
    let conclusion = libtest_mimic::run(&arguments, trials);
    if listing {
        return ExitCode::SUCCESS;
    }
    Engine::get().sweep(true);
    let took = start.elapsed();
    let failed: Vec<_> = entries
        .iter()
        .filter_map(|entry| Some((entry, outcomes.of(&entry.name)?)))
        .collect();
    progress::summary(&failed, &report::totals(&entries, &outcomes), took);
    write_reports(&entries, &outcomes, took);
    conclusion.exit_code()
}

/// Whether the command line leaves anything to run: a filter with a mistake in it must not pass for
/// a success.
fn any_is_run(arguments: &Arguments) -> bool {
    all_cells()
        .into_iter()
        .filter(|cell| matches!(cell.work, Work::Run(_)))
        .any(|cell| !arguments.is_filtered_out(&Trial::test(cell.name(), || Ok(()))))
}

/// Makes a trial of every cell that can be run, and an entry of the report of every cell.
fn trials(
    cells: Vec<Cell>,
    arguments: &Arguments,
    outcomes: &Arc<Outcomes>,
    start: Instant,
) -> (Vec<Trial>, Vec<Entry>) {
    let mut trials = Vec::new();
    let mut entries: Vec<Entry> = Vec::new();
    let begun = Arc::new(AtomicUsize::new(0));
    let total = Arc::new(AtomicUsize::new(0));
    for (number, cell) in cells.into_iter().enumerate() {
        let name = cell.name();
        assert!(
            !entries.iter().any(|entry| entry.name == name),
            "two cells are called {name}"
        );
        entries.push(Entry {
            name: name.clone(),
            group: cell.group,
            row: cell.row,
            column: cell.column,
            expected: cell.expected,
            meaningless: match &cell.work {
                Work::Run(_) => None,
                Work::Meaningless(reason) => Some(reason),
            },
        });
        let Work::Run(work) = cell.work else {
            continue;
        };
        let (begun, of, outcomes) = (begun.clone(), total.clone(), outcomes.clone());
        let trial = Trial::test(name.clone(), move || {
            let place = begun.fetch_add(1, Ordering::Relaxed) + 1;
            progress::begins(&name, place, of.load(Ordering::Relaxed), start.elapsed());
            let outcome = outcome::run(Stage::new(number, &name), work);
            progress::ended(&name, &outcome);
            outcomes.note(&name, outcome.clone());
            match outcome {
                Outcome::Passed(_) => Ok(()),
                Outcome::Failed { message, .. } => Err(Failed::from(message)),
            }
        });
        if !arguments.is_filtered_out(&trial) {
            total.fetch_add(1, Ordering::Relaxed);
        }
        trials.push(trial);
    }
    (trials, entries)
}

fn write_reports(entries: &[Entry], outcomes: &Outcomes, took: Duration) {
    let images = IMAGES.map(|image| format!("{image}:{}", image_tag()));
    let versions = Engine::get().versions(&images.each_ref().map(String::as_str));
    let folder = output_folder();
    for (name, text) in [
        (
            "report.md",
            report::markdown(entries, outcomes, &versions, took),
        ),
        (
            "junit.xml",
            report::junit(entries, outcomes, &versions, took),
        ),
    ] {
        let path = folder.join(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        progress::line(&format!("report: {}", path.display()));
    }
}
