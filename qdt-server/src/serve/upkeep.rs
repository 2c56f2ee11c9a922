//! Keeps the host as the server set it up: the device's address and MTU, NAT, forwarding.
//!
//! Network managers flush addresses, administrators flush rulesets, and a tunnel without either is
//! up and carries nothing. What is missing is put back as soon as the kernel tells of a change, at
//! the latest after a few seconds, with one line that names it. Somebody who takes it away again
//! and again wins for a minute after [`MOST`] times, so that two programs never fight over a host;
//! a check that finds nothing changes nothing, so no repair leads to another.

use std::time::{Duration, Instant};

use ipnet::IpNet;
use qdt_host::{Changes, Host, LinkError, Links, Watch};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};
use tracing::{debug, error, warn};

use super::nat::{self, Nat, NatFault};
use super::overlap::OverlapWatch;
use super::status::{HostStatus, Repair};

/// The most repairs in [`WINDOW`].
const MOST: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);

/// The TUN device as the server set it up.
#[derive(Debug)]
pub(super) struct Device<H> {
    pub(super) host: H,
    pub(super) name: String,
    pub(super) address: IpNet,
    pub(super) mtu: u32,
}

impl<H: Host> Device<H> {
    /// Sets the device up.
    pub(super) async fn set_up(&self) -> Result<(), LinkError> {
        for part in [Repair::Mtu, Repair::Address, Repair::Link] {
            self.restore(part).await?;
        }
        Ok(())
    }

    async fn restore(&self, part: Repair) -> Result<(), LinkError> {
        let links = self.host.links();
        match part {
            Repair::Mtu => links.set_mtu(&self.name, self.mtu).await,
            Repair::Address => links.set_address(&self.name, self.address).await,
            _ => links.set_up(&self.name).await,
        }
    }

    /// What is not as it was set up. A device that is gone is the packet workers' to notice.
    async fn faults(&self) -> Vec<Repair> {
        let state = match self.host.links().status(&self.name).await {
            Ok(state) => state,
            Err(error) => {
                debug!(err = %error, "the device cannot be looked at");
                return Vec::new();
            }
        };
        let mut faults = Vec::new();
        if state.mtu != self.mtu {
            faults.push(Repair::Mtu);
        }
        if !state.addresses.contains(&self.address) {
            faults.push(Repair::Address);
        }
        if !state.up {
            faults.push(Repair::Link);
        }
        faults
    }
}

/// The running task.
#[derive(Debug)]
pub(super) struct Upkeep<H> {
    host: H,
    stop: oneshot::Sender<()>,
    task: Option<JoinHandle<()>>,
    /// The device whose rules are to be taken out, where there are some.
    firewalled: Option<String>,
}

impl<H: Host> Upkeep<H> {
    /// Looks after the host from now on, whenever `watch` reports a change.
    pub(super) fn start(
        device: Device<H>,
        nat: Nat<H>,
        overlaps: OverlapWatch<H>,
        status: Arc<HostStatus>,
        mut watch: H::Watch,
    ) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let host = device.host.clone();
        let firewalled = nat.device().map(str::to_owned);
        let mut keeper = Keeper {
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
                keeper.check(changes).await;
            }
        });
        Self {
            host,
            stop,
            task: Some(task),
            firewalled,
        }
    }

    /// Waits until the task ends by itself, which it never should; how it ended.
    pub(super) async fn ended(&mut self) -> Option<JoinError> {
        let Some(task) = &mut self.task else {
            return std::future::pending().await;
        };
        let ended = task.await;
        self.task = None;
        ended.err()
    }

    /// Ends the task and takes the rules out, however the task ended.
    pub(super) async fn stop(self) {
        // The task may have ended already.
        let _ = self.stop.send(());
        if let Some(task) = self.task
            && let Err(error) = task.await
        {
            error!(err = %error, "the task that looks after the host failed");
        }
        if let Some(device) = self.firewalled {
            nat::remove(&self.host, &device).await;
        }
    }
}

struct Keeper<H: Host> {
    device: Device<H>,
    nat: Nat<H>,
    overlaps: OverlapWatch<H>,
    status: Arc<HostStatus>,
    budget: Budget,
}

impl<H: Host> Keeper<H> {
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
            Allowed::Yes => {}
            Allowed::No => return,
            Allowed::NoFromNowOn => {
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
        for part in device {
            match self.device.restore(part).await {
                Ok(()) => restored.push(part),
                Err(error) => {
                    error!(err = %error, part = part.label(), "restoring the host's network failed")
                }
            }
        }
        for fault in nat {
            let part = match fault {
                NatFault::Rules => Repair::Nat,
                NatFault::Forwarding => Repair::Forwarding,
            };
            match self.nat.restore(fault).await {
                Ok(()) => restored.push(part),
                Err(error) => error!(
                    err = %error,
                    part = part.label(),
                    "restoring the host's network failed"
                ),
            }
        }
        if !restored.is_empty() {
            let labels: Vec<_> = restored.iter().map(|part| part.label()).collect();
            warn!(
                device = self.device.name,
                restored = labels.join(", "),
                "another program changed the host's network: restored"
            );
        }
        restored
            .into_iter()
            .for_each(|part| self.status.repaired(part));
    }
}

/// How many repairs were made lately.
#[derive(Debug, Default)]
struct Budget {
    since: Option<Instant>,
    used: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Allowed {
    Yes,
    No,
    /// As `No`, for the first time.
    NoFromNowOn,
}

impl Budget {
    fn take(&mut self, now: Instant) -> Allowed {
        let over = self.since.is_none_or(|since| now - since >= WINDOW);
        if over {
            self.since = Some(now);
            self.used = 0;
        }
        self.used = self.used.saturating_add(1);
        match self.used {
            ..=MOST => Allowed::Yes,
            used if used == MOST + 1 => {
                // A whole minute of rest, counted from here.
                self.since = Some(now);
                Allowed::NoFromNowOn
            }
            _ => Allowed::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_twenty_repairs_in_a_minute_there_is_none_for_a_minute() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut budget = Budget::default();
        for _ in 0..MOST {
            assert_eq!(budget.take(at(1)), Allowed::Yes);
        }
        assert_eq!(budget.take(at(31)), Allowed::NoFromNowOn);
        assert_eq!(budget.take(at(32)), Allowed::No);
        assert_eq!(budget.take(at(90)), Allowed::No);
        assert_eq!(budget.take(at(92)), Allowed::Yes);
    }
}
