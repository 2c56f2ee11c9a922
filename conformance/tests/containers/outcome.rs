//! What came of the cells, collected while they run on several threads.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::cell::Run;
use crate::stage::Stage;

/// What came of one cell.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// It did not panic.
    Passed(Duration),
    /// It did.
    Failed {
        /// How long it ran.
        after: Duration,
        /// Where it failed and why.
        message: String,
        /// The folder with the logs of its containers, where it had any.
        logs: Option<PathBuf>,
    },
}

/// The outcomes so far, by the name of the cell.
#[derive(Debug, Default)]
pub(crate) struct Outcomes(Mutex<Vec<(String, Outcome)>>);

impl Outcomes {
    /// Notes an outcome.
    pub(crate) fn note(&self, cell: &str, outcome: Outcome) {
        self.0
            .lock()
            .expect("no holder panics")
            .push((cell.to_owned(), outcome));
    }

    /// The outcome of a cell; `None` where it was not run.
    pub(crate) fn of(&self, cell: &str) -> Option<Outcome> {
        let outcomes = self.0.lock().expect("no holder panics");
        let found = outcomes.iter().find(|(name, _)| name == cell);
        found.map(|(_, outcome)| outcome.clone())
    }
}

thread_local! {
    /// Where this thread panicked last.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes panics remember their place, so that a report can name it.
pub(crate) fn remember_places() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        PLACE.set(panic.location().map(ToString::to_string));
        before(panic);
    }));
}

/// Runs a cell on its stage to the end.
pub(crate) fn run(stage: Stage, work: Run) -> Outcome {
    let start = Instant::now();
    let ended = panic::catch_unwind(AssertUnwindSafe(|| work(&stage)));
    let after = start.elapsed();
    match ended {
        Ok(()) => {
            stage.forget_logs();
            Outcome::Passed(after)
        }
        Err(panic) => {
            let place = PLACE
                .take()
                .map(|place| format!("{place}: "))
                .unwrap_or_default();
            Outcome::Failed {
                after,
                message: place + &text(panic.as_ref()),
                logs: Some(stage.logs().to_owned()).filter(|logs| logs.is_dir()),
            }
        }
    }
}

fn text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
