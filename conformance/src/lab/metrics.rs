//! The server's metrics in the Prometheus text format.

use std::collections::BTreeMap;

/// One scrape: series (name and labels as written) to value.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    series: BTreeMap<String, f64>,
    text: String,
}

impl Metrics {
    /// Reads the text of a scrape; lines that are no samples are kept in
    /// [`Metrics::text`] only.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let series = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let (name, value) = line.rsplit_once(' ')?;
                Some((name.to_owned(), value.parse().ok()?))
            })
            .collect();
        Self {
            series,
            text: text.to_owned(),
        }
    }

    /// The value of a series as it is written, `name{label="value"}`; 0 where
    /// it does not exist (a counter that never counted).
    #[must_use]
    pub fn value(&self, series: &str) -> f64 {
        self.series.get(series).copied().unwrap_or(0.0)
    }

    /// `qdt_drops_total` of a reason.
    #[must_use]
    pub fn drops(&self, reason: &str) -> f64 {
        self.value(&format!("qdt_drops_total{{reason=\"{reason}\"}}"))
    }

    /// `qdt_handshakes_total` of a result.
    #[must_use]
    pub fn handshakes(&self, result: &str) -> f64 {
        self.value(&format!("qdt_handshakes_total{{result=\"{result}\"}}"))
    }

    /// `qdt_sessions_active`.
    #[must_use]
    pub fn sessions(&self) -> f64 {
        self.value("qdt_sessions_active")
    }

    /// Resident memory of the server in bytes.
    #[must_use]
    pub fn resident_bytes(&self) -> f64 {
        self.value("process_resident_memory_bytes")
    }

    /// The values of a counter by one of its labels, as whole numbers.
    #[must_use]
    pub fn labels(&self, name: &str, label: &str) -> BTreeMap<String, u64> {
        let prefix = format!("{name}{{{label}=\"");
        self.series
            .iter()
            .filter_map(|(series, value)| {
                let value_of_label = series.strip_prefix(&prefix)?.strip_suffix("\"}")?;
                Some((value_of_label.to_owned(), *value as u64))
            })
            .collect()
    }

    /// The whole scrape.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let metrics = Metrics::parse(
            "# HELP qdt_drops_total QDT drops\n# TYPE qdt_drops_total counter\n\
             qdt_drops_total{reason=\"decode\"} 7\nqdt_sessions_active 2\n",
        );
        assert_eq!(metrics.drops("decode"), 7.0);
        assert_eq!(metrics.sessions(), 2.0);
        assert_eq!(metrics.drops("replay"), 0.0);
    }
}
