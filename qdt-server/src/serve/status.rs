//! What the control side knows about the host: what the pages show beside sessions and traffic.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What was put back on the host after another program had changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repair {
    /// The device's address.
    Address,
    /// The kernel's switch for forwarding.
    Forwarding,
    /// The device, which was down.
    Link,
    /// The device's MTU.
    Mtu,
    /// The rules of NAT.
    Nat,
}

impl Repair {
    const ALL: [Self; 5] = [
        Self::Address,
        Self::Forwarding,
        Self::Link,
        Self::Mtu,
        Self::Nat,
    ];

    /// The word for it in the log, and the label `what` of `qdt_host_repairs_total`.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Forwarding => "forwarding",
            Self::Link => "link",
            Self::Mtu => "mtu",
            Self::Nat => "nat",
        }
    }
}

/// Written by the tasks that look after the host, read by `/metrics` and `/healthz`.
#[derive(Debug, Default)]
pub(super) struct HostStatus {
    conntrack_failures: AtomicU64,
    conntrack_fails: AtomicBool,
    nat_missing: AtomicBool,
    repairs: [AtomicU64; Repair::ALL.len()],
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

    /// Whether NAT is asked for and not in place.
    pub(super) fn nat_missing(&self) -> bool {
        self.nat_missing.load(Ordering::Relaxed)
    }

    pub(super) fn set_nat_missing(&self, missing: bool) {
        self.nat_missing.store(missing, Ordering::Relaxed);
    }

    /// `part` was put back.
    pub(super) fn repaired(&self, part: Repair) {
        self.repairs[part as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the label of each part, and how often it was put back.
    pub(super) fn repairs(&self) -> Vec<(&'static str, u64)> {
        let count = |part: Repair| {
            let count = self.repairs[part as usize].load(Ordering::Relaxed);
            (part.label(), count)
        };
        Repair::ALL.map(count).to_vec()
    }

    /// How often flows could not be deleted.
    pub(super) fn conntrack_failures(&self) -> u64 {
        self.conntrack_failures.load(Ordering::Relaxed)
    }
}
