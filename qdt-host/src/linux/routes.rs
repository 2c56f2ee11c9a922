//! Policy routing of a client through rtnetlink.
//!
//! Three rules and one table, in the order in which the kernel asks them:
//!
//! 1. what is not marked goes where our table has a network (not its default route): the tunnel's
//!    own network and the one of `route_mode: cidr`, also where the LAN has a route that covers it;
//! 2. everything goes where the main table has anything but a default route: the LAN stays
//!    reachable (`route_mode: default` only, like the next);
//! 3. what is not marked goes to our table's default route: into the tunnel.
//!
//! Marked packets, those of the tunnel itself, pass 1 and 3 by and end in the main table.
//! Installing writes routes first and rules then, removing goes the other way round, so there is no
//! moment in which a rule leads nowhere or traffic that was in the tunnel leaves beside it.

use std::{collections::HashSet, io, net::Ipv4Addr};

use futures_util::TryStreamExt;
use ipnet::Ipv4Net;
use rtnetlink::{
    IpVersion, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope},
        rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
    },
};

use super::{
    address_guard, links, owner, reverse_path, route_state,
    rtnl::{Rtnl, is_any, os_error},
};
use crate::{
    firewall::FirewallError,
    routes::{RouteError, RouteIdentity, RouteMode, RoutePlan, RouteWarning, Routes},
};

/// `RT_TABLE_MAIN`
const MAIN: u32 = 254;
const EVERYTHING: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0);

/// Routes of this host's clients.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostRoutes;

impl Routes for HostRoutes {
    async fn install(&self, plan: &RoutePlan) -> Result<Vec<RouteWarning>, RouteError> {
        let installed = install(plan).await;
        if installed.is_err() {
            // The first error is the one to tell; what cannot be removed now is found by the next
            // start.
            let _ = self.remove(&plan.tun).await;
        }
        installed
    }

    async fn restore(&self, plan: &RoutePlan) -> Result<Vec<String>, RouteError> {
        restore(plan).await
    }

    async fn remove(&self, tun: &str) -> Result<(), RouteError> {
        crate::check_interface_name(tun)?;
        let identity = RouteIdentity::of(tun);
        let rtnl = Rtnl::connect().map_err(failed(tun, "connect to rtnetlink"))?;
        remove(&rtnl, tun, |found| found == identity).await?;
        reverse_path::remove(tun).await;
        address_guard::remove(tun).await;
        Ok(())
    }

    async fn remove_leftovers(&self, tun: &str) -> Result<(), RouteError> {
        crate::check_interface_name(tun)?;
        let rtnl = Rtnl::connect().map_err(failed(tun, "connect to rtnetlink"))?;
        let live: HashSet<_> = our_routes(&rtnl)
            .await
            .map_err(failed(tun, "list routes"))?
            .iter()
            .filter_map(table)
            .collect();
        let own = RouteIdentity::of(tun);
        remove(&rtnl, tun, |found| {
            // The routes of a running client are gone while its device is down.
            found == own || (!live.contains(&found.table()) && !owner::is_owned(found))
        })
        .await?;
        reverse_path::remove(tun).await;
        address_guard::remove(tun).await;
        Ok(())
    }
}

async fn install(plan: &RoutePlan) -> Result<Vec<RouteWarning>, RouteError> {
    let tun = plan.tun.as_str();
    crate::check_interface_name(tun)?;
    let rtnl = Rtnl::connect().map_err(failed(tun, "connect to rtnetlink"))?;
    let index = links::index_of(&rtnl, tun)
        .await
        .map_err(failed(tun, "find the device"))?;
    let mut warnings = address_guard::install(tun, plan.address).await;
    warnings.extend(reverse_path::install(tun).await);

    let wanted = wanted(plan, index);
    for route in &wanted.routes {
        write_route(&rtnl, tun, route.clone()).await?;
    }
    for rule in &wanted.rules {
        add_rule(&rtnl, tun, rule.clone()).await?;
    }
    remove_stale(&rtnl, tun, &wanted).await?;
    Ok(warnings)
}

