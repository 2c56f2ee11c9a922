//! Warnings about networks that both the tunnel and its host have.

use super::{
    desired::{destinations, takes_everything},
    identity::RouteIdentity,
    surroundings::Surroundings,
};
use crate::routes::{RoutePlan, RouteWarning};

/// Returns one warning for each network of the host, each other tunnel and each wide route that
/// overlaps the tunnel's networks.
pub(super) fn warnings(plan: &RoutePlan, surroundings: &Surroundings) -> Vec<RouteWarning> {
    let mut found = Vec::new();
    let networks = destinations(plan);
    let networks = networks.iter().filter(|network| network.prefix_len() > 0);
    for reached in &surroundings.local {
        let overlap = networks.clone().find(|n| reached.is_exempt_from(**n));
        found.extend(overlap.map(|network| RouteWarning::Overlap {
            network: *network,
            other: reached.network,
            interface: reached.interface.clone(),
        }));
    }
    for (identity, reached) in &surroundings.tunnels {
        let shared = destinations(plan).into_iter().find(|network| {
            let both = [network.prefix_len(), reached.network.prefix_len()];
            let one_holds_the_other =
                network.contains(&reached.network) || reached.network.contains(network);
            one_holds_the_other && (both == [0, 0] || !both.contains(&0))
        });
        let own = RouteIdentity::of(&plan.tun);
        found.extend(shared.map(|network| RouteWarning::OtherTunnel {
            network,
            other: reached.network,
            interface: reached.interface.clone(),
            winner: if own.networks_priority() < identity.networks_priority() {
                plan.tun.clone()
            } else {
                reached.interface.clone()
            },
        }));
    }
    if takes_everything(plan) {
        found.extend(
            surroundings
                .wide
                .iter()
                .map(|reached| RouteWarning::WideRoute {
                    network: reached.network,
                    interface: reached.interface.clone(),
                }),
        );
    }
    found.dedup();
    found
}
