//! [`Firewall`] for Linux: one nftables table per address family, and two rules in a closed
//! iptables FORWARD chain.
//!
//! An accept in one table does not undo a drop in another, because netfilter evaluates every base
//! chain of a hook. So where ufw, Docker or an administrator closed the FORWARD chain, our traffic
//! needs rules in that chain. They carry the comment `qdt <device>` and are removed at stop and at
//! the next start. An open chain stays unchanged.

mod closed;
mod generation;
mod iptables;
mod script;

use std::{collections::BTreeSet, path::Path};

use super::{nft, sysctl, tun::exists};
use crate::{
    check_interface_name,
    firewall::{ClosedChain, Firewall, FirewallError, FirewallWarning, InstalledRules, NatPlan},
    sysctl::SysctlError,
};

/// The prefix of table names: `qdt_<device>`.
const TABLE_PREFIX: &str = "qdt";

/// The firewall of this host.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostFirewall;

impl Firewall for HostFirewall {
    type Rules = HostRules;

    async fn install(&self, plan: &NatPlan) -> Result<Vec<FirewallWarning>, FirewallError> {
        check_interface_name(&plan.tun)?;
        if let Some(external) = &plan.external_interface {
            check_interface_name(external)?;
        }
        nft::apply(&script::install(plan, has_ip6())).await?;
        if let Err(error) = iptables::install(plan).await {
            // Do not leave half an installation. Return the first error.
            let _ = self.remove(&plan.tun).await;
            return Err(error);
        }
        let mut warnings = Vec::new();
        if let Some(name) = &plan.external_interface
            && !exists(name)
        {
            let name = name.clone();
            warnings.push(FirewallWarning::ExternalInterfaceMissing { name });
        }
        Ok(warnings)
    }

    async fn remove(&self, tun: &str) -> Result<(), FirewallError> {
        check_interface_name(tun)?;
        // In parallel, since each may take a helper's timeout; a failure of one does not stop the
        // other.
        let (table, rules) =
            tokio::join!(remove_table(tun), iptables::remove(|device| device == tun));
        table.and(rules)
    }

    async fn remove_leftovers(&self, tun: &str) -> Result<(), FirewallError> {
        check_interface_name(tun)?;
        let left = |device: &str| device == tun || !exists(device);
        let tables = match nft::tables_of(&["ip", "ip6"], &[TABLE_PREFIX]).await {
            Err(FirewallError::NftMissing) => Vec::new(),
            other => other?,
        };
        // A device has a table of each family.
        let ours: BTreeSet<_> = tables.into_iter().map(|(_, device)| device).collect();
        for device in ours.iter().filter(|device| left(device)) {
            remove_table(device).await?;
        }
        iptables::remove(left).await
    }

    async fn installed(&self, tun: &str) -> Result<HostRules, FirewallError> {
        check_interface_name(tun)?;
        // Read before the rules, so that a concurrent change shows the next time.
        let generation = generation::read();
        let name = nft::table_name(TABLE_PREFIX, tun);
        let mut tables = [String::new(), String::new()];
        for (family, table) in ["ip", "ip6"].iter().zip(&mut tables) {
            *table = match nft::read(&["-s", "list", "table", family, &name]).await {
                Err(FirewallError::Refused { .. }) => String::new(),
                other => other?,
            };
        }
        Ok(HostRules {
            tables,
            iptables: iptables::summary(tun).await?,
            generation,
        })
    }

    async fn closed_chains(&self, plan: &NatPlan) -> Result<Vec<ClosedChain>, FirewallError> {
        let ours = nft::table_name(TABLE_PREFIX, &plan.tun);
        let chains = nft::read_json(&["list", "chains"]).await?;
        let mut closed = Vec::new();
        for (family, table) in closed::forward_tables(&chains, &ours) {
            let list = ["list", "table", &family, &table];
            match nft::read_json(&list).await {
                Ok(table) => closed.extend(closed::closed_chains(&table, plan)),
                // The table was removed concurrently.
                Err(FirewallError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(closed)
    }

    fn enable_forwarding(&self) -> Result<(), SysctlError> {
        sysctl::ensure("ip_forward", "1")
    }

    fn forwards(&self) -> bool {
        sysctl::read("ip_forward").map_or(true, |value| value != "0")
    }
}

/// A snapshot of the rules of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRules {
    tables: [String; 2],
    iptables: String,
    generation: Option<u32>,
}

impl InstalledRules for HostRules {
    fn is_current(&self) -> bool {
        self.generation.is_some() && self.generation == generation::read()
    }

    fn has_tables(&self) -> bool {
        let [ip, ip6] = &self.tables;
        !ip.is_empty() && (!ip6.is_empty() || !has_ip6())
    }

    fn has_same_rules(&self, other: &Self) -> bool {
        self.tables == other.tables && self.iptables == other.iptables
    }
}

async fn remove_table(tun: &str) -> Result<(), FirewallError> {
    match nft::apply(&script::remove(tun, has_ip6())).await {
        // Without `nft` no table was ever installed.
        Err(FirewallError::NftMissing) => Ok(()),
        other => other,
    }
}

/// Returns whether this kernel has IPv6. Without it nftables may lack the family `ip6`.
fn has_ip6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}
