//! Observability for real: Debian's Prometheus scrapes a running server, and the cells compare what
//! it knows with the documentation, with what was sent, and with dashboard and alert rules.

mod counting;
mod dashboard;
mod documented;
mod profile;
mod prometheus;
mod promql;
mod series;

use std::time::Duration;

use conformance::probe::{Session, SessionOptions, echo_request};
use conformance::{Config, Lab, Machine};

use crate::cell::Cell;
use crate::container::Spec;
use crate::network::Network;
use crate::programs::{Kind, Server};
use crate::stage::Stage;
use prometheus::Prometheus;

/// How long an answer through the tunnel may take.
const ANSWER: Duration = Duration::from_secs(5);

/// The cells of the topic.
pub(crate) fn cells() -> Vec<Cell> {
    [
        series::cells(),
        counting::cells(),
        dashboard::cells(),
        profile::cells(),
    ]
    .into_iter()
    .flatten()
    .map(|(name, run)| Cell::named("observability", name, run))
    .collect()
}

/// A name and what is done under it.
type Named = (&'static str, fn(&Stage));

/// A server, a Prometheus that scrapes it, and a machine for clients.
struct Setting {
    prometheus: Prometheus,
    server: Server,
    _network: Network,
}

impl Setting {
    #[track_caller]
    fn new(stage: &Stage) -> Self {
        let network = stage.network("net");
        let server = Server::start(stage, &network, Kind::Ours, Config::server());
        let prometheus = Prometheus::start(stage, &network, &server);
        Self {
            prometheus,
            server,
            _network: network,
        }
    }

    /// The machine of this cell's clients: that of Prometheus.
    fn client(&self) -> &Machine {
        self.prometheus.machine()
    }

    /// A session of the probe.
    #[track_caller]
    fn session(&self) -> Session {
        Session::open(
            self.client(),
            self.server.address(),
            &SessionOptions::default(),
        )
        .unwrap_or_else(|refused| panic!("the server refused a session: {refused:?}"))
    }
}

/// Sends echo requests with that many payload bytes each, one after the other, and waits for every
/// answer. Returns the bytes of all requests, which are those of all answers.
#[track_caller]
fn echo(session: &mut Session, payloads: impl IntoIterator<Item = usize>) -> u64 {
    let mut bytes = 0;
    for (sequence, payload) in payloads.into_iter().enumerate() {
        let request = echo_request(session.inner(), Lab::GATEWAY, sequence as u16, payload);
        session.send_packet(&request);
        let answer = session.receive_packet(ANSWER, |packet| {
            packet.len() == request.len() && packet[20] == 0 && packet[26..28] == request[26..28]
        });
        assert!(
            answer.is_some(),
            "no answer to echo request {sequence} with {payload} bytes"
        );
        bytes += request.len() as u64;
    }
    bytes
}

/// Runs a shell line in a container of the image that holds promtool, with files of the host (path
/// there, path here), and returns exit code and output.
#[track_caller]
fn promtool(stage: &Stage, line: &str, files: &[(&str, &str)]) -> (i64, String) {
    let spec = Spec::new("promtool", "qdt-prometheus")
        .unprivileged()
        .entrypoint("/bin/sh")
        .command(&["-c", line]);
    let container = files
        .iter()
        .fold(spec, |spec, (inside, host)| spec.mount(host, inside, true))
        .start(stage);
    let code = container.wait_for_exit(Duration::from_secs(20));
    (code, container.output())
}
