//! Policy routing of a client through rtnetlink.
//!
//! `desired` computes the rules and routes of a plan.
//!
//! Invariants: installation adds routes before rules, removal deletes rules before routes, so no
//! rule ever leads to an empty table and no traffic of the tunnel leaks. Restoration adds missing
//! parts and follows the networks that the host is connected to; it changes nothing where no part
//! is missing.

use std::{collections::HashSet, io, net::IpAddr};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::{
    IpVersion,
    packet_route::{
        AddressFamily,
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType},
        rule::{RuleAttribute, RuleMessage},
    },
};

use super::{
    address_guard, default_route, desired,
    identity::RouteIdentity,
    inbound, leftover_tables, links, overlaps, owner, presence, reverse_path,
    rtnl::{Rtnl, is_any, list_routes_request, os_error},
    surroundings::{self, Surroundings},
};
use crate::{
    firewall::FirewallError,
    routes::{Restored, RouteError, RoutePlan, RouteWarning, Routes},
};

/// The routes of this host's clients.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostRoutes;

impl Routes for HostRoutes {
    async fn install(&self, plan: &RoutePlan) -> Result<Vec<RouteWarning>, RouteError> {
        let installed = install(plan).await;
        if installed.is_err() {
            // Return the first error; the next start removes what this one cannot.
            let _ = self.remove(&plan.tun).await;
        }
        installed
    }

    async fn restore(&self, plan: &RoutePlan) -> Restored {
        let mut restored = Restored::default();
        restored.failure = restore(plan, &mut restored).await.err();
        restored
    }

    async fn remove(&self, tun: &str) -> Result<(), RouteError> {
        crate::check_interface_name(tun)?;
        let identity = RouteIdentity::of(tun);
        let rtnl = Rtnl::connect().map_err(failed(tun, "connect to rtnetlink"))?;
        remove(&rtnl, tun, |found| found == identity).await?;
        inbound::remove(tun).await;
        reverse_path::remove(tun).await;
        address_guard::remove(tun).await;
        Ok(())
    }

    async fn remove_leftovers(&self, tun: &str) -> Result<(), RouteError> {
        crate::check_interface_name(tun)?;
        let rtnl = Rtnl::connect().map_err(failed(tun, "connect to rtnetlink"))?;
        let routes = list_our_routes(&rtnl, tun).await?;
        let live: HashSet<_> = routes
            .iter()
            // Routes without a device outlive the tunnel.
            .filter(|route| default_route::output(route).is_some())
            .filter_map(table)
            .collect();
        let own = RouteIdentity::of(tun);
        remove(&rtnl, tun, |found| {
            // A running client has no routes while its device is down.
            found == own || (!live.contains(&found.table()) && !owner::is_owned(found))
        })
        .await?;
        let removed = leftover_tables::remove(tun).await;
        removed.map_err(table_failed(tun, "remove nftables tables of a killed run"))
    }
}

async fn install(plan: &RoutePlan) -> Result<Vec<RouteWarning>, RouteError> {
    let tun = plan.tun.as_str();
    let (rtnl, index, surroundings) = read_surroundings(tun).await?;
    check_address_conflict(&rtnl, plan, index, &surroundings).await?;
    let mut warnings = address_guard::install(tun, plan.address).await;
    warnings.extend(reverse_path::install(tun).await);
    warnings.extend(overlaps::warnings(plan, &surroundings));
    if needs_inbound_mark(plan, &surroundings) {
        warnings.extend(inbound::install(plan).await);
    } else {
        inbound::remove(tun).await;
    }

    let desired = Desired::new(plan, index, &surroundings);
    for route in &desired.routes {
        write_route(&rtnl, tun, route.clone()).await?;
    }
    for rule in &desired.rules {
        add_rule(&rtnl, tun, rule.clone()).await?;
    }
    let rules = list_our_rules(&rtnl, tun).await?;
    let routes = list_our_routes(&rtnl, tun).await?;
    remove_stale(&rtnl, tun, &desired, rules, routes).await?;
    Ok(warnings)
}

