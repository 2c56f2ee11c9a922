//! Load: bytes that arrive as they were sent, and many clients at once.

use conformance::{Config, Lab, tcp_download, tcp_transfer, wait_until};

use super::{Pair, row};
use crate::SECOND;
use crate::cell::Cell;
use crate::programs::{Client, Kind, Server};
use crate::stage::Stage;

/// Payload of a transfer.
const TEN_MEGABYTES: u64 = 10_000_000;

/// The rows about load.
pub(super) fn cells() -> Vec<Cell> {
    [
        row(
            "10 MB of TCP each way",
            tcp_each_way,
            |_| "Equal SHA-256 at both ends.",
        ),
        row("ten clients", ten_clients, |_| ""),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn tcp_each_way(stage: &Stage, pair: Pair) {
    let tunnel = pair.start(stage, pair.server_config(), Config::client());
    let (client, server) = (tunnel.client.machine(), tunnel.server.machine());
    tcp_transfer(client, server, Lab::GATEWAY, TEN_MEGABYTES, 60 * SECOND);
    tcp_download(client, server, Lab::GATEWAY, TEN_MEGABYTES, 60 * SECOND);
}

fn ten_clients(stage: &Stage, pair: Pair) {
    let network = stage.network("net");
    let server = Server::start(stage, &network, pair.server, pair.server_config());
    let clients: Vec<_> = (0..10)
        .map(|n| {
            let name = format!("client{n}");
            Client::spawn(
                stage,
                &name,
                &network,
                pair.client,
                server.address(),
                Config::client(),
            )
        })
        .collect();
    let mut inner: Vec<_> = clients.iter().map(Client::wait_until_connected).collect();
    inner.sort();
    inner.dedup();
    assert_eq!(inner.len(), 10, "addresses are unique");
    assert!(
        clients.iter().all(|client| client.pings(56, SECOND)),
        "all of them, all at once"
    );
    if pair.server == Kind::Ours {
        // A client that has asked on two connections leaves one of them.
        wait_until("each has one session", 5 * SECOND, || {
            server.metrics().sessions() == 10.0
        });
    }
}
