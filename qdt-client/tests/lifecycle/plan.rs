//! The host's plan for an answer.

use qdt_client::{HostPlan, HostSettings, RouteMode};
use qdt_proto::handshake::Assignment;

use crate::script::our_answer;

#[test]
fn name_servers_of_the_server_are_used_in_mode_default_only_and_the_clients_own_override_them() {
    let assignment = Assignment::check(&our_answer(), 1350).unwrap();
    let own: std::net::IpAddr = "10.0.0.53".parse().unwrap();
    for (mode, dns, expected) in [
        (RouteMode::Default, vec![], Some("9.9.9.9".parse().unwrap())),
        (RouteMode::Cidr, vec![], None),
        (RouteMode::None, vec![], None),
        (RouteMode::Default, vec![own], Some(own)),
        (RouteMode::Cidr, vec![own], Some(own)),
        (RouteMode::None, vec![own], Some(own)),
    ] {
        let plan = HostPlan::new(
            &HostSettings {
                tun: "qdt0".to_owned(),
                route_mode: mode,
                dns,
            },
            &assignment,
        );
        assert_eq!(
            plan.dns.map(|dns| dns.servers),
            expected.map(|server| vec![server]),
            "{mode:?}"
        );
    }
}
