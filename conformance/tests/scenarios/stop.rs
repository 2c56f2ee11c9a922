//! Stops by every signal, also while a helper program hangs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use conformance::{Client, Config, Lab, Machine, Server, wait_until};

use crate::SECOND;
use crate::leftovers::everything;

#[test]
fn a_client_stopped_by_any_catchable_signal_leaves_nothing_behind() {
    let lab = Lab::new(1);
    let machine = &lab.clients[0];
    let before = everything(machine);
    let config = Config::server().set("dns", "[203.0.113.2]");
    let _server = Server::start(&lab.server, config);
    for signal in [libc::SIGHUP, libc::SIGQUIT, libc::SIGPWR, libc::SIGRTMIN()] {
        let config = Config::client().set("route_mode", "default");
        let mut client = Client::start(machine, config);
        wait_until("the tunnel's resolver", 10 * SECOND, || {
            fs::read_to_string(machine.resolv_conf()).is_ok_and(|text| text.contains("203.0.113.2"))
        });
        // Those that ask for nothing end nothing.
        for idle in [libc::SIGUSR1, libc::SIGALRM, libc::SIGPROF, libc::SIGXFSZ] {
            client.signal(idle);
        }
        client.signal(signal);
        assert_eq!(client.wait_for_exit(20 * SECOND), 0, "signal {signal}");
        assert_eq!(everything(machine), before, "signal {signal}");
    }
}

/// A folder with an `nft` that hangs, with a child of its own, while there is a file `hang`.
fn nft_that_can_hang(machine: &Machine) -> PathBuf {
    let folder = machine.folder().join("bin");
    fs::create_dir(&folder).expect("the machine's folder is writable");
    let script = format!(
        "#!/bin/sh\nif [ -e {0}/hang ]; then echo $$ >>{0}/hung; sleep 600; exit; fi\n\
         PATH=/usr/sbin:/sbin:/usr/bin:/bin exec nft \"$@\"\n",
        folder.display()
    );
    let program = folder.join("nft");
    fs::write(&program, script).expect("the folder is writable");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
    folder
}

/// The processes whose group was led by a helper that hung.
fn left_by(folder: &Path) -> Vec<String> {
    let hung = fs::read_to_string(folder.join("hung")).expect("the helper was called");
    let groups: Vec<_> = hung.lines().collect();
    let in_a_group = |stat: &String| {
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let mut fields = rest.split(' ');
        let ended = fields.next() == Some("Z");
        !ended && fields.nth(1).is_some_and(|group| groups.contains(&group))
    };
    let processes = fs::read_dir("/proc").expect("/proc is mounted");
    processes
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("stat")).ok())
        .filter(in_a_group)
        .collect()
}

#[test]
fn a_hanging_helper_delays_a_stop_and_does_not_prevent_it() {
    let lab = Lab::new(1);
    let folders = [&lab.server, &lab.clients[0]].map(nft_that_can_hang);
    let path = |folder: &Path| {
        let rest = std::env::var("PATH").unwrap_or_default();
        format!("PATH={}:{rest}", folder.display())
    };
    let config = Config::server().set("nat", "{enabled: true, external_iface: eth0}");
    let mut server = Server::spawn_with(&lab.server, config, &[&path(&folders[0])]);
    server.wait_until_ready();
    let config = Config::client().set("route_mode", "default");
    let mut client = Client::spawn_with(&lab.clients[0], config, &[&path(&folders[1])]);
    client.wait_until_connected();
    for folder in &folders {
        fs::write(folder.join("hang"), "").expect("the folder is writable");
    }
    client.signal(libc::SIGTERM);
    assert_eq!(client.wait_for_exit(40 * SECOND), 0);
    server.signal(libc::SIGTERM);
    assert_eq!(server.wait_for_exit(40 * SECOND), 0);
    for said in [client.stdout(), server.stdout()] {
        let line = said.lines().find(|line| line.contains("was killed"));
        let line = line.unwrap_or_else(|| panic!("nothing said of the helper:\n{said}"));
        assert!(
            line.contains("level=WARN") && line.contains("bin/nft"),
            "{line}"
        );
    }
    let rules = lab.clients[0].ip("-4 rule");
    assert_eq!(
        rules.lines().count(),
        3,
        "the client went on with the rest: {rules}"
    );
    for folder in &folders {
        assert_eq!(left_by(folder), Vec::<String>::new());
    }
}
