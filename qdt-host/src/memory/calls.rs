//! The configuration traits of the host in memory: each call is recorded, then done or failed.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{HostState, LinkState, MemoryHost};
use crate::{
    ClosedChain, Dns, DnsError, DnsPlan, DnsRepair, Firewall, FirewallError, FirewallWarning,
    HostResolvers, InstalledRules, LinkError, LinkStatus, Links, NatPlan, Restored, RouteError,
    RoutePlan, RouteWarning, Routes, SysctlError, TunSpec,
};

/// One call of a trait method, with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each variant is the trait method of the same name"
)]
pub enum Call {
    OpenTun(TunSpec),
    SetAddress(String, IpNet),
    SetMtu(String, u32),
    SetUp(String),
    InstallRoutes(RoutePlan),
    RestoreRoutes(RoutePlan),
    RemoveRoutes(String),
    RemoveLeftoverRoutes(String),
    InstallNat(NatPlan),
    RemoveNat(String),
    RemoveLeftoverNat(String),
    EnableForwarding,
    DeleteFlows(Vec<IpAddr>),
    InstallDns(DnsPlan),
    RemoveDns(String),
    RestoreLeftoverDns(String),
}

impl Call {
    /// Returns the name of this call for [`MemoryHost::fail_next`].
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::OpenTun(..) => "open_tun",
            Self::SetAddress(..) => "set_address",
            Self::SetMtu(..) => "set_mtu",
            Self::SetUp(..) => "set_up",
            Self::InstallRoutes(..) => "install_routes",
            Self::RestoreRoutes(..) => "restore_routes",
            Self::RemoveRoutes(..) => "remove_routes",
            Self::RemoveLeftoverRoutes(..) => "remove_leftover_routes",
            Self::InstallNat(..) => "install_nat",
            Self::RemoveNat(..) => "remove_nat",
            Self::RemoveLeftoverNat(..) => "remove_leftover_nat",
            Self::EnableForwarding => "enable_forwarding",
            Self::DeleteFlows(..) => "delete_flows",
            Self::InstallDns(..) => "install_dns",
            Self::RemoveDns(..) => "remove_dns",
            Self::RestoreLeftoverDns(..) => "restore_leftover_dns",
        }
    }
}

impl MemoryHost {
    fn link(
        &self,
        call: Call,
        interface: &str,
        edit: impl FnOnce(&mut LinkState),
    ) -> Result<(), LinkError> {
        let step = call.name().to_owned();
        let mut inner = self.enter(call).map_err(|_| LinkError::Permission {
            interface: interface.to_owned(),
            step,
        })?;
        edit(inner.state.links.entry(interface.to_owned()).or_default());
        Ok(())
    }

    fn routes(
        &self,
        call: Call,
        tun: &str,
        edit: impl FnOnce(&mut HostState),
    ) -> Result<(), RouteError> {
        let step = call.name().to_owned();
        let tun = tun.to_owned();
        let mut inner = self
            .enter(call)
            .map_err(|_| RouteError::Permission { tun, step })?;
        edit(&mut inner.state);
        Ok(())
    }

    fn nat(&self, call: Call, edit: impl FnOnce(&mut HostState)) -> Result<(), FirewallError> {
        let (program, message) = ("nft", call.name().to_owned());
        let mut inner = self
            .enter(call)
            .map_err(|_| FirewallError::Permission { program, message })?;
        edit(&mut inner.state);
        Ok(())
    }

    fn dns(&self, call: Call, edit: impl FnOnce(&mut HostState)) -> Result<(), DnsError> {
        let mut inner = self
            .enter(call)
            .map_err(|source| DnsError::Run { source })?;
        edit(&mut inner.state);
        Ok(())
    }
}

impl Links for MemoryHost {
    async fn set_address(&self, interface: &str, address: IpNet) -> Result<(), LinkError> {
        let call = Call::SetAddress(interface.to_owned(), address);
        self.link(call, interface, |link| link.address = Some(address))
    }

    async fn set_mtu(&self, interface: &str, mtu: u32) -> Result<(), LinkError> {
        let call = Call::SetMtu(interface.to_owned(), mtu);
        self.link(call, interface, |link| link.mtu = Some(mtu))
    }

    /// Reads only, so records no [`Call`].
    async fn status(&self, interface: &str) -> Result<LinkStatus, LinkError> {
        let state = self.state();
        let link = state.links.get(interface).ok_or(LinkError::Missing {
            interface: interface.to_owned(),
        })?;
        Ok(LinkStatus {
            addresses: link.address.into_iter().collect(),
            mtu: link.mtu.unwrap_or_default(),
            up: link.up,
        })
    }

    async fn set_up(&self, interface: &str) -> Result<(), LinkError> {
        self.link(Call::SetUp(interface.to_owned()), interface, |link| {
            link.up = true;
        })
    }
}

