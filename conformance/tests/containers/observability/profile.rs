//! CPU profiles of a running server under load, read by Go's own tool.

use std::process::Command;

use conformance::probe::{Session, SessionOptions, udp_packet};
use conformance::{Config, Lab};

use super::Named;
use crate::container::Spec;
use crate::programs::{Kind, Server};
use crate::stage::Stage;

pub(super) fn cells() -> Vec<Named> {
    vec![(
        "go tool pprof reads a CPU profile of the running server and finds its functions",
        profile,
    )]
}

fn profile(stage: &Stage) {
    let network = stage.network("net");
    let config = Config::server()
        .set("pprof_addr", "127.0.0.1:6060")
        .set("rate_limit", "{pps: -1, burst: -1}");
    let server = Server::start(stage, &network, Kind::Ours, config);
    // Any container is a machine in the network; this one only has to be there.
    let neighbour = Spec::new("neighbour", "qdt-prometheus")
        .unprivileged()
        .network(&network)
        .start(stage);
    let mut session = Session::open(
        neighbour.machine(),
        server.address(),
        &SessionOptions::default(),
    )
    .unwrap_or_else(|refused| panic!("the server refused a session: {refused:?}"));
    let file = stage.folder().join("profile.pb");
    let path = file.to_string_lossy().into_owned();
    let machine = server.machine();
    std::thread::scope(|scope| {
        let fetching = scope.spawn(|| {
            let url = "http://127.0.0.1:6060/debug/pprof/profile?seconds=3";
            let options = ["--silent", "--show-error", "--fail", "--max-time", "60"];
            machine.run("curl", &[&options[..], &["--output", &path, url]].concat())
        });
        while !fetching.is_finished() {
            // Many at once, so that the server is busy; no program reads the answers.
            let (from, to) = ((session.inner(), 1000), (Lab::GATEWAY, 9));
            let packet = udp_packet(from, to, &[0; 1000]);
            let sealed: Vec<_> = (0..500).map(|_| session.sealer.seal(0, &packet)).collect();
            session.send_many(sealed);
        }
    });

    let read = Command::new("go")
        .args(["tool", "pprof", "-top", &path])
        .output()
        .unwrap_or_else(|error| {
            panic!("go tool pprof does not run ({error}): scripts/containers installs Go")
        });
    let text = String::from_utf8_lossy(&read.stdout).into_owned();
    assert!(
        read.status.success(),
        "{}",
        String::from_utf8_lossy(&read.stderr)
    );
    assert!(text.lines().any(|line| line == "Type: cpu"), "{text}");
    let total = text
        .lines()
        .find_map(|line| line.split_once("Total samples = "))
        .map(|(_, total)| total);
    assert!(
        total.is_some_and(|total| !total.starts_with("0 ")),
        "{text}"
    );
    assert!(
        text.contains("qdt_transport::"),
        "no function of the packet workers in\n{text}"
    );
}
