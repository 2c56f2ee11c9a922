//! The report: a Markdown file for people, a JUnit file for machines. Both
//! name every cell, what was expected of it and, where it failed, the logs
//! that were kept.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use crate::engine::Versions;
use crate::outcome::{Outcome, Outcomes};

/// A cell as the report sees it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The name to filter by.
    pub(crate) name: String,
    /// The table.
    pub(crate) group: &'static str,
    /// The row.
    pub(crate) row: String,
    /// The column, empty where the table has one.
    pub(crate) column: String,
    /// What is expected beyond carrying packets.
    pub(crate) expected: Vec<&'static str>,
    /// Why the combination has no meaning, where it has none.
    pub(crate) meaningless: Option<&'static str>,
}

/// Numbers of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Cells that passed.
    pub(crate) passed: usize,
    /// Cells that failed.
    pub(crate) failed: usize,
    /// Cells that a filter left out.
    pub(crate) left_out: usize,
    /// Combinations without a meaning: no cell was run for them.
    pub(crate) meaningless: usize,
}

/// Counts.
pub(crate) fn totals(entries: &[Entry], outcomes: &Outcomes) -> Totals {
    let mut totals = Totals::default();
    for entry in entries {
        let place = match (entry.meaningless, outcomes.of(&entry.name)) {
            (Some(_), _) => &mut totals.meaningless,
            (None, Some(Outcome::Passed(_))) => &mut totals.passed,
            (None, Some(Outcome::Failed { .. })) => &mut totals.failed,
            (None, None) => &mut totals.left_out,
        };
        *place += 1;
    }
    totals
}

/// The Markdown text.
pub(crate) fn markdown(
    entries: &[Entry],
    outcomes: &Outcomes,
    versions: &Versions,
    took: Duration,
) -> String {
    let totals = totals(entries, outcomes);
    let mut text = String::from("# Container suite\n\n");
    let _ = writeln!(
        text,
        "**{} passed, {} failed** in {}. {} combinations have no meaning and are not counted{}.\n",
        totals.passed,
        totals.failed,
        seconds(took),
        totals.meaningless,
        match totals.left_out {
            0 => String::new(),
            count => format!("; a filter left out {count}"),
        }
    );
    for (name, value) in &versions.lines {
        let _ = writeln!(text, "- {name}: `{value}`");
    }
    failures(&mut text, entries, outcomes);
    let mut notes = Notes::default();
    let mut groups: Vec<&str> = Vec::new();
    for entry in entries {
        if !groups.contains(&entry.group) {
            groups.push(entry.group);
        }
    }
    for group in groups {
        let members: Vec<_> = entries
            .iter()
            .filter(|entry| entry.group == group)
            .collect();
        table(&mut text, group, &members, outcomes, &mut notes);
    }
    if !notes.texts.is_empty() {
        text.push_str("\n## Notes\n\n");
        for (number, note) in notes.texts.iter().enumerate() {
            let _ = writeln!(text, "{}. {note}", number + 1);
        }
    }
    text
}

/// Texts below the tables, each once.
#[derive(Default)]
struct Notes {
    texts: Vec<&'static str>,
}

impl Notes {
    fn number(&mut self, text: &'static str) -> usize {
        let known = self.texts.iter().position(|known| *known == text);
        known.unwrap_or_else(|| {
            self.texts.push(text);
            self.texts.len() - 1
        }) + 1
    }
}

fn failures(text: &mut String, entries: &[Entry], outcomes: &Outcomes) {
    let mut first = true;
    for entry in entries {
        let Some(Outcome::Failed { message, logs, .. }) = outcomes.of(&entry.name) else {
            continue;
        };
        if std::mem::take(&mut first) {
            text.push_str("\n## Failures\n");
        }
        let logs = logs.map_or_else(
            || "none: it failed before a container ran".to_owned(),
            |folder| format!("`{}`", folder.display()),
        );
        let _ = writeln!(
            text,
            "\n### {}\n\nContainer logs: {logs}\n\n```text\n{message}\n```",
            entry.name
        );
    }
}