/// Restores missing parts of `plan` and records them in `restored`.
async fn restore(plan: &RoutePlan, restored: &mut Restored) -> Result<(), RouteError> {
    let tun = plan.tun.as_str();
    let (rtnl, index, surroundings) = read_surroundings(tun).await?;
    restored.warnings = overlaps::warnings(plan, &surroundings);
    let asked = needs_inbound_mark(plan, &surroundings);
    inbound::restore(plan, asked, restored).await;

    let desired = Desired::new(plan, index, &surroundings);
    // Runs every few seconds, so one dump of the routes and one of the rules have to suffice.
    // Routes written below are desired, hence never stale.
    let routes = surroundings.ours;
    for route in &desired.routes {
        if !routes.iter().any(|old| presence::is_route(route, old)) {
            write_route(&rtnl, tun, route.clone()).await?;
            let parts = &mut restored.parts;
            parts.push(format!("route {}", destination(route).unwrap_or_default()));
        }
    }
    let rules = list_our_rules(&rtnl, tun).await?;
    for rule in &desired.rules {
        let mut present = rules.iter();
        if !present.any(|old| presence::is_rule(rule, old))
            && add_rule(&rtnl, tun, rule.clone()).await?
        {
            match desired::exempt_network(rule) {
                Some(network) => restored.exempted.push(network),
                None => restored.parts.push(desired::describe(rule)),
            }
        }
    }
    remove_stale(&rtnl, tun, &desired, rules, routes).await?;
    restore_tables(plan, &mut restored.parts).await
}

/// Returns a connection to the kernel, the index of the device and the host's surroundings.
async fn read_surroundings(tun: &str) -> Result<(Rtnl, u32, Surroundings), RouteError> {
    crate::check_interface_name(tun)?;
    let rtnl = Rtnl::connect().map_err(failed(tun, "connect to rtnetlink"))?;
    let index = links::index_of(&rtnl, tun)
        .await
        .map_err(failed(tun, "find the device"))?;
    let surroundings = surroundings::read(&rtnl, index)
        .await
        .map_err(failed(tun, "list routes"))?;
    Ok((rtnl, index, surroundings))
}

/// Restores missing nftables tables where the kernel can list them and `nft` exists. Where they
/// could not be installed, `install` returned a warning.
async fn restore_tables(plan: &RoutePlan, restored: &mut Vec<String>) -> Result<(), RouteError> {
    let tun = plan.tun.as_str();
    let guard = address_guard::tables(tun, plan.address);
    let mark = reverse_path::table(tun);
    if mark.is_some() {
        // `install` returned a warning where this fails.
        let _ = reverse_path::use_mark();
    }
    for table in guard.into_iter().chain(mark) {
        if table.is_complete().unwrap_or(true) {
            continue;
        }
        match table.install().await {
            Ok(()) => restored.push(table.to_string()),
            Err(FirewallError::NftMissing) => {}
            Err(error) => {
                return Err(table_failed(tun, &format!("put back the {table}"))(error));
            }
        }
    }
    Ok(())
}

/// The desired routes and rules of a plan.
struct Desired {
    identity: RouteIdentity,
    routes: Vec<RouteMessage>,
    rules: Vec<RuleMessage>,
}

impl Desired {
    fn new(plan: &RoutePlan, index: u32, surroundings: &Surroundings) -> Self {
        Self {
            identity: RouteIdentity::of(&plan.tun),
            routes: desired::routes(plan, index),
            rules: desired::rules(plan, &surroundings.local),
        }
    }
}

