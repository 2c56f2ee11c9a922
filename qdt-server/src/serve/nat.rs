//! What the server puts into the host's firewall, that it stays there, and that it is taken out
//! again.
//!
//! Where `nat.external_iface` is left out, the interface of the default route is used, whenever
//! there is one: a machine may start this program before its network, and its default route may
//! move later. Until there is one, what keeps clients and networks apart is in place, nothing
//! leaves, and `/healthz` says so.

use std::collections::HashSet;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use qdt_host::{Changes, ClosedChain, Firewall, FirewallError, Host, InstalledRules, NatPlan};
use tracing::{debug, error, info, warn};

use super::followed_route::FollowedRoute;
use super::status::HostStatus;
use crate::config::HostConfig;

/// Rules are read again after so long although the kernel counts no change: those of iptables'
/// older kind are not in its count.
const READ_EVERY: Duration = Duration::from_secs(30);
/// Tables of others can be large: they are read no more often than this.
const READ_OTHERS_EVERY: Duration = Duration::from_secs(5);

type Rules<H> = <<H as Host>::Firewall as Firewall>::Rules;

/// The rules of one run.
#[derive(Debug)]
pub(super) struct Nat<H: Host> {
    host: H,
    /// None where NAT is not asked for.
    plan: Option<NatPlan>,
    /// Where the external interface is that of the default route.
    default_route: Option<FollowedRoute>,
    installed: Option<(Rules<H>, Instant)>,
    /// Whether forwarding was on after the start.
    forwards: bool,
    closed: HashSet<ClosedChain>,
    /// The rules beside which chains of others were read, and when they were asked for.
    others: Option<Rules<H>>,
    others_asked: Option<Instant>,
    status: Arc<HostStatus>,
}

/// Something that is not as it was put in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NatFault {
    /// The rules.
    Rules,
    /// The kernel's switch for forwarding.
    Forwarding,
}

