//! The outer path over IPv6, by address and by name.

use conformance::{Client, Config, Lab, Server, tcp_download, tcp_transfer};

use crate::{SECOND, pings};

#[test]
fn the_tunnel_runs_over_ipv6_by_address_and_by_name() {
    let lab = Lab::new(1);
    let _server = Server::start(&lab.server, Config::server());
    for server in ["\"[2001:db8:2::2]:443\"", "vpn6.lab:443"] {
        let client = Client::start(&lab.clients[0], Config::client().set("server", server));
        assert!(pings(&client), "{server}");
        tcp_transfer(
            client.machine(),
            &lab.server,
            Lab::GATEWAY,
            2_000_000,
            20 * SECOND,
        );
        tcp_download(
            client.machine(),
            &lab.server,
            Lab::GATEWAY,
            2_000_000,
            20 * SECOND,
        );
    }
}

#[test]
fn a_name_with_both_families_is_reached_over_the_one_that_works() {
    let lab = Lab::new(1);
    let _server = Server::start(&lab.server, Config::server());
    for cut in [
        "ip saddr 10.77.0.0/16 udp dport 443 drop",
        "ip6 saddr 2001:db8:77::/48 udp dport 443 drop",
    ] {
        lab.core.nft(&format!(
            "table inet onefamily {{\nchain f {{\ntype filter hook forward priority 0\n{cut}\n}}\n}}\n"
        ));
        let config = Config::client()
            .set("server", "vpn.lab:443")
            .set("timeout", "5s");
        let client = Client::start(&lab.clients[0], config);
        assert!(pings(&client), "with {cut}");
        drop(client);
        lab.core.nft("delete table inet onefamily\n");
    }
}
