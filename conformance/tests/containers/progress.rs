//! The progress on stdout: whole lines in the format of `cargo test`, so that tools that count
//! those count these. The harness writes its own record into a file: two writers would cut each
//! other's lines.

use std::io::{self, Write as _};
use std::time::Duration;

use crate::outcome::Outcome;
use crate::report::{Entry, Totals};

/// Writes one line.
pub(crate) fn line(text: &str) {
    let mut stdout = io::stdout().lock();
    // A reader that closed stdout needs no progress.
    let _ = writeln!(stdout, "{text}");
    let _ = stdout.flush();
}

/// A cell begins, as the `place`th `of` so many, so long after the start.
pub(crate) fn begins(name: &str, place: usize, of: usize, after: Duration) {
    line(&format!(
        "     [{place} of {of}, {} s] {name}",
        after.as_secs()
    ));
}

/// A cell has ended.
pub(crate) fn ended(name: &str, outcome: &Outcome) {
    match outcome {
        Outcome::Passed(_) => line(&format!("test {name} ... ok")),
        Outcome::Failed { .. } => line(&format!("test {name} ... FAILED")),
    }
}

/// Why the cells failed that did, and the line that is counted.
pub(crate) fn summary(failed: &[(&Entry, Outcome)], totals: &Totals, took: Duration) {
    for (entry, outcome) in failed {
        if let Outcome::Failed { message, logs, .. } = outcome {
            line(&format!("\n---- {} ----\n{message}", entry.name));
            if let Some(logs) = logs {
                line(&format!("container logs: {}", logs.display()));
            }
        }
    }
    let verdict = if totals.failed == 0 { "ok" } else { "FAILED" };
    line(&format!(
        "\ntest result: {verdict}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s",
        totals.passed,
        totals.failed,
        totals.left_out,
        took.as_secs_f64()
    ));
}