/// Puts back what of `plan` is missing; returns it in words.
async fn restore(plan: &RoutePlan) -> Result<Vec<String>, RouteError> {
    let tun = plan.tun.as_str();
    crate::check_interface_name(tun)?;
    let rtnl = Rtnl::connect().map_err(failed(tun, "connect to rtnetlink"))?;
    let index = links::index_of(&rtnl, tun)
        .await
        .map_err(failed(tun, "find the device"))?;
    let wanted = wanted(plan, index);
    let mut restored = Vec::new();
    let present = our_routes(&rtnl)
        .await
        .map_err(failed(tun, "list routes"))?;
    for route in &wanted.routes {
        if !present.iter().any(|old| route_state::is_there(route, old)) {
            let words = format!("route {}", destination(route).unwrap_or(EVERYTHING));
            write_route(&rtnl, tun, route.clone()).await?;
            restored.push(words);
        }
    }
    let present = our_rules(&rtnl).await.map_err(failed(tun, "list rules"))?;
    for rule in &wanted.rules {
        if !present
            .iter()
            .any(|old| route_state::rule_is_there(rule, old))
        {
            let words = format!("rule {}", priority(rule).unwrap_or_default());
            if add_rule(&rtnl, tun, rule.clone()).await? {
                restored.push(words);
            }
        }
    }
    remove_stale(&rtnl, tun, &wanted).await?;
    restored.extend(restore_tables(plan).await?);
    Ok(restored)
}

/// Puts back the tables that are missing, wherever the kernel can tell and `nft` is there: where it
/// could not be had when the plan was installed, a warning was given then.
async fn restore_tables(plan: &RoutePlan) -> Result<Vec<String>, RouteError> {
    let tun = plan.tun.as_str();
    let guard = address_guard::tables(tun, plan.address);
    let mark = reverse_path::table(tun);
    if mark.is_some() {
        // Where it cannot be set the warning was given at the start.
        let _ = reverse_path::use_mark();
    }
    let mut restored = Vec::new();
    for table in guard.into_iter().chain(mark) {
        if table.is_complete().unwrap_or(true) {
            continue;
        }
        match table.install().await {
            Ok(()) => restored.push(table.to_string()),
            Err(FirewallError::NftMissing) => {}
            Err(error) => {
                let step = format!("put back the {table}");
                return Err(failed(tun, &step)(io::Error::other(error)));
            }
        }
    }
    Ok(restored)
}

/// What has to be in the kernel for a plan.
struct Wanted {
    routes: Vec<RouteMessage>,
    rules: Vec<RuleMessage>,
}

fn wanted(plan: &RoutePlan, index: u32) -> Wanted {
    let identity = RouteIdentity::of(&plan.tun);
    let destinations = destinations(plan);
    let to_route = |destination: &Ipv4Net| route(identity, *destination, index);
    Wanted {
        routes: destinations.iter().map(to_route).collect(),
        rules: rules(identity, destinations.contains(&EVERYTHING)),
    }
}

/// Removes rules and routes of this tunnel that are not wanted (any more).
async fn remove_stale(rtnl: &Rtnl, tun: &str, wanted: &Wanted) -> Result<(), RouteError> {
    let identity = RouteIdentity::of(tun);
    for old in our_rules(rtnl).await.map_err(failed(tun, "list rules"))? {
        let kept = wanted
            .rules
            .iter()
            .any(|rule| route_state::rule_is_there(rule, &old));
        if identity_of(&old) == Some(identity) && !kept {
            delete_rule(rtnl, tun, old).await?;
        }
    }
    for old in our_routes(rtnl).await.map_err(failed(tun, "list routes"))? {
        let kept = wanted
            .routes
            .iter()
            .any(|route| route_state::is_there(route, &old));
        if table(&old) == Some(identity.table()) && !kept {
            delete_route(rtnl, tun, old).await?;
        }
    }
    Ok(())
}

async fn write_route(rtnl: &Rtnl, tun: &str, route: RouteMessage) -> Result<(), RouteError> {
    let network = destination(&route).unwrap_or(EVERYTHING);
    let step = format!("route {network} into the tunnel");
    let added = rtnl.handle.route().add(route).replace().execute().await;
    added.map_err(os_error).map_err(failed(tun, &step))
}

/// Adds a rule; `false` when there is one that says the same.
async fn add_rule(rtnl: &Rtnl, tun: &str, rule: RuleMessage) -> Result<bool, RouteError> {
    let mut add = rtnl.handle.rule().add().v4();
    *add.message_mut() = rule;
    match add.execute().await.map_err(os_error) {
        Ok(()) => Ok(true),
        Err(error) if is_any(&error, &[libc::EEXIST]) => Ok(false),
        Err(error) => Err(failed(tun, "add a routing rule")(error)),
    }
}

/// Removes the rules and routes of every identity that is `ours`.
async fn remove(
    rtnl: &Rtnl,
    tun: &str,
    ours: impl Fn(RouteIdentity) -> bool + Send,
) -> Result<(), RouteError> {
    for rule in our_rules(rtnl).await.map_err(failed(tun, "list rules"))? {
        if identity_of(&rule).is_some_and(&ours) {
            delete_rule(rtnl, tun, rule).await?;
        }
    }
    let own = RouteIdentity::of(tun).table();
    for route in our_routes(rtnl).await.map_err(failed(tun, "list routes"))? {
        if table(&route) == Some(own) {
            delete_route(rtnl, tun, route).await?;
        }
    }
    Ok(())
}

