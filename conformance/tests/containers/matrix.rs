//! The matrix: every pair of programs under every condition.

use conformance::Config;

use crate::SECOND;
use crate::cell::Cell;
use crate::programs::{Client, Kind, Server};

/// The cells of the matrix.
pub(crate) fn cells() -> Vec<Cell> {
    vec![Cell::new(
        "matrix",
        "default mtu",
        "our client, our server",
        |stage| {
            let network = stage.network("net");
            let server = Server::start(stage, &network, Kind::Ours, Config::server());
            let client = Client::start(
                stage,
                &network,
                Kind::Ours,
                server.address(),
                Config::client(),
            );
            assert!(client.pings(56, SECOND));
        },
    )]
}
