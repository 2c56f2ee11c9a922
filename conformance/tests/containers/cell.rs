//! A cell of the suite: one condition for one pair of programs, or one claim of a topic without
//! pairs. It runs alone on its own stage, and passes when it does not panic.

use crate::stage::Stage;

/// What a cell does with its stage.
pub(crate) type Run = Box<dyn FnOnce(&Stage) + Send>;

/// What is done for a cell.
pub(crate) enum Work {
    /// It is run.
    Run(Run),
    /// It has no meaning, for this reason: reported as such, never as a pass.
    Meaningless(&'static str),
}

/// One cell.
pub(crate) struct Cell {
    /// The topic, which is a table of the report.
    pub(crate) group: &'static str,
    /// The condition: a row of the table.
    pub(crate) row: String,
    /// The pair of programs: a column of the table. Empty where a topic has one column only.
    pub(crate) column: String,
    /// What this pair is expected to do, where that is not simply to carry packets.
    pub(crate) expected: Vec<&'static str>,
    /// What it does.
    pub(crate) work: Work,
}

impl Cell {
    /// A cell of a table with columns.
    pub(crate) fn new(
        group: &'static str,
        row: &str,
        column: &str,
        run: impl FnOnce(&Stage) + Send + 'static,
    ) -> Self {
        Self {
            group,
            row: row.to_owned(),
            column: column.to_owned(),
            expected: Vec::new(),
            work: Work::Run(Box::new(run)),
        }
    }

    /// A claim of a topic; its name is a sentence.
    pub(crate) fn named(
        group: &'static str,
        name: &str,
        run: impl FnOnce(&Stage) + Send + 'static,
    ) -> Self {
        Self::new(group, name, "", run)
    }

    /// A combination that cannot be, with the reason.
    pub(crate) fn meaningless(
        group: &'static str,
        row: &str,
        column: &str,
        reason: &'static str,
    ) -> Self {
        Self {
            work: Work::Meaningless(reason),
            ..Self::new(group, row, column, |_| {})
        }
    }

    /// Says in the report what is expected of this pair; several times for several things.
    #[must_use]
    pub(crate) fn expecting(mut self, expected: &'static str) -> Self {
        self.expected.push(expected);
        self
    }

    /// The name by which the cell is filtered and reported:
    /// `group::row::column` in lower case with underscores.
    pub(crate) fn name(&self) -> String {
        let parts = [self.group, &self.row, &self.column];
        parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(identifier)
            .collect::<Vec<_>>()
            .join("::")
    }
}

/// Letters and digits, everything between them one underscore.
fn identifier(text: &str) -> String {
    text.to_lowercase()
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("_")
}
