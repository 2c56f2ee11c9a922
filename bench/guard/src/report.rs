//! Comparison of the counts with the record, and the verdict.

use std::fmt;

use crate::counts::PerPacket;
use crate::record::{Build, HOW_TO_RECORD, Record};

/// What may be added to a count, and what may be taken off it, before it is worth a word.
const TOLERANCE: f64 = 0.10;

/// The table and what it shows.
pub(crate) struct Report {
    rows: Vec<String>,
    /// What has become dearer, or cannot be compared.
    failures: Vec<String>,
    /// What has become so much cheaper that the record is out of date.
    gains: Vec<String>,
    differences: Vec<String>,
}

impl Report {
    /// Compares; `all` says that every case was counted, so that none may be missing.
    pub(crate) fn new(
        recorded: &Record,
        present: &Build,
        counted: &[(String, PerPacket)],
        all: bool,
    ) -> Self {
        let mut report = Self {
            rows: vec![format!(
                "{:<34} {:>9} {:>9} {:>8} {:>7} {:>6} {:>9}",
                "per packet", "recorded", "own code", "change", "libc", "AEAD", "within"
            )],
            failures: Vec::new(),
            gains: Vec::new(),
            differences: recorded.build.differences(present),
        };
        for (name, new) in counted {
            match recorded.case(name) {
                Some(old) => report.compare(name, old, new),
                None => {
                    report.row(name, None, new);
                    report.failures.push(format!("{name}: was never recorded"));
                }
            }
        }
        for (name, _) in recorded.cases.iter().filter(|_| all) {
            if !counted.iter().any(|(counted, _)| counted == name) {
                report
                    .failures
                    .push(format!("{name}: is recorded, but there is no such case"));
            }
        }
        report
    }

    /// Whether nothing has become dearer.
    pub(crate) fn holds(&self) -> bool {
        self.failures.is_empty()
    }

    fn compare(&mut self, name: &str, old: &PerPacket, new: &PerPacket) {
        self.row(name, Some(old.own), new);
        for (what, old, new) in [
            ("instructions of our own code", old.own, new.own),
            ("calls of the C library", old.libc_calls, new.libc_calls),
            ("calls of the AEAD", old.aead_calls, new.aead_calls),
        ] {
            let words = format!(
                "{name}: {old} -> {new} {what} per packet ({})",
                percent(old, new)
            );
            if new > old * (1.0 + TOLERANCE) {
                self.failures.push(words);
            } else if new < old * (1.0 - TOLERANCE) {
                self.gains.push(words);
            }
        }
    }

    fn row(&mut self, name: &str, old: Option<f64>, new: &PerPacket) {
        let (before, change) = match old {
            Some(old) => (format!("{old:.1}"), percent(old, new.own)),
            None => ("-".into(), "-".into()),
        };
        self.rows.push(format!(
            "{name:<34} {before:>9} {:>9.1} {change:>8} {:>7.2} {:>6.2} {:>9.1}",
            new.own, new.libc_calls, new.aead_calls, new.aead
        ));
    }
}

fn percent(old: f64, new: f64) -> String {
    if old == 0.0 {
        return if new == 0.0 {
            "+0.0 %".into()
        } else {
            "from 0".into()
        };
    }
    format!("{:+.1} %", (new / old - 1.0) * 100.0)
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            writeln!(formatter, "{row}")?;
        }
        writeln!(
            formatter,
            "\nInstructions; libc (copies) and AEAD: calls, and last what is within the AEAD's on this processor."
        )?;
        for difference in &self.differences {
            writeln!(formatter, "Note: {difference}")?;
        }
        for gain in &self.gains {
            writeln!(formatter, "CHEAPER {gain}")?;
        }
        for failure in &self.failures {
            writeln!(formatter, "FAILED {failure}")?;
        }
        if !self.failures.is_empty() {
            write!(
                formatter,
                "More than a tenth dearer than recorded. If that is meant to be, and worth it, record it"
            )?;
        } else if !self.gains.is_empty() {
            write!(
                formatter,
                "More than a tenth cheaper than recorded: record it, so that it stays so"
            )?;
        } else {
            return write!(
                formatter,
                "Everything costs what was recorded, give or take a tenth."
            );
        }
        write!(formatter, " and commit the file:\n  {HOW_TO_RECORD}")
    }
}
