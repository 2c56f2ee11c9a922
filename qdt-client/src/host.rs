//! The host's side of a tunnel: applies plans through the traits of `qdt-host`.
//!
//! Invariants: the TUN device is opened once, and addressed by name afterwards; its address is a
//! /32, so that packets enter it by the tunnel's rules only, which exempt the tunnel's own packets.

use ipnet::IpNet;
use qdt_host::{
    DnsPlan, Host, HostResolvers, LinkError, Links, Outside, Restored, RouteError, RoutePlan,
    RouteWarning, Routes, TunOpener, TunQueue, TunSpec,
};

use crate::cause::Cause;
use crate::dns::{Answer, TunnelDns};
use crate::failure::HostFailure;
use crate::plan::TunPlan;

/// A failed clean-up. The texts are those in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CleanUpError {
    /// Of rules or routes.
    #[error(transparent)]
    Routes(Cause),
    /// Of the host's name servers.
    #[error(transparent)]
    Dns(Cause),
}

/// A failed repair. The texts are those in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RepairError {
    /// The device is gone, and nothing works without it.
    #[error(
        "{0}: another program deleted it; find out which one (`ip monitor link`) and start again"
    )]
    Gone(#[source] Cause),
    /// Another error, which may be temporary.
    #[error(transparent)]
    Failed(Cause),
}

/// The result of a check of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Repaired {
    /// The restored parts, for the log.
    pub(crate) restored: Vec<String>,
    /// New warnings.
    pub(crate) warnings: Vec<RouteWarning>,
    /// Earlier warnings that no longer apply.
    pub(crate) cleared: Vec<RouteWarning>,
    /// The error that ended the check.
    pub(crate) failure: Option<RepairError>,
}

impl From<LinkError> for RepairError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Missing { .. } => Self::Gone(Cause::new(error)),
            _ => Self::Failed(Cause::new(error)),
        }
    }
}

impl From<RouteError> for RepairError {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::TunMissing { .. } => Self::Gone(Cause::new(error)),
            _ => Self::Failed(Cause::new(error)),
        }
    }
}

/// The part of the host that a tunnel changes.
#[derive(Debug)]
pub struct TunnelHost<H> {
    name: String,
    host: H,
    dns: TunnelDns<H>,
    /// The plan of the device; it exists once there is one.
    applied: Option<TunPlan>,
    routed: Option<RoutePlan>,
    /// The warnings that were logged, so that each is logged once.
    warned: Vec<RouteWarning>,
}

impl<H: Host> TunnelHost<H> {
    /// Creates the host's side of a tunnel with the device `name`. Changes nothing.
    pub fn new(name: impl Into<String>, host: H) -> Self {
        let name = name.into();
        Self {
            dns: TunnelDns::new(host.clone(), &name),
            name,
            host,
            applied: None,
            routed: None,
            warned: Vec::new(),
        }
    }

    /// Starts to watch the host.
    pub(crate) fn watch(&self) -> H::Watch {
        self.host.watch()
    }

    /// Returns what keeps the tunnel's own sockets outside it.
    pub(crate) fn outside(&self) -> Outside {
        self.host.outside(&self.name)
    }

    /// Removes what a killed run left behind. Continues after an error and returns each.
    pub(crate) async fn remove_leftovers(&self) -> Vec<CleanUpError> {
        let mut failures = Vec::new();
        if let Err(error) = self.host.routes().remove_leftovers(&self.name).await {
            failures.push(CleanUpError::Routes(Cause::new(error)));
        }
        if let Err(cause) = self.dns.restore_leftovers().await {
            failures.push(CleanUpError::Dns(cause));
        }
        failures
    }

    /// Creates the device and returns its queue, the first time; later sets its address and MTU.
    ///
    /// # Errors
    /// [`HostFailure::Tun`]; a device just created is removed then.
    pub(crate) async fn set_tun(
        &mut self,
        plan: &TunPlan,
    ) -> Result<Option<TunQueue>, HostFailure> {
        let is_new = self.applied.is_none();
        let queue = is_new.then(|| self.open_tun()).transpose()?;
        let address = IpNet::from(plan.address.addr());
        let configure = async {
            let links = self.host.links();
            links.set_address(&self.name, address).await?;
            links.set_mtu(&self.name, u32::from(plan.mtu)).await?;
            links.set_up(&self.name).await
        };
        let failed = |error: LinkError| HostFailure::Tun(Cause::new(error));
        configure.await.map_err(failed)?;
        self.applied = Some(plan.clone());
        Ok(queue)
    }

    fn open_tun(&self) -> Result<TunQueue, HostFailure> {
        let spec = TunSpec {
            name: self.name.clone(),
            queues: 1,
            offload: true,
        };
        let tun = self
            .host
            .tun()
            .open(&spec)
            .map_err(|error| HostFailure::Tun(Cause::new(error)))?;
        let queue = tun.queues.into_iter().next();
        let no_queue = || Cause::new(format!("TUN device `{}` has no queue", self.name));
        queue.ok_or_else(|| HostFailure::Tun(no_queue()))
    }

