//! Carries plans out on the host, through the seams of `qdt-host`.
//!
//! What always holds here: the TUN device is opened once, its queue is handed on, and everything
//! later goes by its name; the device has one address of its own (/32), so that only the rules of
//! the tunnel, which spare the tunnel's own packets, lead into it.

use ipnet::IpNet;
use qdt_host::{
    DnsPlan, Host, HostResolvers, LinkError, Links, Outside, Restored, RouteError, RoutePlan,
    RouteWarning, Routes, TunOpener, TunQueue, TunSpec,
};

use crate::cause::Cause;
use crate::dns::{Answer, TunnelDns};
use crate::failure::HostFailure;
use crate::plan::TunPlan;

/// What could not be cleaned up; the texts are the log's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CleanUpError {
    /// Rules or routes of ours.
    #[error(transparent)]
    Routes(Cause),
    /// The host's resolvers.
    #[error(transparent)]
    Dns(Cause),
}

/// What could not be put back; the texts are the log's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RepairError {
    /// The device: nothing can be put back without it.
    #[error(
        "{0}: another program deleted it; find out which one (`ip monitor link`) and start again"
    )]
    Gone(#[source] Cause),
    /// Something else, which may work the next time.
    #[error(transparent)]
    Failed(Cause),
}

/// What a check of the host did, and what has changed around the tunnel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Repaired {
    /// What others had removed and is there again, in words for the log.
    pub(crate) restored: Vec<String>,
    /// What the routes cannot help and was not said before.
    pub(crate) warnings: Vec<RouteWarning>,
    /// What was said before and no longer holds.
    pub(crate) settled: Vec<RouteWarning>,
    /// Why not everything could be looked at and put back.
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

/// The host, as far as a tunnel changes it.
#[derive(Debug)]
pub struct TunnelHost<H> {
    name: String,
    host: H,
    dns: TunnelDns<H>,
    /// What the device was last given; it exists from the first time on.
    applied: Option<TunPlan>,
    routed: Option<RoutePlan>,
    /// What was said about the routes, so that it is said once.
    warned: Vec<RouteWarning>,
}

impl<H: Host> TunnelHost<H> {
    /// What a tunnel whose device shall be called `name` changes on `host`. Nothing is changed yet.
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

    /// Watches the host from now on.
    pub(crate) fn watch(&self) -> H::Watch {
        self.host.watch()
    }

    /// What the tunnel's own UDP sockets are given.
    pub(crate) fn outside(&self) -> Outside {
        self.host.outside(&self.name)
    }

    /// Removes what a killed run left behind. Goes on after a failure and reports each.
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

    /// Makes the device, the first time, and hands its queue out; later gives it another address
    /// and MTU.
    ///
    /// # Errors
    /// [`HostFailure::Tun`] in the host's words; a device just made is gone again then.
    pub(crate) async fn set_tun(
        &mut self,
        plan: &TunPlan,
    ) -> Result<Option<TunQueue>, HostFailure> {
        let queue = if self.applied.is_some() {
            None
        } else {
            Some(self.open_tun()?)
        };
        let address = IpNet::from(plan.address.addr());
        let tun = |error: qdt_host::LinkError| HostFailure::Tun(Cause::new(error));
        self.host
            .links()
            .set_address(&self.name, address)
            .await
            .map_err(tun)?;
        self.host
            .links()
            .set_mtu(&self.name, u32::from(plan.mtu))
            .await
            .map_err(tun)?;
        self.host.links().set_up(&self.name).await.map_err(tun)?;
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
        queue.ok_or_else(|| {
            HostFailure::Tun(Cause::new(format!(
                "TUN device `{}` has no queue",
                self.name
            )))
        })
    }

    /// Replaces the routes into the tunnel; what the host cannot help is returned as warnings,
    /// without those that were returned the last time.
    ///
    /// # Errors
    /// [`HostFailure::Routes`] in the host's words; nothing of ours is left then.
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

    /// Looks for what was set and is not there any more, puts it back, and follows the networks
    /// that the host is connected to. Changes nothing where nothing is missing.
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

    /// Tells what others removed from what the host has joined or left.
    fn compare(&mut self, found: Restored, repaired: &mut Repaired) -> Result<(), RepairError> {
        repaired.restored.extend(found.parts);
        for network in found.exempted {
            let names = |warning: &RouteWarning| match warning {
                RouteWarning::Overlap { other, .. } => *other == network,
                _ => false,
            };
            // One that is known has lost its rule; a new one is a warning and nobody's work.
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
        repaired.settled.extend(self.warned.extract_if(.., gone));
        self.warned.extend(repaired.warnings.iter().cloned());
        found.failure.map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// Takes the routes away, where this run has set them.
    ///
    /// # Errors
    /// [`CleanUpError::Routes`] in the host's words.
    pub(crate) async fn remove_routes(&mut self) -> Result<(), CleanUpError> {
        if self.routed.take().is_none() {
            return Ok(());
        }
        let removed = self.host.routes().remove(&self.name).await;
        removed.map_err(|error| CleanUpError::Routes(Cause::new(error)))
    }

    /// Starts to replace the host's resolvers; [`TunnelHost::dns_answered`] tells how it ends.
    pub(crate) fn set_dns(&mut self, plan: &DnsPlan) {
        self.dns.set(plan.clone());
    }

    /// Starts to look whether the host still asks the tunnel's resolvers, and lets it ask them
    /// again where another program changed that; [`TunnelHost::dns_answered`] tells how it ends.
    pub(crate) fn check_dns(&mut self) {
        self.dns.check();
    }

    /// Completes when what was started of the resolvers has ended: what was repaired, or the host's
    /// words (the tunnel works without).
    pub(crate) async fn dns_answered(&mut self) -> Answer {
        self.dns.answered().await
    }

    /// Returns the name servers to ask for what has to be known outside the tunnel; `None` as long
    /// as the tunnel has changed nothing.
    #[must_use]
    pub(crate) fn name_servers_outside(&self) -> Option<HostResolvers> {
        self.applied.as_ref().map(|_| self.dns.outside())
    }

    /// Gives the host its own resolvers back, where this run has replaced them.
    ///
    /// # Errors
    /// [`CleanUpError::Dns`] in the host's words.
    pub(crate) async fn remove_dns(&mut self) -> Result<(), CleanUpError> {
        self.dns.remove().await.map_err(CleanUpError::Dns)
    }
}
