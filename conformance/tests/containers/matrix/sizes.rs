//! Packet sizes and address families: what fits, what is fragmented, and over which outer protocol.

use std::net::IpAddr;

use conformance::{Config, ping, tcp_download, tcp_transfer};

use super::{Pair, Tunnel, row};
use crate::SECOND;
use crate::cell::Cell;
use crate::programs::{Client, Kind, Server};
use crate::stage::Stage;

/// Bytes of IPv4 and ICMP headers around the payload of an echo request.
const ECHO: usize = 28;
/// What the datagram's header and tag take from its size.
const DATAGRAM: usize = 38;

/// The rows about sizes and families.
pub(super) fn cells() -> Vec<Cell> {
    [
        row("as deployed", as_deployed, |pair| {
            if pair.only_go() {
                "No session: the Go client exits 1."
            } else {
                ""
            }
        })
        .into_iter()
        .map(|mut cell| {
            // This row tests the programs as deployed: without the lenient key.
            cell.expected.retain(|text| *text != super::LENIENT);
            cell
        })
        .collect(),
        row("mtu by default", default_mtu, |pair| {
            match (pair.client, pair.server) {
                (Kind::Ours, Kind::Ours) => "Datagrams of 1350 bytes.",
                _ => "Datagrams of 1242 bytes, because one end is a Go program.",
            }
        }),
        row(
            "mtu 1242",
            |stage, pair| configured_mtu(stage, pair, 1242),
            |_| "",
        ),
        row(
            "mtu 576",
            |stage, pair| configured_mtu(stage, pair, 576),
            |_| "",
        ),
        row("fragments", fragments, |pair| {
            match (pair.client, pair.server) {
                (Kind::Ours, Kind::Ours) => {
                    "On links of 1280 bytes, where full packets do not fit one datagram."
                }
                (Kind::Ours, Kind::Go) => {
                    "From the server only: our client's device holds what fits one datagram."
                }
                _ => "",
            }
        }),
        row(
            "IPv4 outside",
            |stage, pair| outside(stage, pair, true),
            |_| "",
        ),
        row(
            "IPv6 outside",
            |stage, pair| outside(stage, pair, false),
            |_| "",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn as_deployed(stage: &Stage, pair: Pair) {
    let network = stage.network("net");
    let server = Server::start(stage, &network, pair.server, Config::server());
    let client = Client::spawn(
        stage,
        "client",
        &network,
        pair.client,
        server.address(),
        Config::client(),
    );
    if pair.only_go() {
        assert_eq!(client.wait_for_exit(15 * SECOND), 1);
        client.wait_for_line("client error", SECOND);
        assert!(!client.output().contains("msg=connected"));
    } else {
        client.wait_until_connected();
        assert!(client.pings(1000, SECOND));
    }
}

fn default_mtu(stage: &Stage, pair: Pair) {
    let tunnel = pair.start(stage, pair.server_config(), Config::client());
    let datagram = match (pair.client, pair.server) {
        (Kind::Ours, Kind::Ours) => 1350,
        _ => 1242,
    };
    assert_sizes(&tunnel, pair, datagram);
}

fn configured_mtu(stage: &Stage, pair: Pair, mtu: usize) {
    let set = |config: Config| config.set("mtu", &mtu.to_string());
    let tunnel = pair.start(stage, set(pair.server_config()), set(Config::client()));
    assert_sizes(&tunnel, pair, mtu);
}

/// The client's device has the MTU that follows from the size of a datagram, and packets of every
/// size pass.
#[track_caller]
fn assert_sizes(tunnel: &Tunnel, pair: Pair, datagram: usize) {
    let device = tunnel.client.device_mtu();
    let expected = match pair.client {
        Kind::Ours => datagram - DATAGRAM,
        // The Go client forgets its own header.
        Kind::Go => datagram,
    };
    assert_eq!(device, expected, "the MTU of the client's device");
    for size in [
        0,
        56,
        datagram - DATAGRAM - ECHO,
        device - ECHO,
        device - ECHO + 1,
        3000,
    ] {
        assert_travels(tunnel, size);
    }
}

/// One of a few packets of that size is answered: a fragment may be lost.
#[track_caller]
fn assert_travels(tunnel: &Tunnel, size: usize) {
    assert!(
        (0..3).any(|_| tunnel.client.pings(size, SECOND)),
        "no answer to {size} bytes of echo"
    );
}

fn fragments(stage: &Stage, pair: Pair) {
    let ours = pair.client == Kind::Ours && pair.server == Kind::Ours;
    let network = if ours {
        stage.network_of_mtu("net", 1280)
    } else {
        stage.network("net")
    };
    let tunnel = pair.start_in(stage, network, pair.server_config(), Config::client());
    // The largest packets that either end hands over whole: those of the client's device, and those
    // of 1242 bytes at the server, whose device carries more.
    let full = tunnel.client.device_mtu() - ECHO;
    assert_travels(&tunnel, full);
    let inner = IpAddr::V4(tunnel.client.inner_address().expect("a connected client"));
    let down = if ours { full } else { 1242 - ECHO };
    assert!(
        (0..3).any(|_| ping(tunnel.server.machine(), inner, down, SECOND).is_some()),
        "no answer to {down} bytes from the server"
    );
    if pair.server == Kind::Ours {
        let metrics = tunnel.server.metrics();
        for direction in ["in", "out"] {
            let series = format!("qdt_fragments_total{{direction=\"{direction}\"}}");
            assert!(metrics.value(&series) >= 2.0, "no fragments {direction}");
        }
    }
    tunnel.client.signal("SIGTERM");
    assert_eq!(tunnel.client.wait_for_exit(5 * SECOND), 0);
    if pair.client == Kind::Go {
        assert_fragments(
            &tunnel.client.wait_for_line("msg=ended", SECOND),
            &["sent", "received"],
        );
    }
    if pair.server == Kind::Go {
        let ways: &[&str] = if pair.client == Kind::Go {
            &["sent", "received"]
        } else {
            &["sent"]
        };
        assert_fragments(
            &tunnel.server.wait_for_line("session closed", 10 * SECOND),
            ways,
        );
    }
}

/// The Go peer counts fragments and logs them at the end of a session.
#[track_caller]
fn assert_fragments(line: &str, ways: &[&str]) {
    for way in ways {
        let count = line
            .split_once(&format!("fragments_{way}="))
            .and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<u64>().ok());
        assert!(
            count.is_some_and(|count| count >= 2),
            "no fragments {way}: {line}"
        );
    }
}

fn outside(stage: &Stage, pair: Pair, v4: bool) {
    let network = stage.network("net");
    let server = Server::start(stage, &network, pair.server, pair.server_config());
    let address = if v4 {
        server.address()
    } else {
        server.address_v6()
    };
    let client = Client::start(stage, &network, pair.client, address, Config::client());
    assert!(client.pings(56, SECOND));
    let (up, down) = (client.machine(), server.machine());
    tcp_transfer(up, down, conformance::Lab::GATEWAY, 1_000_000, 20 * SECOND);
    tcp_download(up, down, conformance::Lab::GATEWAY, 1_000_000, 20 * SECOND);
}