    /// Replaces the routes into the tunnel and returns new warnings.
    ///
    /// # Errors
    /// [`HostFailure::Routes`]; none of our routes is left then.
    pub(crate) async fn set_routes(
        &mut self,
        plan: &RoutePlan,
    ) -> Result<Vec<String>, HostFailure> {
        self.routed = Some(plan.clone());
        match self.host.routes().install(plan).await {
            Ok(warnings) => {
                let new = warnings.iter().filter(|w| !self.warned.contains(w));
                let new = new.map(ToString::to_string).collect();
                self.warned = warnings;
                Ok(new)
            }
            Err(error) => Err(HostFailure::Routes(Cause::new(error))),
        }
    }

    /// Restores what is missing, and follows the networks that the host is connected to.
    pub(crate) async fn repair(&mut self) -> Repaired {
        let mut repaired = Repaired::default();
        repaired.failure = self.put_back(&mut repaired).await.err();
        repaired
    }

    async fn put_back(&mut self, repaired: &mut Repaired) -> Result<(), RepairError> {
        let Some(plan) = &self.applied else {
            return Ok(());
        };
        let restored = &mut repaired.restored;
        let status = self.host.links().status(&self.name).await?;
        let address = IpNet::from(plan.address.addr());
        if !status.addresses.contains(&address) {
            self.host.links().set_address(&self.name, address).await?;
            restored.push(format!("address of {}", self.name));
        }
        if status.mtu != u32::from(plan.mtu) {
            self.host
                .links()
                .set_mtu(&self.name, u32::from(plan.mtu))
                .await?;
            restored.push(format!("mtu {} (was {})", plan.mtu, status.mtu));
        }
        if !status.up {
            self.host.links().set_up(&self.name).await?;
            restored.push(format!("{} up (was down)", self.name));
        }
        match &self.routed {
            Some(plan) => {
                let found = self.host.routes().restore(plan).await;
                self.compare(found, repaired)
            }
            None => Ok(()),
        }
    }

    /// Separates removed parts from the networks that the host has joined or left.
    fn compare(&mut self, found: Restored, repaired: &mut Repaired) -> Result<(), RepairError> {
        repaired.restored.extend(found.parts);
        for network in found.exempted {
            let names = |warning: &RouteWarning| match warning {
                RouteWarning::Overlap { other, .. } => *other == network,
                _ => false,
            };
            // The rule of a known network was removed; a new network is a warning.
            if self.warned.iter().any(names) {
                let part = format!("rule that spares {network}");
                repaired.restored.push(part);
            }
        }
        for warning in &found.warnings {
            if !self.warned.contains(warning) {
                repaired.warnings.push(warning.clone());
            }
        }
        let all_seen = found.failure.is_none();
        let gone = |warning: &mut RouteWarning| {
            all_seen && warning.is_about_networks() && !found.warnings.contains(warning)
        };
        repaired.cleared.extend(self.warned.extract_if(.., gone));
        self.warned.extend(repaired.warnings.iter().cloned());
        found.failure.map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// Removes the routes, where this run has set them.
    ///
    /// # Errors
    /// [`CleanUpError::Routes`].
    pub(crate) async fn remove_routes(&mut self) -> Result<(), CleanUpError> {
        if self.routed.take().is_none() {
            return Ok(());
        }
        let removed = self.host.routes().remove(&self.name).await;
        removed.map_err(|error| CleanUpError::Routes(Cause::new(error)))
    }

    /// Starts to replace the host's name servers; [`TunnelHost::dns_answered`] returns the result.
    pub(crate) fn set_dns(&mut self, plan: &DnsPlan) {
        self.dns.set(plan.clone());
    }

    /// Starts to check that the host still uses the tunnel's name servers, and to restore that;
    /// [`TunnelHost::dns_answered`] returns the result.
    pub(crate) fn check_dns(&mut self) {
        self.dns.check();
    }

    /// Completes when the call in flight does.
    pub(crate) async fn dns_answered(&mut self) -> Answer {
        self.dns.answered().await
    }

    /// Returns the name servers outside the tunnel; `None` while the tunnel has changed nothing.
    #[must_use]
    pub(crate) fn name_servers_outside(&self) -> Option<HostResolvers> {
        self.applied.as_ref().map(|_| self.dns.outside())
    }

    /// Restores the host's own name servers, where this run has replaced them.
    ///
    /// # Errors
    /// [`CleanUpError::Dns`].
    pub(crate) async fn remove_dns(&mut self) -> Result<(), CleanUpError> {
        self.dns.remove().await.map_err(CleanUpError::Dns)
    }
}
