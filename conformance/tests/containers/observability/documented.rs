//! What docs/observability.md promises, read from its tables, so that the page
//! and the server cannot drift apart.

use std::collections::{BTreeMap, BTreeSet};

const PAGE: &str = include_str!("../../../../docs/observability.md");

/// A series of the documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Series {
    /// Its name.
    pub(super) name: String,
    /// `counter` or `gauge`.
    pub(super) kind: String,
    /// The HELP line.
    pub(super) help: String,
    /// Its label and all values that the label has.
    pub(super) label: Option<(String, BTreeSet<String>)>,
}

/// Every documented series by its name.
///
/// # Panics
/// When the page has no such table.
pub(super) fn series() -> BTreeMap<String, Series> {
    let all: BTreeMap<_, _> = PAGE
        .lines()
        .filter_map(cells)
        .filter(|cells| cells.len() == 6 && cells[0].starts_with('`'))
        .map(|cells| {
            let name = cells[0].trim_matches('`').to_owned();
            let mut words = quoted(cells[2]).into_iter();
            let label = words.next().map(|label| {
                let mut values: BTreeSet<_> = words.collect();
                if values.is_empty() {
                    values = table_of(&label, &name);
                }
                (label, values)
            });
            let series = Series {
                name: name.clone(),
                kind: cells[1].to_owned(),
                help: cells[4].to_owned(),
                label,
            };
            (name, series)
        })
        .collect();
    assert!(
        all.len() > 15,
        "docs/observability.md has a table of all series: {all:?}"
    );
    all
}

/// The values of a label that has a table of its own.
fn table_of(label: &str, series: &str) -> BTreeSet<String> {
    let heading = format!("### `{label}` of `{series}`");
    let values: BTreeSet<_> = PAGE
        .lines()
        .skip_while(|line| **line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with('#'))
        .filter_map(cells)
        .filter_map(|cells| quoted(cells[0]).into_iter().next())
        .collect();
    assert!(
        !values.is_empty(),
        "docs/observability.md has a table under {heading:?}"
    );
    values
}

/// The cells of a table's row.
fn cells(line: &str) -> Option<Vec<&str>> {
    let row = line.strip_prefix('|')?.trim_end().strip_suffix('|')?;
    Some(row.split('|').map(str::trim).collect())
}

/// Everything between backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// The PromQL examples of the page.
pub(super) fn examples() -> Vec<String> {
    PAGE.lines()
        .skip_while(|line| *line != "```promql")
        .skip(1)
        .take_while(|line| *line != "```")
        .map(str::to_owned)
        .collect()
}