/// Removes rules and routes of this tunnel that the plan does not contain.
async fn remove_stale(
    rtnl: &Rtnl,
    tun: &str,
    desired: &Desired,
    rules: Vec<RuleMessage>,
    routes: Vec<RouteMessage>,
) -> Result<(), RouteError> {
    for old in rules {
        let mut rules = desired.rules.iter();
        let kept = rules.any(|rule| presence::is_rule(rule, &old));
        if identity_of(&old) == Some(desired.identity) && !kept {
            delete_rule(rtnl, tun, old).await?;
        }
    }
    for old in routes {
        let mut routes = desired.routes.iter();
        let kept = routes.any(|route| presence::is_route(route, &old));
        if table(&old) == Some(desired.identity.table()) && !kept {
            delete_route(rtnl, tun, old).await?;
        }
    }
    Ok(())
}

async fn write_route(rtnl: &Rtnl, tun: &str, route: RouteMessage) -> Result<(), RouteError> {
    let step = step(&route);
    let added = rtnl.handle.route().add(route).replace().execute().await;
    added.map_err(os_error).map_err(failed(tun, &step))
}

/// Adds a rule; returns `false` when an equal one exists.
async fn add_rule(rtnl: &Rtnl, tun: &str, rule: RuleMessage) -> Result<bool, RouteError> {
    let mut add = rtnl.handle.rule().add().v4();
    *add.message_mut() = rule;
    match add.execute().await.map_err(os_error) {
        Ok(()) => Ok(true),
        Err(error) if is_any(&error, &[libc::EEXIST]) => Ok(false),
        Err(error) => Err(failed(tun, "add a routing rule")(error)),
    }
}

/// Returns whether replies to connections from outside need a mark: where the plan has a default
/// route and the host has a public address outside our tunnels.
fn needs_inbound_mark(plan: &RoutePlan, surroundings: &Surroundings) -> bool {
    let outside = |index: &u32| !surroundings.devices.contains(index);
    let mut addresses = surroundings.addresses.iter();
    desired::takes_everything(plan)
        && addresses.any(|(index, address)| outside(index) && inbound::is_public(*address))
}

/// Fails where another interface has the tunnel's address: packets to one of the two would be
/// lost.
async fn check_address_conflict(
    rtnl: &Rtnl,
    plan: &RoutePlan,
    own: u32,
    surroundings: &Surroundings,
) -> Result<(), RouteError> {
    let taken = |on: &&(u32, IpAddr)| on.0 != own && on.1 == plan.address;
    for (index, _) in surroundings.addresses.iter().filter(taken) {
        match links::name_of(rtnl, *index).await {
            Ok(interface) if interface != "lo" => {
                return Err(RouteError::AddressTaken {
                    tun: plan.tun.clone(),
                    address: plan.address,
                    interface,
                });
            }
            // The interface was removed concurrently.
            _ => {}
        }
    }
    Ok(())
}

/// Describes the installation of a route, for an error.
fn step(route: &RouteMessage) -> String {
    let network = destination(route).unwrap_or_default();
    if route.header.kind == RouteType::Throw {
        format!("keep {network} out of the tunnel")
    } else {
        format!("route {network} into the tunnel")
    }
}

/// Removes the rules and routes of every identity that `ours` accepts.
async fn remove(
    rtnl: &Rtnl,
    tun: &str,
    ours: impl Fn(RouteIdentity) -> bool + Send,
) -> Result<(), RouteError> {
    for rule in list_our_rules(rtnl, tun).await? {
        if identity_of(&rule).is_some_and(&ours) {
            delete_rule(rtnl, tun, rule).await?;
        }
    }
    for route in list_our_routes(rtnl, tun).await? {
        let identity = table(&route).and_then(RouteIdentity::of_table);
        if identity.is_some_and(&ours) {
            delete_route(rtnl, tun, route).await?;
        }
    }
    Ok(())
}

/// Lists the IPv4 rules with our protocol number and one of our tables or priorities.
async fn list_our_rules(rtnl: &Rtnl, tun: &str) -> Result<Vec<RuleMessage>, RouteError> {
    let all = rtnl.handle.rule().get(IpVersion::V4).execute();
    let all: Result<Vec<_>, _> = all.try_collect().await.map_err(os_error);
    let mut rules = all.map_err(failed(tun, "list rules"))?;
    rules.retain(|rule| identity_of(rule).is_some());
    Ok(rules)
}

