//! The Go peer against itself: the yardstick is right before anything is
//! measured with it. The deployed pair cannot talk to itself at all (its
//! client announces an empty body, its server believes that), so the server
//! has to be told to look past it.

use std::time::Duration;

use conformance::{Client, Config, Lab, Server, ping, tcp_download, tcp_transfer, wait_until};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn go_client_and_go_server_carry_pings_and_tcp_both_ways() {
    let lab = Lab::new(1);
    let _server = Server::start_go(&lab.server, lenient().set("mtu", "1242"));
    let client = Client::start_go(&lab.clients[0], Config::client());
    assert_eq!(client.device_mtu(), 1242);
    assert!(ping(&lab.clients[0], Lab::GATEWAY.into(), 1214, SECOND).is_some());
    tcp_transfer(
        &lab.clients[0],
        &lab.server,
        Lab::GATEWAY,
        2_000_000,
        30 * SECOND,
    );
    tcp_download(
        &lab.clients[0],
        &lab.server,
        Lab::GATEWAY,
        2_000_000,
        30 * SECOND,
    );
}

#[test]
fn a_go_client_gets_no_session_from_a_go_server_as_deployed() {
    let lab = Lab::new(1);
    let _server = Server::start_go(&lab.server, Config::server());
    let mut client = Client::spawn_go(&lab.clients[0], Config::client());
    assert_eq!(client.wait_for_exit(10 * SECOND), 1);
}

#[test]
fn a_go_client_with_a_wrong_token_exits_with_the_recorded_message() {
    let lab = Lab::new(1);
    let _server = Server::start_go(
        &lab.server,
        lenient().set("test_lenient_content_length", "false"),
    );
    let config = Config::client().set("token", "another-token-of-32-characters-1");
    let mut client = Client::spawn_go(&lab.clients[0], config);
    client.wait_for_line(
        r#"err="connect failed: 401 Unauthorized (unauthorized\n)""#,
        10 * SECOND,
    );
    assert_eq!(client.wait_for_exit(SECOND), 1);
}

#[test]
fn a_go_client_with_full_size_packets_in_the_first_second_exits() {
    let lab = Lab::new(1);
    let _server = Server::start_go(&lab.server, lenient());
    let mut client = Client::start_go(&lab.clients[0], Config::client());
    assert_eq!(client.device_mtu(), 1350);
    let _ = ping(&lab.clients[0], Lab::GATEWAY.into(), 1322, SECOND / 10);
    assert_eq!(client.wait_for_exit(5 * SECOND), 1);
}

#[test]
fn a_go_server_drops_an_idle_session_silently() {
    let lab = Lab::new(1);
    let mut server = Server::start_go(&lab.server, lenient().set("session_timeout", "1s"));
    let mut client = Client::start_go(&lab.clients[0], Config::client());
    server.wait_for_line("session closed", 5 * SECOND);
    assert!(ping(&lab.clients[0], Lab::GATEWAY.into(), 56, SECOND).is_none());
    assert!(client.ended().is_none(), "the client was told");
}

#[test]
fn a_go_client_stopped_by_a_signal_exits_with_0_and_removes_its_device() {
    let lab = Lab::new(1);
    let _server = Server::start_go(&lab.server, lenient());
    let mut client = Client::start_go(&lab.clients[0], Config::client());
    client.signal(libc::SIGTERM);
    assert_eq!(client.wait_for_exit(5 * SECOND), 0);
    wait_until("the device is gone", SECOND, || {
        client.inner_address().is_none()
    });
}

fn lenient() -> Config {
    Config::server().set("test_lenient_content_length", "true")
}
