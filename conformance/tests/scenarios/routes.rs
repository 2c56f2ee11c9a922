//! Route modes and name servers of the client: what goes through the tunnel,
//! what stays outside, and that the host has back what it had.

use std::fs;
use std::net::IpAddr;

use conformance::{Client, Config, Lab, Machine, Reflector, Server, ping, reflect, wait_until};

use crate::SECOND;

fn server_config() -> Config {
    Config::server()
        .set("nat", "{enabled: true, external_iface: eth0}")
        .set("dns", "[203.0.113.2]")
}

/// Routes, rules and addresses of a machine, as text.
fn state(machine: &Machine) -> String {
    [
        "-4 route show table all",
        "-6 route show table all",
        "-4 rule",
        "-6 rule",
        "-o link",
    ]
    .map(|arguments| machine.ip(arguments))
    .join("\n")
}

fn stop(client: &mut Client<'_>) {
    client.signal(libc::SIGTERM);
    assert_eq!(client.wait_for_exit(10 * SECOND), 0);
}

#[test]
fn route_mode_default_routes_all_but_the_server_into_the_tunnel_and_restores_the_routes() {
    let lab = Lab::new(1);
    let _seen = Reflector::start(&lab.internet);
    let _server = Server::start(&lab.server, server_config());
    let machine = &lab.clients[0];
    let before = state(machine);
    let default_route = machine.ip("-4 route show default");
    let mut client = Client::start(machine, Config::client().set("route_mode", "default"));
    assert_eq!(
        reflect(machine, Lab::INTERNET),
        Some(IpAddr::V4(Lab::SERVER))
    );
    assert_eq!(
        machine.ip("-4 route show default"),
        default_route,
        "the host's own is untouched"
    );
    assert!(ping(machine, Lab::GATEWAY.into(), 56, SECOND).is_some());
    stop(&mut client);
    assert_eq!(state(machine), before);
    assert_eq!(
        reflect(machine, Lab::INTERNET),
        Some(Lab::client_address(0).into())
    );
}

#[test]
fn route_mode_cidr_routes_only_the_pool_into_the_tunnel() {
    let lab = Lab::new(1);
    let _seen = Reflector::start(&lab.internet);
    let _server = Server::start(&lab.server, server_config());
    let machine = &lab.clients[0];
    let before = state(machine);
    let mut client = Client::start(machine, Config::client().set("route_mode", "cidr"));
    assert_eq!(
        reflect(machine, Lab::INTERNET),
        Some(Lab::client_address(0).into())
    );
    stop(&mut client);
    assert_eq!(state(machine), before);
}

#[test]
fn route_mode_none_adds_no_routes_and_the_gateway_still_answers() {
    let lab = Lab::new(1);
    let _seen = Reflector::start(&lab.internet);
    let _server = Server::start(&lab.server, server_config());
    let machine = &lab.clients[0];
    let before = state(machine);
    let mut client = Client::start(machine, Config::client().set("route_mode", "none"));
    assert_eq!(
        reflect(machine, Lab::INTERNET),
        Some(Lab::client_address(0).into())
    );
    stop(&mut client);
    assert_eq!(state(machine), before);
}

#[test]
fn resolv_conf_names_the_server_of_the_tunnel_and_is_restored_at_the_end() {
    let lab = Lab::new(1);
    let _server = Server::start(&lab.server, server_config());
    let machine = &lab.clients[0];
    let before = fs::read(machine.resolv_conf()).expect("the lab wrote it");
    let mut client = Client::start(machine, Config::client().set("route_mode", "default"));
    wait_until("resolv.conf names the tunnel's server", 5 * SECOND, || {
        fs::read_to_string(machine.resolv_conf())
            .is_ok_and(|text| text.contains("nameserver 203.0.113.2"))
    });
    stop(&mut client);
    assert_eq!(fs::read(machine.resolv_conf()).ok(), Some(before));
}

#[test]
fn the_clients_own_dns_overrides_that_of_the_server_in_every_route_mode() {
    let lab = Lab::new(1);
    let _server = Server::start(&lab.server, server_config());
    let machine = &lab.clients[0];
    let config = Config::client().set("dns", "[198.51.100.53]");
    let _client = Client::start(machine, config);
    wait_until(
        "resolv.conf names the client's own server",
        5 * SECOND,
        || {
            fs::read_to_string(machine.resolv_conf())
                .is_ok_and(|text| text.contains("198.51.100.53") && !text.contains("203.0.113.2"))
        },
    );
}

#[test]
fn resolv_conf_is_unchanged_without_route_mode_default_and_own_dns() {
    let lab = Lab::new(1);
    let _server = Server::start(&lab.server, server_config());
    let machine = &lab.clients[0];
    let before = fs::read(machine.resolv_conf()).expect("the lab wrote it");
    let _client = Client::start(machine, Config::client().set("route_mode", "cidr"));
    assert_eq!(fs::read(machine.resolv_conf()).ok(), Some(before));
}

#[test]
fn leftovers_of_a_killed_client_are_removed_by_the_next_run() {
    let lab = Lab::new(1);
    let _server = Server::start(&lab.server, server_config());
    let machine = &lab.clients[0];
    let before = state(machine);
    let resolv_conf = fs::read(machine.resolv_conf()).expect("the lab wrote it");
    let config = Config::client().set("route_mode", "default");
    let mut killed = Client::start(machine, config.clone());
    killed.kill();
    let mut client = Client::start(machine, config);
    stop(&mut client);
    assert_eq!(state(machine), before);
    assert_eq!(fs::read(machine.resolv_conf()).ok(), Some(resolv_conf));
}
