//! The server's rules in the host's firewall: installed, watched and removed.
//!
//! Where `nat.external_iface` is empty, the rules name the interface of the default route, which
//! may appear after the start and may move. Until there is one, only the rules that separate
//! clients and networks are installed, and `/healthz` fails.

use std::collections::HashSet;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use qdt_host::{Changes, ClosedChain, Firewall, FirewallError, Host, InstalledRules, NatPlan};
use tracing::{debug, error, info, warn};

use super::default_route::DefaultRoute;
use super::status::HostStatus;
use crate::config::HostConfig;

/// Rules are read at least this often: the kernel's generation count misses changes by
/// iptables-legacy.
const READ_INTERVAL: Duration = Duration::from_secs(30);
/// The least time between two reads of other programs' tables, which can be large.
const FOREIGN_READ_INTERVAL: Duration = Duration::from_secs(5);

type Rules<H> = <<H as Host>::Firewall as Firewall>::Rules;

/// The NAT of one run.
#[derive(Debug)]
pub(super) struct Nat<H: Host> {
    host: H,
    /// `None` where NAT is disabled.
    plan: Option<NatPlan>,
    /// `None` where the configuration names the interface.
    default_route: Option<DefaultRoute>,
    installed: Option<(Rules<H>, Instant)>,
    /// Whether forwarding was on after the start.
    forwards: bool,
    /// Other programs' chains that drop forwarded packets, as of `foreign_rules`.
    closed: HashSet<ClosedChain>,
    foreign_rules: Option<Rules<H>>,
    foreign_read: Option<Instant>,
    status: Arc<HostStatus>,
}

/// A change by another program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NatFault {
    /// Rules are missing or changed.
    Rules,
    /// Forwarding is off.
    Forwarding,
}

impl<H: Host> Nat<H> {
    /// Removes what a killed run left on `host` and installs the rules of `config`.
    ///
    /// # Errors
    /// [`FirewallError`] if they cannot be installed.
    pub(super) async fn install(
        host: H,
        config: &HostConfig,
        tun: &str,
        pool: IpNet,
        status: Arc<HostStatus>,
    ) -> Result<Self, FirewallError> {
        match host.firewall().remove_leftovers(tun).await {
            Ok(()) => {}
            // Without nft there are no leftovers, and without NAT nft is not needed.
            Err(FirewallError::NftMissing) if config.nat.is_none() => {}
            Err(error) => warn!(err = %error, "nat cleanup failed"),
        }
        let named = config.nat.as_ref().map(|nat| nat.external_iface.clone());
        let mut nat = Self {
            host,
            default_route: (named == Some(None)).then(DefaultRoute::new),
            plan: named.map(|external_interface| NatPlan {
                tun: tun.to_owned(),
                pool,
                external_interface,
                client_to_client: config.client_to_client,
            }),
            installed: None,
            forwards: false,
            closed: HashSet::new(),
            foreign_rules: None,
            foreign_read: None,
            status,
        };
        if nat.plan.is_none() {
            return Ok(nat);
        }
        if nat.default_route.is_some() && !nat.follow_default_route(Changes::ALL).await {
            warn!(
                err = "no IPv4 default route and nat.external_iface is empty: clients reach nothing \
                       behind the server until there is a default route; or name the interface",
                "nat waits"
            );
        }
        if let Err(error) = nat.install_plan().await {
            remove(&nat.host, tun).await;
            return Err(error);
        }
        // A server whose clients reach only the gateway is better than none.
        match nat.host.firewall().enable_forwarding() {
            Ok(()) => nat.forwards = true,
            Err(error) => error!(err = %error, "enable ip forwarding failed"),
        }
        nat.update_health();
        nat.warn_of_closed_chains().await;
        Ok(nat)
    }

    /// Adopts the interface of the default route; returns whether it has changed.
    async fn follow_default_route(&mut self, changes: Changes) -> bool {
        let (Some(plan), Some(route)) = (&mut self.plan, &mut self.default_route) else {
            return false;
        };
        let Some(name) = route.read(self.host.network(), changes).await else {
            return false;
        };
        // A default route into the tunnel itself leads nowhere.
        if name == plan.tun || plan.external_interface.as_ref() == Some(&name) {
            return false;
        }
        info!(
            external_iface = name,
            "nat: using the interface of the default route"
        );
        route.hold_down();
        plan.external_interface = Some(name);
        true
    }