/// What goes into our table: networks first, the default route last.
fn destinations(plan: &RoutePlan) -> Vec<Ipv4Net> {
    let mut all = vec![plan.network.trunc()];
    match plan.mode {
        RouteMode::Default => all.push(EVERYTHING),
        RouteMode::Cidr(network) => all.push(network.trunc()),
        RouteMode::None => {}
    }
    all.dedup();
    all
}

/// A route into the tunnel. It names no source: the device's one address is taken, and the route
/// stays when that address is replaced by another.
fn route(identity: RouteIdentity, destination: Ipv4Net, index: u32) -> RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(destination.addr(), destination.prefix_len())
        .output_interface(index)
        .scope(RouteScope::Link)
        .protocol(RouteProtocol::Other(RouteIdentity::PROTOCOL))
        .table_id(identity.table())
        .build()
}

fn rules(identity: RouteIdentity, everything: bool) -> Vec<RuleMessage> {
    let unmarked = |priority, suppress: &[RuleAttribute]| {
        let mut rule = rule(priority, identity.table());
        rule.header.flags = RuleFlags::Invert;
        rule.attributes.push(RuleAttribute::FwMark(identity.mark()));
        rule.attributes.push(RuleAttribute::FwMask(u32::MAX));
        rule.attributes.extend_from_slice(suppress);
        rule
    };
    let no_default = RuleAttribute::SuppressPrefixLen(0);
    let mut rules = vec![unmarked(
        identity.networks_priority(),
        std::slice::from_ref(&no_default),
    )];
    if everything {
        let mut lan = rule(identity.lan_priority(), MAIN);
        lan.attributes.push(no_default);
        rules.push(lan);
        rules.push(unmarked(identity.default_priority(), &[]));
    }
    rules
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

/// The IPv4 rules that carry our protocol number and one of our priorities.
async fn our_rules(rtnl: &Rtnl) -> io::Result<Vec<RuleMessage>> {
    let all = rtnl.handle.rule().get(IpVersion::V4).execute();
    let all: Vec<_> = all.try_collect().await.map_err(os_error)?;
    Ok(all
        .into_iter()
        .filter(|rule| identity_of(rule).is_some())
        .collect())
}

/// The tunnel a rule belongs to; `None` when it is not one of ours.
fn identity_of(rule: &RuleMessage) -> Option<RouteIdentity> {
    let ours = RuleAttribute::Protocol(RouteProtocol::Other(RouteIdentity::PROTOCOL));
    if !rule.attributes.contains(&ours) {
        return None;
    }
    RouteIdentity::of_priority(priority(rule)?)
}

fn priority(rule: &RuleMessage) -> Option<u32> {
    rule.attributes
        .iter()
        .find_map(|attribute| match attribute {
            RuleAttribute::Priority(priority) => Some(*priority),
            _ => None,
        })
}

async fn delete_rule(rtnl: &Rtnl, tun: &str, rule: RuleMessage) -> Result<(), RouteError> {
    match rtnl
        .handle
        .rule()
        .del(rule)
        .execute()
        .await
        .map_err(os_error)
    {
        Err(error) if is_any(&error, &[libc::ENOENT]) => Ok(()),
        other => other.map_err(failed(tun, "delete a routing rule")),
    }
}

/// The IPv4 routes of every table that carry our protocol number.
async fn our_routes(rtnl: &Rtnl) -> io::Result<Vec<RouteMessage>> {
    let filter = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let all = rtnl.handle.route().get(filter).execute();
    let all: Vec<_> = all.try_collect().await.map_err(os_error)?;
    let ours = RouteProtocol::Other(RouteIdentity::PROTOCOL);
    Ok(all
        .into_iter()
        .filter(|route| route.header.protocol == ours)
        .collect())
}

fn table(route: &RouteMessage) -> Option<u32> {
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Table(table) => Some(*table),
            _ => None,
        })
}

fn destination(route: &RouteMessage) -> Option<Ipv4Net> {
    let address = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(*address),
            _ => None,
        });
    let address = address.unwrap_or(Ipv4Addr::UNSPECIFIED);
    Ipv4Net::new(address, route.header.destination_prefix_length).ok()
}

async fn delete_route(rtnl: &Rtnl, tun: &str, route: RouteMessage) -> Result<(), RouteError> {
    match rtnl
        .handle
        .route()
        .del(route)
        .execute()
        .await
        .map_err(os_error)
    {
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
