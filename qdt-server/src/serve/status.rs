//! The state of the host that `/metrics` and `/healthz` show.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A setting of the host that the server restores after another program has changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostSetting {
    /// The TUN device's address.
    Address,
    /// IPv4 forwarding.
    Forwarding,
    /// The TUN device's state, which must be up.
    Link,
    /// The TUN device's MTU.
    Mtu,
    /// The NAT rules.
    Nat,
}

impl HostSetting {
    const ALL: [Self; 5] = [
        Self::Address,
        Self::Forwarding,
        Self::Link,
        Self::Mtu,
        Self::Nat,
    ];

    /// Returns its name in the log and the label `what` of `qdt_host_repairs_total`.
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

/// Written by the tasks that maintain the host, read by `/metrics` and `/healthz`.
#[derive(Debug, Default)]
pub(super) struct HostStatus {
    conntrack_failures: AtomicU64,
    conntrack_failing: AtomicBool,
    nat_missing: AtomicBool,
    repairs: [AtomicU64; HostSetting::ALL.len()],
}

impl HostStatus {
    /// Records a failed deletion of flows; returns whether the one before succeeded.
    pub(super) fn conntrack_failed(&self) -> bool {
        self.conntrack_failures.fetch_add(1, Ordering::Relaxed);
        !self.conntrack_failing.swap(true, Ordering::Relaxed)
    }

    /// Records a deletion of flows; returns whether the one before failed.
    pub(super) fn conntrack_succeeded(&self) -> bool {
        self.conntrack_failing.swap(false, Ordering::Relaxed)
    }

    /// Returns whether NAT is enabled but does not work.
    pub(super) fn nat_missing(&self) -> bool {
        self.nat_missing.load(Ordering::Relaxed)
    }

    pub(super) fn set_nat_missing(&self, missing: bool) {
        self.nat_missing.store(missing, Ordering::Relaxed);
    }

    /// Counts a repair of `setting`.
    pub(super) fn repaired(&self, setting: HostSetting) {
        self.repairs[setting as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the label and the number of repairs of each setting.
    pub(super) fn repairs(&self) -> Vec<(&'static str, u64)> {
        let count = |setting: HostSetting| {
            let count = self.repairs[setting as usize].load(Ordering::Relaxed);
            (setting.label(), count)
        };
        HostSetting::ALL.map(count).to_vec()
    }

    /// Returns the number of failed deletions of flows.
    pub(super) fn conntrack_failures(&self) -> u64 {
        self.conntrack_failures.load(Ordering::Relaxed)
    }
}
