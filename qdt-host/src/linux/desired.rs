//! The desired routes and rules of a plan, as rtnetlink messages.
//!
//! The rules in the order of their evaluation (with several tunnels, rules 1 and 2 of all precede
//! rules 3 and 4 of any):
//!
//! 1. *Exempt* destinations are looked up in the main table: connected networks (and those reached
//!    through another VPN) that overlap the tunnel's networks.
//! 2. Unmarked packets are looked up in our table, except its default route: the tunnel's own
//!    network and that of `route_mode: cidr`.
//! 3. All packets are looked up in the main table, except its default route, so the LAN stays
//!    reachable (`route_mode: default` only, like rule 4). A route wider than /8 counts as a
//!    default route.
//! 4. Unmarked packets take our table's default route into the tunnel.
//!
//! Rules 2 and 4 do not match marked packets: those of the transport, and replies to connections
//! from outside the tunnel. They reach the administrator's rules and the main table. Rule 4 exempts
//! the marks of other tunnels of qdt-client too, so that no tunnel carries another. Rule 2 does
//! not: a connection that came in through another tunnel is answered through it. Multicast and
//! broadcast of a LAN have `throw` routes in our table: the lookup goes on to the main table, and
//! fails where that has no route.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::{
    RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        route::{RouteMessage, RouteProtocol, RouteScope, RouteType},
        rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
    },
};

use super::identity::RouteIdentity;
use super::surroundings::{RoutedNetwork, SHORTEST_LOCAL_PREFIX};
use crate::routes::{RouteMode, RoutePlan};

/// `RT_TABLE_MAIN`
const MAIN: u32 = 254;
/// Link-local (RFC 5771, section 4) and administratively scoped (RFC 2365) multicast, and limited
/// broadcast: service discovery of a LAN uses them. Octets and prefix length.
const LAN_ONLY: [([u8; 4], u8); 3] = [
    ([224, 0, 0, 0], 24),
    ([239, 0, 0, 0], 8),
    ([255, 255, 255, 255], 32),
];

/// Returns the destinations that go into the tunnel: networks first, the default route last.
pub(super) fn destinations(plan: &RoutePlan) -> Vec<IpNet> {
    let mut all = vec![plan.network.trunc()];
    match plan.mode {
        RouteMode::Default => all.push(everything(plan)),
        RouteMode::Cidr(network) => all.push(network.trunc()),
        RouteMode::None => {}
    }
    all.dedup();
    all
}

/// Returns the network of all addresses of the plan's family.
fn everything(plan: &RoutePlan) -> IpNet {
    IpNet::new_assert(plan.network.addr(), 0).trunc()
}

/// Returns whether the plan has a default route into the tunnel.
pub(super) fn takes_everything(plan: &RoutePlan) -> bool {
    destinations(plan).contains(&everything(plan))
}

/// Returns the routes of our table in the order of their installation. `index` is the device's.
pub(super) fn routes(plan: &RoutePlan, index: u32) -> Vec<RouteMessage> {
    let identity = RouteIdentity::of(&plan.tun);
    let new = |network: IpNet| {
        RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(network.addr(), network.prefix_len())
            .expect("a network's prefix length is one of its family")
            .protocol(RouteProtocol::Other(RouteIdentity::PROTOCOL))
            .table_id(identity.table())
    };
    let lan_only = if takes_everything(plan) {
        &LAN_ONLY[..]
    } else {
        &[]
    };
    let thrown = lan_only
        .iter()
        .map(|(octets, prefix_len)| IpNet::new_assert((*octets).into(), *prefix_len))
        .map(|network| new(network).kind(RouteType::Throw).build());
    // Without a preferred source the kernel uses the device's only address, and the route survives
    // a change of that address.
    let into_tunnel = destinations(plan).into_iter().map(|network| {
        new(network)
            .output_interface(index)
            .scope(RouteScope::Link)
            .build()
    });
    thrown.chain(into_tunnel).collect()
}

/// Returns the rules in the order of their evaluation.
pub(super) fn rules(plan: &RoutePlan, local_networks: &[RoutedNetwork]) -> Vec<RuleMessage> {
    let identity = RouteIdentity::of(&plan.tun);
    let networks = destinations(plan);
    let networks = networks.iter().filter(|network| network.prefix_len() > 0);
    let mut rules = Vec::new();
    for local in local_networks {
        if networks
            .clone()
            .any(|network| local.is_exempt_from(*network))
        {
            let mut exempt = rule(identity.exempt_priority(), MAIN);
            exempt.header.dst_len = local.network.prefix_len();
            let address = local.network.network();
            exempt.attributes.push(RuleAttribute::Destination(address));
            // After the host has left that network, no wider route may take its packets.
            exempt
                .attributes
                .push(suppress_shorter_than(local.network.prefix_len()));
            if !rules.contains(&exempt) {
                rules.push(exempt);
            }
        }
    }
    let mut networks = rule(identity.networks_priority(), identity.table());
    networks.header.flags = RuleFlags::Invert;
    push_mark(&mut networks, identity.mark(), !RouteIdentity::INBOUND);
    networks.attributes.push(suppress_shorter_than(1));
    rules.push(networks);
    if takes_everything(plan) {
        let mut lan = rule(identity.lan_priority(), MAIN);
        lan.attributes
            .push(suppress_shorter_than(SHORTEST_LOCAL_PREFIX));
        rules.push(lan);
        let mut rest = rule(identity.default_priority(), identity.table());
        rest.header.flags = RuleFlags::Invert;
        push_mark(&mut rest, RouteIdentity::ANY_MARK, RouteIdentity::ANY_MASK);
        rules.push(rest);
    }
    rules
}

/// Suppresses routes of the table with a shorter prefix than this.
fn suppress_shorter_than(prefix: u8) -> RuleAttribute {
    RuleAttribute::SuppressPrefixLen(u32::from(prefix) - 1)
}

fn push_mark(rule: &mut RuleMessage, mark: u32, mask: u32) {
    rule.attributes.push(RuleAttribute::FwMark(mark));
    rule.attributes.push(RuleAttribute::FwMask(mask));
}

fn rule(priority: u32, table: u32) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = AddressFamily::Inet;
    rule.header.action = RuleAction::ToTable;
    rule.attributes = vec![
        RuleAttribute::Priority(priority),
        RuleAttribute::Table(table),
        RuleAttribute::Protocol(RouteProtocol::Other(RouteIdentity::PROTOCOL)),
    ];
    rule
}

/// Describes a rule for the log.
pub(super) fn describe(rule: &RuleMessage) -> String {
    let priority = rule.attributes.iter().find_map(|part| match part {
        RuleAttribute::Priority(priority) => Some(*priority),
        _ => None,
    });
    format!("rule {}", priority.unwrap_or_default())
}

/// Returns the network that a rule exempts; `None` for every other rule.
pub(super) fn exempt_network(rule: &RuleMessage) -> Option<IpNet> {
    rule.attributes.iter().find_map(|part| match part {
        RuleAttribute::Destination(to) => IpNet::new(*to, rule.header.dst_len).ok(),
        _ => None,
    })
}
