//! The state of both machines after both ends have stopped: unchanged.

use std::fs;

use conformance::{Client, Config, Lab, Machine, Server};

use crate::SECOND;

pub(crate) fn everything(machine: &Machine) -> String {
    let mut text = String::new();
    for arguments in [
        "-o link",
        "-o address",
        "-4 route show table all",
        "-6 route show table all",
        "-4 rule",
        "-6 rule",
    ] {
        // Lifetimes and counters apart.
        text += &machine.ip(arguments);
    }
    text += &machine.run("nft", &["list", "ruleset"]);
    text += &fs::read_to_string(machine.resolv_conf()).expect("the lab wrote it");
    for folder in ["run", "lib", "etc"] {
        let mut files: Vec<_> = fs::read_dir(machine.folder().join(folder))
            .expect("the lab made it")
            .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
            .filter(|name| name != "xtables.lock")
            .collect();
        files.sort();
        text += &format!("{folder}: {files:?}\n");
    }
    text
}

#[test]
fn after_both_ends_stopped_nothing_is_left_behind() {
    let lab = Lab::new(1);
    let machines = [&lab.server, &lab.clients[0]];
    let before = machines.map(everything);
    let config = Config::server()
        .set("nat", "{enabled: true, external_iface: eth0}")
        .set("dns", "[203.0.113.2]");
    let mut server = Server::start(&lab.server, config);
    let config = Config::client().set("route_mode", "default");
    let mut client = Client::start(&lab.clients[0], config);
    client.signal(libc::SIGTERM);
    assert_eq!(client.wait_for_exit(10 * SECOND), 0);
    server.signal(libc::SIGTERM);
    assert_eq!(server.wait_for_exit(10 * SECOND), 0);
    for (machine, before) in machines.into_iter().zip(before) {
        let after = everything(machine);
        assert_eq!(after, before, "on {}", machine.name());
    }
}