impl<H: Host> Nat<H> {
    /// Removes what a killed run left on `host` and installs what `config` asks for.
    ///
    /// # Errors
    /// [`FirewallError`] if rules that are asked for cannot be installed.
    pub(super) async fn install(
        host: H,
        config: &HostConfig,
        tun: &str,
        pool: IpNet,
        status: Arc<HostStatus>,
    ) -> Result<Self, FirewallError> {
        match host.firewall().remove_leftovers(tun).await {
            Ok(()) => {}
            // Without nft nothing of ours can be there, and without NAT nothing is needed.
            Err(FirewallError::NftMissing) if config.nat.is_none() => {}
            Err(error) => warn!(err = %error, "nat cleanup failed"),
        }
        let named = config.nat.as_ref().map(|nat| nat.external_iface.clone());
        let mut nat = Self {
            host,
            default_route: (named == Some(None)).then(FollowedRoute::new),
            plan: named.map(|external_interface| NatPlan {
                tun: tun.to_owned(),
                pool,
                external_interface,
                client_to_client: config.client_to_client,
            }),
            installed: None,
            forwards: false,
            closed: HashSet::new(),
            others: None,
            others_asked: None,
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
        if let Err(error) = nat.put_in_place().await {
            remove(&nat.host, tun).await;
            return Err(error);
        }
        // Clients that reach the gateway but nothing behind it are better than none at all.
        match nat.host.firewall().enable_forwarding() {
            Ok(()) => nat.forwards = true,
            Err(error) => error!(err = %error, "enable ip forwarding failed"),
        }
        nat.tell_health();
        nat.look_at_others().await;
        Ok(nat)
    }

    /// Takes the interface of the default route; says whether it is another one now.
    async fn follow_default_route(&mut self, changes: Changes) -> bool {
        let (Some(plan), Some(route)) = (&mut self.plan, &mut self.default_route) else {
            return false;
        };
        let Some(name) = route.read(self.host.network(), changes).await else {
            return false;
        };
        // A tunnel that is the host's own way out leads nowhere for its clients.
        if name == plan.tun || plan.external_interface.as_ref() == Some(&name) {
            return false;
        }
        info!(
            external_iface = name,
            "nat: using the interface of the default route"
        );
        route.was_followed();
        plan.external_interface = Some(name);
        true
    }

    /// Installs the plan, in place of whatever there is.
    async fn put_in_place(&mut self) -> Result<(), FirewallError> {
        let Some(plan) = &self.plan else {
            return Ok(());
        };
        self.status.set_nat_missing(true);
        self.installed = None;
        for warning in self.host.firewall().install(plan).await? {
            warn!(err = %warning, "nat");
        }
        let rules = self.host.firewall().installed(&plan.tun).await?;
        // Rules that another program flushed at once are put back by the next check.
        self.installed = rules.has_tables().then(|| (rules, Instant::now()));
        self.tell_health();
        Ok(())
    }

    /// Says in `/healthz` and the metrics whether clients reach what lies behind the server.
    fn tell_health(&self) {
        let Some(plan) = &self.plan else {
            return;
        };
        let works = self.installed.is_some()
            && plan.external_interface.is_some()
            && self.host.firewall().forwards();
        self.status.set_nat_missing(!works);
    }

    /// Follows the default route, and finds out what is not as it was put in place.
    pub(super) async fn check(&mut self, changes: Changes) -> Vec<NatFault> {
        let mut faults = Vec::new();
        if self.plan.is_none() {
            return faults;
        }
        if self.follow_default_route(changes).await
            && let Err(error) = self.put_in_place().await
        {
            error!(err = %error, "nat");
        }
        if self.forwards && !self.host.firewall().forwards() {
            faults.push(NatFault::Forwarding);
        }
        if !self.is_in_place().await {
            self.installed = None;
            faults.push(NatFault::Rules);
        }
        self.tell_health();
        self.look_at_others().await;
        faults
    }

    async fn is_in_place(&mut self) -> bool {
        let (Some(plan), Some((rules, read))) = (&self.plan, &mut self.installed) else {
            return false;
        };
        if rules.is_current() && read.elapsed() < READ_EVERY {
            return true;
        }
        match self.host.firewall().installed(&plan.tun).await {
            Ok(now) if now.has_same_rules(rules) => {
                (*rules, *read) = (now, Instant::now());
                true
            }
            Ok(_) => false,
            Err(error) => {
                // Nothing is known, so nothing is changed.
                debug!(err = %error, "nat: the rules cannot be read");
                true
            }
        }
    }

    /// Puts back what [`check`](Self::check) found.
    ///
    /// # Errors
    /// [`FirewallError`] or [`SysctlError`](qdt_host::SysctlError).
    pub(super) async fn restore(
        &mut self,
        fault: NatFault,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        match fault {
            NatFault::Rules => self.put_in_place().await?,
            NatFault::Forwarding => {
                self.host.firewall().enable_forwarding()?;
                self.tell_health();
            }
        }
        Ok(())
    }

    /// Tells of chains of others that drop what goes through the tunnel, each once while it is
    /// there.
    async fn look_at_others(&mut self) {
        let (Some(plan), Some((rules, _))) = (&self.plan, &self.installed) else {
            return;
        };
        let asked = self.others_asked;
        if self.others.as_ref() == Some(rules)
            || asked.is_some_and(|asked| asked.elapsed() < READ_OTHERS_EVERY)
        {
            return;
        }
        let rules = rules.clone();
        self.others_asked = Some(Instant::now());
        match self.host.firewall().closed_chains(plan).await {
            Ok(found) => {
                let found: HashSet<_> = found.into_iter().collect();
                for chain in found.difference(&self.closed) {
                    warn!(err = %chain, "nat");
                }
                self.closed = found;
                self.others = Some(rules);
            }
            Err(error) => {
                debug!(err = %error, "nat: chains of others cannot be read");
            }
        }
    }

    /// The device whose rules there are; `None` where NAT is not asked for.
    pub(super) fn device(&self) -> Option<&str> {
        self.plan.as_ref().map(|plan| plan.tun.as_str())
    }
}

/// Takes the rules of the device `tun` out of `host`.
pub(super) async fn remove(host: &impl Host, tun: &str) {
    if let Err(error) = host.firewall().remove(tun).await {
        error!(err = %error, "nat cleanup failed");
    }
}

#[cfg(test)]
mod tests;
