//! The Prometheus metrics of the server, in text format 0.0.4.
//!
//! Each scrape takes a [`Snapshot`] of the counters that workers and admission own: nothing is
//! counted twice, and the packet path does not know Prometheus. Series that the Go server has keep
//! its names and its HELP and TYPE lines. All label values exist from the start, at 0.

mod process;
mod series;

use std::fmt;
use std::sync::Arc;

use prometheus::{Registry, TextEncoder};

pub use series::Snapshot;

use process::ProcessCollector;
use series::SnapshotCollector;

/// The content type of the text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The registry behind `/metrics`.
#[derive(Clone)]
pub struct Metrics(Arc<Registry>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Makes metrics that call `read` at each scrape, plus `process_*`.
    #[must_use]
    pub fn new(read: impl Fn() -> Snapshot + Send + Sync + 'static) -> Self {
        let registry = Registry::new();
        registry
            .register(Box::new(SnapshotCollector::new(read)))
            .and_then(|()| registry.register(Box::new(ProcessCollector::new())))
            .expect("the names of all series differ");
        Self(Arc::new(registry))
    }

    /// Returns the metrics page.
    ///
    /// # Errors
    /// Fails if a series has no samples, which [`Snapshot`] excludes.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.0.gather())
    }
}
