//! The routes and rules that a plan asks for, as rtnetlink messages.
//!
//! Rules and one table, in the order in which the kernel asks them (of several tunnels, 1 and 2 of
//! all stand before 3 and 4 of any):
//!
//! 1. what is *spared* goes to the main table: networks that the host is connected to (or reaches
//!    through another VPN) where the tunnel's networks overlap them;
//! 2. what is not marked goes where our table has a network (not its default route): the tunnel's
//!    own network and the one of `route_mode: cidr`;
//! 3. everything goes where the main table has anything but a default route: the LAN stays
//!    reachable (`route_mode: default` only, like the next). What is wider than /8 counts as a
//!    default route;
//! 4. what is not marked goes to our table's default route: into the tunnel.
//!
//! Marked packets, those of the tunnel itself and answers to connections that came in from outside
//! it, pass 2 and 4 by: then come the rules of the administrator and the main table. 4 spares those
//! of other tunnels of qdt-client, too, so that two of them never carry each other. 2 of another
//! tunnel spares nothing of this one: what came in through that tunnel is answered there. Multicast
//! and broadcast that stays on a LAN is `throw` in our table: the kernel goes on to the main table
//! and, where that has no route, finds none.

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
use super::near::{Reached, WIDEST};
use crate::routes::{RouteMode, RoutePlan};

/// `RT_TABLE_MAIN`
const MAIN: u32 = 254;
/// Link-local (RFC 5771, section 4) and administratively scoped (RFC 2365) multicast, limited
/// broadcast: the names and services of a LAN are found there.
const LAN_ONLY: [([u8; 4], u8); 3] = [
    ([224, 0, 0, 0], 24),
    ([239, 0, 0, 0], 8),
    ([255, 255, 255, 255], 32),
];

/// What goes into the tunnel: networks first, the default route last.
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

/// Every address of the plan's family.
fn everything(plan: &RoutePlan) -> IpNet {
    IpNet::new_assert(plan.network.addr(), 0).trunc()
}

/// Whether the plan sends everything into the tunnel.
pub(super) fn takes_everything(plan: &RoutePlan) -> bool {
    destinations(plan).contains(&everything(plan))
}

/// The routes of our table, in the order in which they are to be added. `index` is the device's.
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
    // They name no source: the device's one address is taken, and the route stays when that
    // address is replaced by another.
    let into_tunnel = destinations(plan).into_iter().map(|network| {
        new(network)
            .output_interface(index)
            .scope(RouteScope::Link)
            .build()
    });
    thrown.chain(into_tunnel).collect()
}

/// The rules, in the order in which the kernel asks them.
pub(super) fn rules(plan: &RoutePlan, near: &[Reached]) -> Vec<RuleMessage> {
    let identity = RouteIdentity::of(&plan.tun);
    let networks = destinations(plan);
    let networks = networks.iter().filter(|network| network.prefix_len() > 0);
    let mut rules = Vec::new();
    for reached in near {
        if networks
            .clone()
            .any(|network| reached.is_spared_by(*network))
        {
            let mut spared = rule(identity.spared_priority(), MAIN);
            spared.header.dst_len = reached.network.prefix_len();
            let address = reached.network.network();
            spared.attributes.push(RuleAttribute::Destination(address));
            // Where the host has left that network, nothing else may take what was meant for it.
            spared
                .attributes
                .push(no_wider_than(reached.network.prefix_len()));
            if !rules.contains(&spared) {
                rules.push(spared);
            }
        }
    }
    let mut networks = rule(identity.networks_priority(), identity.table());
    networks.header.flags = RuleFlags::Invert;
    push_mark(&mut networks, identity.mark(), !RouteIdentity::INBOUND);
    networks.attributes.push(no_wider_than(1));
    rules.push(networks);
    if takes_everything(plan) {
        let mut lan = rule(identity.lan_priority(), MAIN);
        lan.attributes.push(no_wider_than(WIDEST));
        rules.push(lan);
        let mut rest = rule(identity.default_priority(), identity.table());
        rest.header.flags = RuleFlags::Invert;
        push_mark(&mut rest, RouteIdentity::ANY_MARK, RouteIdentity::ANY_MASK);
        rules.push(rest);
    }
    rules
}

/// Leaves out what the table finds by a route with a shorter prefix than this.
fn no_wider_than(prefix: u8) -> RuleAttribute {
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

/// A rule in a few words, for the log.
pub(super) fn words(rule: &RuleMessage) -> String {
    let priority = rule.attributes.iter().find_map(|part| match part {
        RuleAttribute::Priority(priority) => Some(*priority),
        _ => None,
    });
    format!("rule {}", priority.unwrap_or_default())
}

/// The network that a rule spares; `None` for every other rule.
pub(super) fn spared(rule: &RuleMessage) -> Option<IpNet> {
    rule.attributes.iter().find_map(|part| match part {
        RuleAttribute::Destination(to) => IpNet::new(*to, rule.header.dst_len).ok(),
        _ => None,
    })
}
