//! A14: paths of every size from 1280 up, with and without ICMP, also when
//! they shrink in the middle of a session.

use conformance::{
    Client, Config, Lab, Server, ping, ping_df, tcp_download, tcp_transfer, wait_until,
};

use crate::{SECOND, pair, pings};

/// Full inner packets, small ones, and both kinds of DF travel or are told.
#[track_caller]
fn assert_every_size_travels(client: &Client<'_>) {
    let mtu = client.device_mtu();
    for size in [0, 500, 1000, mtu - 28, mtu - 27, 1472, 3000] {
        let travelled =
            (0..3).any(|_| ping(client.machine(), Lab::GATEWAY.into(), size, SECOND).is_some());
        assert!(travelled, "{size} bytes of echo, device mtu {mtu}");
    }
    let whole = ping_df(client.machine(), Lab::GATEWAY.into(), mtu - 28, SECOND);
    assert!(whole.is_ok(), "a full packet with DF: {whole:?}");
    let above = ping_df(client.machine(), Lab::GATEWAY.into(), mtu - 27, SECOND);
    assert!(
        above.is_err(),
        "one byte more with DF is an error of the sender: {above:?}"
    );
}

#[test]
fn every_path_mtu_from_1280_to_1500_carries_every_size_from_the_start() {
    let lab = Lab::new(1);
    for mtu in [1280, 1281, 1300, 1350, 1400, 1420, 1492, 1500] {
        lab.path_mtu(mtu);
        let (_server, client) = pair(&lab);
        let full = client.device_mtu() - 28;
        assert!(
            ping(client.machine(), Lab::GATEWAY.into(), full, SECOND).is_some(),
            "a full packet right after the start on a path of {mtu}"
        );
        assert_every_size_travels(&client);
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
fn a_path_without_icmp_carries_every_size_too() {
    let lab = Lab::new(1);
    lab.black_hole_icmp();
    for mtu in [1280, 1400] {
        lab.path_mtu(mtu);
        let (_server, client) = pair(&lab);
        assert_every_size_travels(&client);
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
fn a_session_survives_a_path_mtu_that_shrinks_in_mid_session() {
    let lab = Lab::new(1);
    let (server, client) = pair(&lab);
    let address = client.inner_address();
    tcp_download(
        client.machine(),
        &lab.server,
        Lab::GATEWAY,
        5_000_000,
        20 * SECOND,
    );
    for mtu in [1400, 1280] {
        lab.path_mtu(mtu);
        wait_until("small packets travel", 5 * SECOND, || pings(&client));
        tcp_transfer(
            client.machine(),
            &lab.server,
            Lab::GATEWAY,
            2_000_000,
            40 * SECOND,
        );
        tcp_download(
            client.machine(),
            &lab.server,
            Lab::GATEWAY,
            2_000_000,
            40 * SECOND,
        );
        assert_eq!(client.inner_address(), address);
    }
    assert_eq!(server.metrics().sessions(), 1.0);
}

#[test]
fn a_smaller_mtu_in_the_configuration_of_either_end_is_kept() {
    let lab = Lab::new(1);
    for (server, client) in [("1000", "1350"), ("1350", "1000")] {
        let _server = Server::start(&lab.server, Config::server().set("mtu", server));
        let client = Client::start(&lab.clients[0], Config::client().set("mtu", client));
        assert_eq!(client.device_mtu(), 1000 - 38);
        assert_every_size_travels(&client);
    }
}
