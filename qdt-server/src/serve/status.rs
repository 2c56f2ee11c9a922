//! What the control side knows about the host: what the pages show beside sessions and traffic.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Written by the tasks that look after the host, read by `/metrics` and `/healthz`.
#[derive(Debug, Default)]
pub(super) struct HostStatus {
    conntrack_failures: AtomicU64,
    conntrack_fails: AtomicBool,
}

impl HostStatus {
    /// Flows could not be deleted. Says whether that is new.
    pub(super) fn conntrack_failed(&self) -> bool {
        self.conntrack_failures.fetch_add(1, Ordering::Relaxed);
        !self.conntrack_fails.swap(true, Ordering::Relaxed)
    }

    /// Flows were deleted. Says whether that is new.
    pub(super) fn conntrack_works(&self) -> bool {
        self.conntrack_fails.swap(false, Ordering::Relaxed)
    }

    /// How often flows could not be deleted.
    pub(super) fn conntrack_failures(&self) -> u64 {
        self.conntrack_failures.load(Ordering::Relaxed)
    }
}