/// Returns the tunnel that a rule belongs to; `None` for a foreign rule.
fn identity_of(rule: &RuleMessage) -> Option<RouteIdentity> {
    let ours = RuleAttribute::Protocol(RouteProtocol::Other(RouteIdentity::PROTOCOL));
    if !rule.attributes.contains(&ours) {
        return None;
    }
    let mut attributes = rule.attributes.iter();
    let table = attributes.find_map(|attribute| match attribute {
        RuleAttribute::Table(table) => RouteIdentity::of_table(*table),
        _ => None,
    });
    // Rules that look up the main table are recognised by their priority.
    table.or_else(|| RouteIdentity::of_priority(priority(rule)?))
}

fn priority(rule: &RuleMessage) -> Option<u32> {
    let mut attributes = rule.attributes.iter();
    attributes.find_map(|attribute| match attribute {
        RuleAttribute::Priority(priority) => Some(*priority),
        _ => None,
    })
}

async fn delete_rule(rtnl: &Rtnl, tun: &str, rule: RuleMessage) -> Result<(), RouteError> {
    let deleted = rtnl.handle.rule().del(rule).execute().await;
    match deleted.map_err(os_error) {
        Err(error) if is_any(&error, &[libc::ENOENT]) => Ok(()),
        other => other.map_err(failed(tun, "delete a routing rule")),
    }
}

/// Lists the IPv4 routes of every table.
pub(super) async fn list_routes(rtnl: &Rtnl) -> io::Result<Vec<RouteMessage>> {
    let request = list_routes_request(AddressFamily::Inet);
    let all = rtnl.handle.route().get(request).execute();
    all.try_collect().await.map_err(os_error)
}

/// Lists the IPv4 routes with our protocol number.
async fn list_our_routes(rtnl: &Rtnl, tun: &str) -> Result<Vec<RouteMessage>, RouteError> {
    let all = list_routes(rtnl).await;
    let mut routes = all.map_err(failed(tun, "list routes"))?;
    routes.retain(is_ours);
    Ok(routes)
}

/// Returns whether a route has our protocol number.
pub(super) fn is_ours(route: &RouteMessage) -> bool {
    route.header.protocol == RouteProtocol::Other(RouteIdentity::PROTOCOL)
}

pub(super) fn table(route: &RouteMessage) -> Option<u32> {
    let mut attributes = route.attributes.iter();
    attributes.find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    })
}

pub(super) fn destination(route: &RouteMessage) -> Option<IpNet> {
    let mut attributes = route.attributes.iter();
    let address = attributes.find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some((*address).into()),
        _ => None,
    });
    // The kernel names no destination of a default route.
    let address = address.unwrap_or_else(|| IpNet::default().addr());
    IpNet::new(address, route.header.destination_prefix_length).ok()
}

async fn delete_route(rtnl: &Rtnl, tun: &str, route: RouteMessage) -> Result<(), RouteError> {
    let deleted = rtnl.handle.route().del(route).execute().await;
    match deleted.map_err(os_error) {
        Err(error) if is_any(&error, &[libc::ESRCH]) => Ok(()),
        other => other.map_err(failed(tun, "delete a route")),
    }
}

fn failed(tun: &str, step: &str) -> impl FnOnce(io::Error) -> RouteError {
    let (tun, step) = (tun.to_owned(), step.to_owned());
    move |source| match source.raw_os_error() {
        Some(libc::ENODEV) => RouteError::TunMissing { tun },
        Some(libc::EPERM | libc::EACCES) => RouteError::Permission { tun, step },
        _ => RouteError::Kernel { tun, step, source },
    }
}

fn table_failed(tun: &str, step: &str) -> impl FnOnce(FirewallError) -> RouteError {
    let (tun, step) = (tun.to_owned(), step.to_owned());
    move |source| RouteError::Table { tun, step, source }
}