impl Routes for MemoryHost {
    async fn install(&self, plan: &RoutePlan) -> Result<Vec<RouteWarning>, RouteError> {
        self.routes(Call::InstallRoutes(plan.clone()), &plan.tun, |host| {
            host.routes.insert(plan.tun.clone(), plan.clone());
        })?;
        Ok(self.state().route_warnings)
    }

    /// Records no [`Call`] where nothing is missing. Returns
    /// [`super::HostState::missing_exemptions`] as exempted.
    async fn restore(&self, plan: &RoutePlan) -> Restored {
        // Taken first: a guard within the literal would live as long as all of it.
        let exempted = std::mem::take(&mut self.lock().state.missing_exemptions);
        let mut restored = Restored {
            parts: Vec::new(),
            exempted,
            warnings: self.state().route_warnings,
            failure: None,
        };
        if self.state().routes.get(&plan.tun) == Some(plan) {
            return restored;
        }
        let done = self.routes(Call::RestoreRoutes(plan.clone()), &plan.tun, |host| {
            host.routes.insert(plan.tun.clone(), plan.clone());
        });
        match done {
            Ok(()) => restored.parts.push("routes".to_owned()),
            Err(error) => restored.failure = Some(error),
        }
        restored
    }

    async fn remove(&self, tun: &str) -> Result<(), RouteError> {
        self.routes(Call::RemoveRoutes(tun.to_owned()), tun, |host| {
            host.routes.remove(tun);
        })
    }

    async fn remove_leftovers(&self, tun: &str) -> Result<(), RouteError> {
        self.routes(Call::RemoveLeftoverRoutes(tun.to_owned()), tun, |host| {
            host.routes.remove(tun);
        })
    }
}

/// The plan that was installed. A host in memory has no generation counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryRules(Option<NatPlan>);

impl InstalledRules for MemoryRules {
    fn is_current(&self) -> bool {
        false
    }

    fn has_tables(&self) -> bool {
        self.0.is_some()
    }

    fn has_same_rules(&self, other: &Self) -> bool {
        self == other
    }
}

impl Firewall for MemoryHost {
    type Rules = MemoryRules;

    async fn install(&self, plan: &NatPlan) -> Result<Vec<FirewallWarning>, FirewallError> {
        self.nat(Call::InstallNat(plan.clone()), |host| {
            host.nat.insert(plan.tun.clone(), plan.clone());
        })?;
        Ok(Vec::new())
    }

    async fn remove(&self, tun: &str) -> Result<(), FirewallError> {
        self.nat(Call::RemoveNat(tun.to_owned()), |host| {
            host.nat.remove(tun);
        })
    }

    async fn remove_leftovers(&self, tun: &str) -> Result<(), FirewallError> {
        self.nat(Call::RemoveLeftoverNat(tun.to_owned()), |host| {
            host.nat.remove(tun);
        })
    }

    async fn installed(&self, tun: &str) -> Result<MemoryRules, FirewallError> {
        Ok(MemoryRules(self.state().nat.get(tun).cloned()))
    }

    async fn closed_chains(&self, _: &NatPlan) -> Result<Vec<ClosedChain>, FirewallError> {
        Ok(self.state().closed_chains)
    }

    fn enable_forwarding(&self) -> Result<(), SysctlError> {
        let mut inner = self
            .enter(Call::EnableForwarding)
            .map_err(|source| SysctlError {
                path: "/proc/sys/net/ipv4/ip_forward".into(),
                value: "1".to_owned(),
                source,
            })?;
        inner.state.forwards = true;
        Ok(())
    }

    fn forwards(&self) -> bool {
        self.state().forwards
    }
}

impl Dns for MemoryHost {
    async fn install(&self, plan: &DnsPlan) -> Result<(), DnsError> {
        self.dns(Call::InstallDns(plan.clone()), |host| {
            host.dns.insert(plan.tun.clone(), plan.servers.clone());
        })
    }

    async fn remove(&self, tun: &str) -> Result<(), DnsError> {
        self.dns(Call::RemoveDns(tun.to_owned()), |host| {
            host.dns.remove(tun);
        })
    }

    async fn restore_leftovers(&self, tun: &str) -> Result<(), DnsError> {
        self.dns(Call::RestoreLeftoverDns(tun.to_owned()), |host| {
            host.dns.remove(tun);
        })
    }

    /// Records a call (`install`) only where something is missing.
    async fn check_and_repair(&self, plan: &DnsPlan) -> Result<Option<DnsRepair>, DnsError> {
        if self.state().dns.get(&plan.tun) == Some(&plan.servers) {
            return Ok(None);
        }
        Dns::install(self, plan).await?;
        Ok(Some(DnsRepair::Installed))
    }

    fn host_resolvers(&self) -> HostResolvers {
        self.state().resolvers
    }
}
