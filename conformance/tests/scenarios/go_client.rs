//! An unmodified Go client on our server.

use std::net::Ipv4Addr;

use conformance::{
    Client, Config, Lab, Server, ping, stay_silent, tcp_download, tcp_transfer, wait_until,
};

use crate::{SECOND, pings};

fn go_pair(lab: &Lab) -> (Server<'_>, Client<'_>) {
    let server = Server::start(&lab.server, Config::server());
    let client = Client::start_go(&lab.clients[0], Config::client());
    (server, client)
}

#[test]
fn a_go_client_pings_through_our_server() {
    let lab = Lab::new(1);
    let (_server, client) = go_pair(&lab);
    assert_eq!(client.device_mtu(), 1242);
    for size in [0, 56, 1176, 1177, 1214, 1215, 4000] {
        assert!(
            ping(client.machine(), Lab::GATEWAY.into(), size, SECOND).is_some(),
            "{size} bytes"
        );
    }
}

#[test]
fn tcp_passes_in_each_direction_between_a_go_client_and_our_server_without_a_fragment() {
    let lab = Lab::new(1);
    let (_server, mut client) = go_pair(&lab);
    tcp_transfer(
        client.machine(),
        &lab.server,
        Lab::GATEWAY,
        20_000_000,
        60 * SECOND,
    );
    tcp_download(
        client.machine(),
        &lab.server,
        Lab::GATEWAY,
        20_000_000,
        60 * SECOND,
    );
    client.signal(libc::SIGTERM);
    assert_eq!(client.wait_for_exit(5 * SECOND), 0);
    let line = client.wait_for_line("msg=ended", SECOND);
    assert!(
        line.contains("fragments_sent=0 fragments_received=0"),
        "{line}"
    );
}

#[test]
fn an_idle_go_client_keeps_its_session_past_session_timeout() {
    let lab = Lab::new(1);
    let _server = Server::start(&lab.server, Config::server().set("session_timeout", "1s"));
    let mut client = Client::start_go(&lab.clients[0], Config::client());
    stay_silent(5 * SECOND);
    assert!(pings(&client));
    assert!(client.ended().is_none());
}

#[test]
fn full_size_packets_in_the_first_second_do_not_end_a_go_client() {
    let lab = Lab::new(1);
    let (_server, mut client) = go_pair(&lab);
    let full = client.device_mtu() - 28;
    for _ in 0..20 {
        let _ = ping(client.machine(), Lab::GATEWAY.into(), full, SECOND / 20);
    }
    assert!(pings(&client));
    assert!(client.ended().is_none());
}

#[test]
fn a_flood_toward_a_go_client_does_not_end_it() {
    let lab = Lab::new(1);
    let (_server, mut client) = go_pair(&lab);
    let inner: Ipv4Addr = client.inner_address().expect("a connected client");
    let socket = lab
        .server
        .enter(|| std::net::UdpSocket::bind("0.0.0.0:0"))
        .expect("a UDP socket");
    for _ in 0..20_000 {
        let _ = socket.send_to(&[7; 1100], (inner, 9));
    }
    wait_until("a ping after the flood", 5 * SECOND, || pings(&client));
    assert!(client.ended().is_none());
}

#[test]
fn a_go_client_ends_at_its_next_packet_after_our_server_stopped() {
    let lab = Lab::new(1);
    let (mut server, mut client) = go_pair(&lab);
    server.signal(libc::SIGTERM);
    assert_eq!(server.wait_for_exit(5 * SECOND), 0);
    wait_until("the end of the Go client", 3 * SECOND, || {
        let _ = ping(client.machine(), Lab::GATEWAY.into(), 56, SECOND / 10);
        client.ended().is_some()
    });
}

#[test]
fn after_kill_9_a_restarted_server_resets_a_go_client_and_serves_it_again() {
    let lab = Lab::new(1);
    let (mut server, mut client) = go_pair(&lab);
    server.kill();
    let _server = Server::start(&lab.server, Config::server());
    wait_until("the end of the Go client", 5 * SECOND, || {
        let _ = ping(client.machine(), Lab::GATEWAY.into(), 56, SECOND / 10);
        client.ended().is_some()
    });
    let client = Client::start_go(&lab.clients[0], Config::client());
    assert!(pings(&client));
}

#[test]
fn a_go_client_is_served_over_ipv6_by_address() {
    let lab = Lab::new(1);
    let _server = Server::start(&lab.server, Config::server());
    let config = Config::client().set("server", "\"[2001:db8:2::2]:443\"");
    let client = Client::start_go(&lab.clients[0], config);
    assert!(pings(&client));
}

#[test]
fn a_go_client_with_a_wrong_token_is_refused_with_401_and_ends() {
    let lab = Lab::new(1);
    let _server = Server::start(&lab.server, Config::server());
    let config = Config::client().set("token", "another-token-of-32-characters-1");
    let mut client = Client::spawn_go(&lab.clients[0], config);
    client.wait_for_line(
        r#"err="connect failed: 401 Unauthorized (unauthorized\n)""#,
        10 * SECOND,
    );
    assert_eq!(client.wait_for_exit(SECOND), 1);
}