    /// Installs the plan in place of any earlier rules.
    async fn install_plan(&mut self) -> Result<(), FirewallError> {
        let Some(plan) = &self.plan else {
            return Ok(());
        };
        self.status.set_nat_missing(true);
        self.installed = None;
        for warning in self.host.firewall().install(plan).await? {
            warn!(err = %warning, "nat");
        }
        let rules = self.host.firewall().installed(&plan.tun).await?;
        // The next check restores rules that another program has already flushed.
        self.installed = rules.has_tables().then(|| (rules, Instant::now()));
        self.update_health();
        Ok(())
    }

    /// Updates the state of NAT in `/healthz` and the metrics.
    fn update_health(&self) {
        let Some(plan) = &self.plan else {
            return;
        };
        let works = self.installed.is_some()
            && plan.external_interface.is_some()
            && self.host.firewall().forwards();
        self.status.set_nat_missing(!works);
    }

    /// Follows the default route and returns what other programs have changed.
    pub(super) async fn check(&mut self, changes: Changes) -> Vec<NatFault> {
        let mut faults = Vec::new();
        if self.plan.is_none() {
            return faults;
        }
        if self.follow_default_route(changes).await
            && let Err(error) = self.install_plan().await
        {
            error!(err = %error, "nat");
        }
        if self.forwards && !self.host.firewall().forwards() {
            faults.push(NatFault::Forwarding);
        }
        if !self.is_installed().await {
            self.installed = None;
            faults.push(NatFault::Rules);
        }
        self.update_health();
        self.warn_of_closed_chains().await;
        faults
    }

    async fn is_installed(&mut self) -> bool {
        let (Some(plan), Some((rules, read))) = (&self.plan, &mut self.installed) else {
            return false;
        };
        if rules.is_current() && read.elapsed() < READ_INTERVAL {
            return true;
        }
        match self.host.firewall().installed(&plan.tun).await {
            Ok(now) if now.has_same_rules(rules) => {
                (*rules, *read) = (now, Instant::now());
                true
            }
            Ok(_) => false,
            Err(error) => {
                // Without knowledge of a fault nothing is restored.
                debug!(err = %error, "nat: the rules cannot be read");
                true
            }
        }
    }

    /// Restores what [`check`](Self::check) found.
    ///
    /// # Errors
    /// [`FirewallError`] or [`SysctlError`](qdt_host::SysctlError).
    pub(super) async fn restore(
        &mut self,
        fault: NatFault,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        match fault {
            NatFault::Rules => self.install_plan().await?,
            NatFault::Forwarding => {
                self.host.firewall().enable_forwarding()?;
                self.update_health();
            }
        }
        Ok(())
    }

    /// Warns once of each chain of another program that drops the tunnel's packets.
    async fn warn_of_closed_chains(&mut self) {
        let (Some(plan), Some((rules, _))) = (&self.plan, &self.installed) else {
            return;
        };
        let read = self.foreign_read;
        if self.foreign_rules.as_ref() == Some(rules)
            || read.is_some_and(|read| read.elapsed() < FOREIGN_READ_INTERVAL)
        {
            return;
        }
        let rules = rules.clone();
        self.foreign_read = Some(Instant::now());
        match self.host.firewall().closed_chains(plan).await {
            Ok(found) => {
                let found: HashSet<_> = found.into_iter().collect();
                for chain in found.difference(&self.closed) {
                    warn!(err = %chain, "nat");
                }
                self.closed = found;
                self.foreign_rules = Some(rules);
            }
            Err(error) => {
                debug!(err = %error, "nat: chains of other programs cannot be read");
            }
        }
    }

    /// Returns the device whose rules are installed; `None` where NAT is disabled.
    pub(super) fn device(&self) -> Option<&str> {
        self.plan.as_ref().map(|plan| plan.tun.as_str())
    }
}

/// Removes the rules of the device `tun` from `host`.
pub(super) async fn remove(host: &impl Host, tun: &str) {
    if let Err(error) = host.firewall().remove(tun).await {
        error!(err = %error, "nat cleanup failed");
    }
}

#[cfg(test)]
mod tests;
