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

#[test]
fn a_link_local_server_is_reached_at_the_interface_that_the_client_names() {
    let lab = Lab::new(1);
    // The server's neighbour is the router: only who shares a link has link-local addresses in
    // common.
    let machine = &lab.core;
    for listen in [":443", "\"[fe80::2%eth0]:443\""] {
        let _server = Server::start(&lab.server, Config::server().set("addr", listen));
        for mode in ["none", "default"] {
            let config = Config::client()
                .set("server", "\"[fe80::2%srv]:443\"")
                .set("route_mode", mode);
            let client = Client::start(machine, config);
            assert!(pings(&client), "at {listen}, route_mode {mode}");
        }
    }
}

#[test]
fn a_certificate_that_names_a_link_local_address_is_checked_without_the_zone() {
    let lab = Lab::new(1);
    let folder = lab.server.folder();
    let made = std::process::Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args(["-subj", "/CN=qdt", "-addext", "subjectAltName=IP:fe80::2"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(folder.join("cert.pem"))
        .output()
        .expect("openssl is installed: apt-get install openssl");
    assert!(made.status.success(), "{made:?}");
    let certificate = folder.join("cert.pem").to_string_lossy().into_owned();
    let config = Config::server()
        .set("tls_cert", &certificate)
        .set("tls_key", &folder.join("key.pem").to_string_lossy());
    let _server = Server::start(&lab.server, config);
    let config = Config::client()
        .without("insecure")
        .set("ca_file", &certificate)
        .set("server", "\"[fe80::2%srv]:443\"");
    let client = Client::start(&lab.core, config);
    assert!(pings(&client));
}

#[test]
fn a_link_local_server_without_an_interface_is_refused_at_the_start() {
    let lab = Lab::new(1);
    let config = Config::client().set("server", "\"[fe80::2]:443\"");
    let mut client = Client::spawn(&lab.core, config);
    assert_eq!(client.wait_for_exit(10 * SECOND), 1);
    let said = client.stderr();
    assert!(
        said.contains("a link-local IPv6 address needs its interface"),
        "{said}"
    );
}
