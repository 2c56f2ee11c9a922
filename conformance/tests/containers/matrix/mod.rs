//! The matrix: every pair of programs under every condition. Each cell states
//! what this pair does, the documented weaknesses of the Go programs included:
//! a pair that behaves better than stated fails as well.

mod admission;
mod lifecycle;
mod sizes;
mod transfer;

use conformance::Config;

use crate::cell::Cell;
use crate::network::Network;
use crate::programs::{Client, Kind, Server};
use crate::stage::Stage;

/// The topic in the report.
const GROUP: &str = "matrix";

const LENIENT: &str = "The deployed Go pair cannot talk to itself: its client announces an empty body and its server \
    believes that (row \"as deployed\"). Here the Go server ignores it, by a key that only the peer knows \
    (`test_lenient_content_length`), and both ends are held to an mtu of 1242 at most, because with more the first \
    full packets end the Go client.";

/// A client and a server.
#[derive(Debug, Clone, Copy)]
struct Pair {
    client: Kind,
    server: Kind,
}

impl Pair {
    const ALL: [Self; 4] = [
        Self {
            client: Kind::Ours,
            server: Kind::Ours,
        },
        Self {
            client: Kind::Go,
            server: Kind::Ours,
        },
        Self {
            client: Kind::Ours,
            server: Kind::Go,
        },
        Self {
            client: Kind::Go,
            server: Kind::Go,
        },
    ];

    /// The column of the report.
    fn column(self) -> String {
        let name = |kind| match kind {
            Kind::Ours => "our",
            Kind::Go => "go",
        };
        format!("{} client, {} server", name(self.client), name(self.server))
    }

    fn only_go(self) -> bool {
        self.client == Kind::Go && self.server == Kind::Go
    }

    /// A configuration of the server with which the pair can talk.
    fn server_config(self) -> Config {
        if self.only_go() {
            Config::server()
                .set("test_lenient_content_length", "true")
                .set("mtu", "1242")
        } else {
            Config::server()
        }
    }

    /// Starts both ends in a network and waits until the tunnel carries packets.
    #[track_caller]
    fn start(self, stage: &Stage, server: Config, client: Config) -> Tunnel {
        self.start_in(stage, stage.network("net"), server, client)
    }

    /// As [`Pair::start`], in a network of the cell's choice.
    #[track_caller]
    fn start_in(self, stage: &Stage, network: Network, server: Config, client: Config) -> Tunnel {
        let server = Server::start(stage, &network, self.server, server);
        let client = Client::start(stage, &network, self.client, server.address(), client);
        Tunnel {
            client,
            server,
            network,
        }
    }
}

/// Both ends of a tunnel and the network that they are in.
struct Tunnel {
    // In this order: a network goes after the containers in it.
    client: Client,
    server: Server,
    network: Network,
}

/// The cells of the matrix, row by row.
pub(crate) fn cells() -> Vec<Cell> {
    [
        sizes::cells(),
        admission::cells(),
        lifecycle::cells(),
        transfer::cells(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A row: a cell for every pair, with its further expectations.
fn row(
    name: &str,
    run: impl Fn(&Stage, Pair) + Clone + Send + 'static,
    expected: impl Fn(Pair) -> &'static str,
) -> Vec<Cell> {
    Pair::ALL
        .into_iter()
        .map(|pair| {
            let run = run.clone();
            let cell = Cell::new(GROUP, name, &pair.column(), move |stage| run(stage, pair));
            let cell = match expected(pair) {
                "" => cell,
                expected => cell.expecting(expected),
            };
            if pair.only_go() {
                cell.expecting(LENIENT)
            } else {
                cell
            }
        })
        .collect()
}
