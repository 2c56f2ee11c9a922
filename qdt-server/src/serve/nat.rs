//! What the server puts into the host's firewall, and that it takes it out again.

use ipnet::Ipv4Net;
use qdt_host::{
    Firewall as _, FirewallError, HostFirewall, NatPlan, default_route_interface, sysctl,
};
use tracing::{error, info, warn};

use crate::config::ServerConfig;

/// The rules of one run.
#[derive(Debug)]
pub(super) struct Nat {
    tun: String,
    installed: bool,
}

impl Nat {
    /// Removes what a killed run left and installs what `config` asks for.
    ///
    /// # Errors
    /// [`FirewallError`] if rules that are asked for cannot be installed.
    pub(super) async fn install(
        config: &ServerConfig,
        tun: &str,
        pool: Ipv4Net,
    ) -> Result<Self, FirewallError> {
        match HostFirewall.remove_leftovers(tun).await {
            Ok(()) => {}
            // Without nft nothing of ours can be there, and without NAT nothing is needed.
            Err(FirewallError::NftMissing) if config.nat.is_none() => {}
            Err(error) => warn!(err = %error, "nat cleanup failed"),
        }
        let mut nat = Self {
            tun: tun.to_owned(),
            installed: false,
        };
        let Some(asked) = &config.nat else {
            return Ok(nat);
        };
        let external_interface = match &asked.external_iface {
            Some(name) => name.clone(),
            None => match default_route().await {
                Some(name) => {
                    info!(
                        external_iface = name,
                        "nat: using the interface of the default route"
                    );
                    name
                }
                None => {
                    warn!(
                        err =
                            "no default route and nat.external_iface is empty; name the interface",
                        "nat is off"
                    );
                    return Ok(nat);
                }
            },
        };
        let plan = NatPlan {
            tun: tun.to_owned(),
            pool,
            external_interface: Some(external_interface),
            client_to_client: config.client_to_client,
        };
        for warning in HostFirewall.install(&plan).await? {
            warn!(err = %warning, "nat");
        }
        nat.installed = true;
        // Clients that reach the gateway but nothing behind it are better than none at all.
        if let Err(error) = sysctl::enable_ip_forward() {
            error!(err = %error, "enable ip forwarding failed");
        }
        Ok(nat)
    }

    /// Takes the rules out.
    pub(super) async fn remove(&self) {
        if self.installed
            && let Err(error) = HostFirewall.remove(&self.tun).await
        {
            error!(err = %error, "nat cleanup failed");
        }
    }
}

async fn default_route() -> Option<String> {
    default_route_interface().await.unwrap_or_else(|error| {
        warn!(err = %error, "the default route cannot be read");
        None
    })
}
