//! What the probe found, for people: one line for every check, a summary, and the same as Markdown.
//!
//! Nothing in it is secret: tokens, nonces and tickets never get here.

use std::fmt::Write as _;
use std::time::Duration;

use super::table::{self, Dialect};

/// How a line begins that says that something is as documented.
const SAME: &str = "  ok    ";

/// What became of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckStatus {
    /// As documented.
    Same,
    /// Not as documented.
    Different,
    /// There was nothing to compare; the reason stands where the answer would.
    NotAsked,
}

/// One check of the report.
#[derive(Debug, Clone)]
pub struct Line {
    /// The topic it belongs to.
    pub group: &'static str,
    /// What has to hold, as a sentence.
    pub name: String,
    /// What was sent.
    pub sent: String,
    /// What had to come.
    pub expected: String,
    /// What came; for a difference every one of them.
    pub got: String,
    /// How the two compare.
    pub status: CheckStatus,
}

impl Line {
    /// A line from what was found: no differences are a pass.
    pub(super) fn judged(
        group: &'static str,
        name: impl Into<String>,
        sent: impl Into<String>,
        expected: impl Into<String>,
        differences: &[String],
    ) -> Self {
        let expected = expected.into();
        Self {
            group,
            name: name.into(),
            sent: sent.into(),
            got: if differences.is_empty() {
                expected.clone()
            } else {
                differences.join("; ")
            },
            expected,
            status: if differences.is_empty() {
                CheckStatus::Same
            } else {
                CheckStatus::Different
            },
        }
    }

    /// The line as it is printed.
    #[must_use]
    pub fn text(&self) -> String {
        let Self {
            name,
            sent,
            expected,
            got,
            ..
        } = self;
        match self.status {
            CheckStatus::Same => format!("{SAME}{name}: {sent} -> {got}"),
            CheckStatus::Different => {
                format!(
                    "  DIFF  {name}: {sent}\n          expected  {expected}\n          got       {got}"
                )
            }
            CheckStatus::NotAsked => format!("  --    {name}: {got}"),
        }
    }
}

/// Returns what the probe printed except results as documented: the lines that matter for a failed
/// test.
#[must_use]
pub fn remarks(printed: &str) -> String {
    let lines = printed
        .lines()
        .filter(|line| !line.starts_with(SAME.trim_end()));
    lines.collect::<Vec<_>>().join("\n")
}

/// Everything that a run found.
#[derive(Debug, Clone)]
pub struct Report {
    /// The server as it was named, and its address.
    pub server: String,
    /// The kind of server it was compared with.
    pub dialect: Dialect,
    /// Whether labels of the metrics were compared too.
    pub labels: bool,
    /// The checks in their order.
    pub lines: Vec<Line>,
    /// What the reader should know besides.
    pub notes: Vec<String>,
    /// Connections that were made.
    pub connections: usize,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// Checks with this status.
    #[must_use]
    pub fn count(&self, status: CheckStatus) -> usize {
        let of = |line: &&Line| line.status == status;
        self.lines.iter().filter(of).count()
    }

    /// Whether the server did everything as documented.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.count(CheckStatus::Different) == 0
    }

    /// The last lines: what differs, once more, then the notes and the figures.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            if line.status == CheckStatus::Different {
                let _ = writeln!(text, "DIFFERENT: {}: {}", line.group, line.name);
            }
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        let _ = write!(text, "{}", self.figures());
        text
    }

    fn figures(&self) -> String {
        format!(
            "{} as documented, {} different, {} not asked; {}, {} connections in {:.0} s",
            self.count(CheckStatus::Same),
            self.count(CheckStatus::Different),
            self.count(CheckStatus::NotAsked),
            self.server,
            self.connections,
            self.took.as_secs_f64()
        )
    }

    /// The whole report as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!("# Parity of {}\n\n", self.server);
        let against = match self.dialect {
            Dialect::Qdt => "the documented answers",
            Dialect::Go => "the documented answers of the Go server",
        };
        let labels = if self.labels {
            ", labels of `qdt_handshakes_total` included"
        } else {
            "; the labels of the metrics were not looked at (no --metrics)"
        };
        let _ = writeln!(
            text,
            "Compared with {against}{labels}.\n\n{}.",
            self.figures()
        );
        for note in &self.notes {
            let _ = writeln!(text, "\nNote: {note}.");
        }
        let _ = write!(text, "\n## The documented answers\n\n{}", table::markdown());
        let mut group = "";
        for line in &self.lines {
            if line.group != group {
                group = line.group;
                let _ = write!(
                    text,
                    "\n## {group}\n\n| | check | sent | expected | got |\n|---|---|---|---|---|\n"
                );
            }
            let status = match line.status {
                CheckStatus::Same => "ok",
                CheckStatus::Different => "**different**",
                CheckStatus::NotAsked => "not asked",
            };
            let cells =
                [&line.name, &line.sent, &line.expected, &line.got].map(|cell| escape(cell));
            let _ = writeln!(text, "| {status} | {} |", cells.join(" | "));
        }
        text
    }
}

/// A text that may hold anything, inside of a Markdown table.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('|', "\\|")
        .replace('<', "&lt;")
        .replace('*', "\\*")
        .replace('`', "\\`")
        .replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(differences: &[String]) -> Report {
        Report {
            server: "vpn.example.org:443".into(),
            dialect: Dialect::Qdt,
            labels: false,
            lines: vec![
                Line::judged("paths", "a | b", "GET /", "404", &[]),
                Line::judged("paths", "/x is another", "POST /x", "404", differences),
            ],
            notes: Vec::new(),
            connections: 2,
            took: Duration::from_secs(3),
        }
    }

    #[test]
    fn a_difference_shows_in_its_line_in_the_summary_and_in_the_markdown() {
        let report = report(&["status 200".to_owned(), "no header date".to_owned()]);
        assert!(!report.is_same());
        assert!(
            report.lines[1]
                .text()
                .contains("got       status 200; no header date")
        );
        assert!(
            report
                .summary()
                .starts_with("DIFFERENT: paths: /x is another\n")
        );
        assert!(report.summary().ends_with(
            "1 as documented, 1 different, 0 not asked; vpn.example.org:443, 2 connections in 3 s"
        ));
        assert!(
            report
                .markdown()
                .contains("| **different** | /x is another |")
        );
        assert!(report.markdown().contains("| ok | a \\| b |"));
    }

    #[test]
    fn remarks_of_a_report_are_its_differences_and_its_notes() {
        let report = report(&["status 200".to_owned()]);
        let lines = report.lines.iter().map(Line::text);
        let printed = lines.collect::<Vec<_>>().join("\n") + "\nnote: wait";
        let remarks = remarks(&printed);
        assert!(remarks.starts_with("  DIFF  /x is another"), "{remarks}");
        assert!(remarks.contains("got       status 200\n"), "{remarks}");
        assert!(remarks.ends_with("\nnote: wait"), "{remarks}");
    }

    #[test]
    fn a_report_without_differences_says_so() {
        let report = report(&[]);
        assert!(report.is_same());
        assert!(!report.summary().contains("DIFFERENT"));
    }
}