fn table(
    text: &mut String,
    group: &str,
    members: &[&Entry],
    outcomes: &Outcomes,
    notes: &mut Notes,
) {
    let mut rows: Vec<&str> = Vec::new();
    let mut columns: Vec<&str> = Vec::new();
    let mut cells: HashMap<(&str, &str), &Entry> = HashMap::new();
    for entry in members {
        if !rows.contains(&entry.row.as_str()) {
            rows.push(&entry.row);
        }
        if !columns.contains(&entry.column.as_str()) {
            columns.push(&entry.column);
        }
        cells.insert((&entry.row, &entry.column), entry);
    }
    let heads: Vec<_> = columns
        .iter()
        .map(|column| if column.is_empty() { "result" } else { column })
        .collect();
    let _ = writeln!(text, "\n## {group}\n\n| | {} |", heads.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(columns.len()));
    for row in rows {
        let line: Vec<_> = columns
            .iter()
            .map(|column| {
                cells
                    .get(&(row, *column))
                    .map_or_else(String::new, |entry| shown(entry, outcomes, notes))
            })
            .collect();
        let _ = writeln!(text, "| {row} | {} |", line.join(" | "));
    }
}

/// One field of a table.
fn shown(entry: &Entry, outcomes: &Outcomes, notes: &mut Notes) -> String {
    if let Some(reason) = entry.meaningless {
        return format!("n/a [{}]", notes.number(reason));
    }
    let numbers: Vec<_> = entry
        .expected
        .iter()
        .map(|expected| notes.number(expected).to_string())
        .collect();
    let note = if numbers.is_empty() {
        String::new()
    } else {
        format!(" [{}]", numbers.join(", "))
    };
    match outcomes.of(&entry.name) {
        Some(Outcome::Passed(after)) => format!("ok {}{note}", seconds(after)),
        Some(Outcome::Failed { after, .. }) => format!("**FAILED** {}{note}", seconds(after)),
        None => "not run".to_owned(),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// The JUnit XML text.
///
/// # Panics
/// Never: it writes into memory.
pub(crate) fn junit(
    entries: &[Entry],
    outcomes: &Outcomes,
    versions: &Versions,
    took: Duration,
) -> String {
    let mut report = Report::new("container suite");
    report.set_time(took);
    let mut suites: Vec<TestSuite> = Vec::new();
    for entry in entries {
        let status = match (entry.meaningless, outcomes.of(&entry.name)) {
            (Some(reason), _) => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(reason);
                status
            }
            (None, Some(Outcome::Passed(_))) => TestCaseStatus::success(),
            (None, Some(Outcome::Failed { message, logs, .. })) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                let logs = logs.map(|folder| format!("\ncontainer logs: {}", folder.display()));
                status.set_message(message + &logs.unwrap_or_default());
                status
            }
            // What a filter left out is not part of this run.
            (None, None) => continue,
        };
        let mut case = TestCase::new(entry.name.as_str(), status);
        case.set_classname(entry.group);
        if let Some(Outcome::Passed(after) | Outcome::Failed { after, .. }) =
            outcomes.of(&entry.name)
        {
            case.set_time(after);
        }
        if !suites
            .iter()
            .any(|suite| suite.name.as_str() == entry.group)
        {
            let mut suite = TestSuite::new(entry.group);
            suite.add_properties(
                versions
                    .lines
                    .iter()
                    .map(|(name, value)| Property::new(name.as_str(), value.as_str())),
            );
            suites.push(suite);
        }
        let suite = suites
            .iter_mut()
            .find(|suite| suite.name.as_str() == entry.group);
        suite.expect("it was just added").add_test_case(case);
    }
    report.add_test_suites(suites);
    report
        .to_string()
        .expect("writing into memory does not fail")
}
