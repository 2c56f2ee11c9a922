//! The parity probe against servers in containers, as its user runs it: from another place, over
//! the engine's network, with nothing but address, port and token, and at the pace that servers
//! allow by default.

use std::process::{Command, Stdio};

use conformance::parity::remarks;
use conformance::{Config, Token};

use crate::cell::Cell;
use crate::programs::{Kind, Server};
use crate::stage::Stage;

/// The cells of the topic.
pub(crate) fn cells() -> Vec<Cell> {
    let row = "every request is answered as documented, to the byte";
    vec![
        Cell::new("parity", row, "ours", ours).expecting("labels of qdt_handshakes_total included"),
        Cell::new("parity", row, "go", go)
            .expecting("where a Go server is documented to differ, it differs so"),
    ]
}

fn ours(stage: &Stage) {
    let network = stage.network("outer");
    let server = Server::start(stage, &network, Kind::Ours, Config::server());
    let metrics = format!("--metrics=http://{}:9100/metrics", server.ipv4());
    probe(stage, &server, &[&metrics]);
}

fn go(stage: &Stage) {
    let network = stage.network("outer");
    let server = Server::start(stage, &network, Kind::Go, Config::server());
    probe(stage, &server, &["--dialect=go"]);
}

/// Runs `conformance probe` from the host of the containers.
#[track_caller]
fn probe(stage: &Stage, server: &Server, arguments: &[&str]) {
    let token = stage.folder().join("token");
    std::fs::write(&token, Token::TEXT).expect("the cell's folder is writable");
    let output = Command::new(env!("CARGO_BIN_EXE_conformance"))
        .arg("probe")
        .arg(format!("--server={}", server.address()))
        .arg("--token-file")
        .arg(token)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the probe can be started");
    assert!(
        output.status.success(),
        "{}\n{}",
        remarks(&String::from_utf8_lossy(&output.stdout)),
        String::from_utf8_lossy(&output.stderr)
    );
}
