//! What the server counts, in the names that dashboards know.
//!
//! Workers and the doorkeeper own their counters; a scrape takes a [`Snapshot`] of them and writes
//! it in text format 0.0.4. Nothing is kept twice, and nothing on the packet path knows Prometheus.
//! Names, HELP and TYPE lines of the `qdt_` series that the Go server has are its own; new series
//! have new names. All label values exist from the start, at 0.

mod process;
mod series;

use std::fmt;
use std::sync::Arc;

use prometheus::{Registry, TextEncoder};

pub use process::ProcessCollector;
pub use series::{HostRepairs, Snapshot, SnapshotCollector};

/// Content type of the text format.
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
    /// Metrics that call `read` for each scrape, plus `process_*`.
    #[must_use]
    pub fn new(read: impl Fn() -> Snapshot + Send + Sync + 'static) -> Self {
        let registry = Registry::new();
        registry
            .register(Box::new(SnapshotCollector::new(read)))
            .and_then(|()| registry.register(Box::new(ProcessCollector::new())))
            .expect("all series have names of their own");
        Self(Arc::new(registry))
    }

    /// The page, as of now.
    ///
    /// # Errors
    /// Only if a series had no samples at all, which [`Snapshot`] excludes.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.0.gather())
    }
}
