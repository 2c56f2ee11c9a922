//! [`Host`] for Linux: the bundle of this folder's parts.

use super::{
    HostConntrack, HostDns, HostFirewall, HostLinks, HostNetwork, HostRoutes, HostTuns, HostWatch,
    RouteIdentity, TunnelOwner,
};
use crate::{Host, Outside, OwnerError, OwnerWarning};

/// The machine as the network namespace of the calling thread shows it.
#[derive(Debug, Clone, Default)]
pub struct LinuxHost {
    dns: HostDns,
}

impl Host for LinuxHost {
    type Tun = HostTuns;
    type Links = HostLinks;
    type Network = HostNetwork;
    type Routes = HostRoutes;
    type Dns = HostDns;
    type Firewall = HostFirewall;
    type Conntrack = HostConntrack;
    type Watch = HostWatch;
    type Owner = TunnelOwner;

    fn tun(&self) -> &HostTuns {
        &HostTuns
    }

    fn links(&self) -> &HostLinks {
        &HostLinks
    }

    fn network(&self) -> &HostNetwork {
        &HostNetwork
    }

    fn routes(&self) -> &HostRoutes {
        &HostRoutes
    }

    fn dns(&self) -> &HostDns {
        &self.dns
    }

    fn firewall(&self) -> &HostFirewall {
        &HostFirewall
    }

    fn conntrack(&self) -> HostConntrack {
        HostConntrack::open()
    }

    fn watch(&self) -> HostWatch {
        HostWatch::open()
    }

    fn outside(&self, tun: &str) -> Outside {
        Outside::Mark(RouteIdentity::of(tun).mark())
    }

    fn claim(&self, tun: &str) -> Result<(TunnelOwner, Option<OwnerWarning>), OwnerError> {
        let owner = TunnelOwner::claim(tun)?;
        let warning = owner.warning().cloned();
        Ok((owner, warning))
    }
}
