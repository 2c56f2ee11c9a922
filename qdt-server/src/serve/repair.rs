//! The task that keeps the host as the server set it up: the TUN device, NAT, forwarding.
//!
//! Network managers flush addresses, administrators flush rulesets, and the tunnel then carries
//! nothing. The task checks on every change that the kernel reports, at least every few seconds,
//! and logs what it restores. After [`MAX_REPAIRS`] in a [`WINDOW`] it stops for a minute, so that
//! two programs never fight over a host. A check that finds no fault changes nothing, so no repair
//! causes another.

use std::time::{Duration, Instant};

use ipnet::IpNet;
use qdt_host::{Changes, Host, LinkError, Links, Watch};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};
use tracing::{debug, error, warn};

use super::nat::{self, Nat, NatFault};
use super::overlap::OverlapWatch;
use super::status::{HostSetting, HostStatus};

/// Most repairs in one [`WINDOW`].
const MAX_REPAIRS: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);

/// The desired state of the TUN device.
#[derive(Debug)]
pub(super) struct Device<H> {
    pub(super) host: H,
    pub(super) name: String,
    pub(super) address: IpNet,
    pub(super) mtu: u32,
}

impl<H: Host> Device<H> {
    /// Configures the device.
    pub(super) async fn set_up(&self) -> Result<(), LinkError> {
        for setting in [HostSetting::Mtu, HostSetting::Address, HostSetting::Link] {
            self.restore(setting).await?;
        }
        Ok(())
    }

    async fn restore(&self, setting: HostSetting) -> Result<(), LinkError> {
        let links = self.host.links();
        match setting {
            HostSetting::Mtu => links.set_mtu(&self.name, self.mtu).await,
            HostSetting::Address => links.set_address(&self.name, self.address).await,
            _ => links.set_up(&self.name).await,
        }
    }

    /// Returns the settings that have changed. The packet workers report a deleted device.
    async fn faults(&self) -> Vec<HostSetting> {
        let state = match self.host.links().status(&self.name).await {
            Ok(state) => state,
            Err(error) => {
                debug!(err = %error, "the device cannot be read");
                return Vec::new();
            }
        };
        let mut faults = Vec::new();
        if state.mtu != self.mtu {
            faults.push(HostSetting::Mtu);
        }
        if !state.addresses.contains(&self.address) {
            faults.push(HostSetting::Address);
        }
        if !state.up {
            faults.push(HostSetting::Link);
        }
        faults
    }
}

/// A handle to the running task.
#[derive(Debug)]
pub(super) struct RepairTask<H> {
    host: H,
    stop: oneshot::Sender<()>,
    task: Option<JoinHandle<()>>,
    /// The device whose NAT rules are to be removed.
    nat_device: Option<String>,
}

impl<H: Host> RepairTask<H> {
    /// Starts the task, which checks whenever `watch` reports a change.
    pub(super) fn start(
        device: Device<H>,
        nat: Nat<H>,
        overlaps: OverlapWatch<H>,
        status: Arc<HostStatus>,
        mut watch: H::Watch,
    ) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let host = device.host.clone();
        let nat_device = nat.device().map(str::to_owned);
        let mut repairer = Repairer {
            device,
            nat,
            overlaps,
            status,
            budget: Budget::default(),
        };
        let task = tokio::spawn(async move {
            loop {
                let changes = tokio::select! {
                    _ = &mut stopped => return,
                    changes = watch.changed() => changes,
                };
                repairer.check(changes).await;
            }
        });
        Self {
            host,
            stop,
            task: Some(task),
            nat_device,
        }
    }

    /// Waits until the task ends unasked, which is a bug, and returns how.
    pub(super) async fn ended(&mut self) -> Option<JoinError> {
        let Some(task) = &mut self.task else {
            return std::future::pending().await;
        };
        let ended = task.await;
        self.task = None;
        ended.err()
    }

    /// Stops the task and removes the NAT rules, however the task ended.
    pub(super) async fn stop(self) {
        // The task may have ended already.
        let _ = self.stop.send(());
        if let Some(task) = self.task
            && let Err(error) = task.await
        {
            error!(err = %error, "the task that repairs the host failed");
        }
        if let Some(device) = self.nat_device {
            nat::remove(&self.host, &device).await;
        }
    }
}

struct Repairer<H: Host> {
    device: Device<H>,
    nat: Nat<H>,
    overlaps: OverlapWatch<H>,
    status: Arc<HostStatus>,
    budget: Budget,
}

impl<H: Host> Repairer<H> {
    async fn check(&mut self, changes: Changes) {
        if changes.addresses {
            self.overlaps.check().await;
        }
        let device = self.device.faults().await;
        let nat = self.nat.check(changes).await;
        if device.is_empty() && nat.is_empty() {
            return;
        }
        match self.budget.take(Instant::now()) {
            Spent::Within => {}
            Spent::Over => return,
            Spent::JustOver => {
                error!(
                    device = self.device.name,
                    err = "another program keeps changing it: find out which one (a network manager, a \
                           firewall service) and let it leave this device and its table alone",
                    "the host's network is not restored for a minute"
                );
                return;
            }
        }
        let mut restored = Vec::new();
        for setting in device {
            match self.device.restore(setting).await {
                Ok(()) => restored.push(setting),
                Err(error) => {
                    error!(err = %error, part = setting.label(), "restoring the host's network failed")
                }
            }
        }
        for fault in nat {
            let setting = match fault {
                NatFault::Rules => HostSetting::Nat,
                NatFault::Forwarding => HostSetting::Forwarding,
            };
            match self.nat.restore(fault).await {
                Ok(()) => restored.push(setting),
                Err(error) => error!(
                    err = %error,
                    part = setting.label(),
                    "restoring the host's network failed"
                ),
            }
        }
        if !restored.is_empty() {
            let labels: Vec<_> = restored.iter().map(|setting| setting.label()).collect();
            warn!(
                device = self.device.name,
                restored = labels.join(", "),
                "another program changed the host's network: restored"
            );
        }
        restored
            .into_iter()
            .for_each(|setting| self.status.repaired(setting));
    }
}

/// The repairs of the current window.
#[derive(Debug, Default)]
struct Budget {
    since: Option<Instant>,
    used: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Spent {
    Within,
    /// Over the budget for the first time.
    JustOver,
    Over,
}

impl Budget {
    fn take(&mut self, now: Instant) -> Spent {
        let over = self.since.is_none_or(|since| now - since >= WINDOW);
        if over {
            self.since = Some(now);
            self.used = 0;
        }
        self.used = self.used.saturating_add(1);
        match self.used {
            ..=MAX_REPAIRS => Spent::Within,
            used if used == MAX_REPAIRS + 1 => {
                // The pause lasts a whole window from here.
                self.since = Some(now);
                Spent::JustOver
            }
            _ => Spent::Over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_twenty_repairs_in_a_minute_repairs_pause_for_a_minute() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut budget = Budget::default();
        for _ in 0..MAX_REPAIRS {
            assert_eq!(budget.take(at(1)), Spent::Within);
        }
        assert_eq!(budget.take(at(31)), Spent::JustOver);
        assert_eq!(budget.take(at(32)), Spent::Over);
        assert_eq!(budget.take(at(90)), Spent::Over);
        assert_eq!(budget.take(at(92)), Spent::Within);
    }
}
