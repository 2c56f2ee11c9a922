//! The images as users get them: what is in them, how their health check and
//! their stop work, and as which users they run.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::time::Instant;

use conformance::{Config, Machine, get, ping, wait_until};

use crate::SECOND;
use crate::cell::Cell;
use crate::command::{docker, source, wait_for_health};
use crate::container::{Container, Spec};
use crate::engine::image_tag;
use crate::network::Network;
use crate::programs::{Client, Kind, Server};
use crate::stage::Stage;

/// The topic's name.
const GROUP: &str = "images";
/// What the images add to their base, at most, in bytes: a program, nft and iptables.
const ADDED_AT_MOST: u64 = 60_000_000;
/// The user of the image for users other than root.
const NONROOT: u32 = 10443;

/// The cells of the topic.
pub(crate) fn cells() -> Vec<Cell> {
    let mut cells = vec![
        Cell::named(
            GROUP,
            "the images hold no compiler, no interpreter and no secret, and little besides their base",
            |stage| {
                for image in ["qdt-server", "qdt-client"] {
                    holds_what_it_needs(stage, image);
                }
            },
        ),
        Cell::named(
            GROUP,
            "the Dockerfile for sources and the one for built programs have the same runtime stages",
            |_| the_runtime_stages_are_the_same(),
        ),
        Cell::named(
            GROUP,
            "the health check follows the server at whatever address it has",
            health_follows_the_server,
        ),
        Cell::named(
            GROUP,
            "read only files in a read only container without other capabilities are enough",
            read_only_is_enough,
        ),
        Cell::named(
            GROUP,
            "SIGTERM ends both programs within two seconds and with 0",
            sigterm_ends_both,
        ),
    ];
    for (name, suffix, iptables) in [
        (
            "run by root the server carries packets through a closed FORWARD chain and NAT",
            "",
            "iptables",
        ),
        (
            "run by root the server carries packets through a FORWARD chain that an older iptables closed",
            "",
            "iptables-legacy",
        ),
        (
            "run by another user the server carries packets through a closed FORWARD chain and NAT",
            "-nonroot",
            "iptables",
        ),
    ] {
        cells.push(Cell::named(GROUP, name, move |stage| {
            carries_packets_through_nat(stage, suffix, iptables);
        }));
    }
    cells
}

fn holds_what_it_needs(stage: &Stage, image: &str) {
    // Keys by their names and by what is in them; the certificates of the system are links.
    let look = "for program in cc gcc c++ ld make cargo rustc go python3 curl wget; do command -v $program; done; \
                ls -A /etc/qdt; \
                find / -xdev -type f '(' -name '*.yaml' -o -name '*.yml' -o -name '*.pem' -o -name '*.key' ')' \
                || exit 3; \
                grep -rIlE -e '-----BEGIN ([A-Z]+ )*PRIVATE KEY' /etc /home /mnt /opt /root /run /srv /tmp /usr /var; \
                test $? = 1";
    let container = Spec::new(image, image)
        .entrypoint("/bin/sh")
        .command(&["-c", look])
        .unprivileged()
        .start(stage);
    let code = container.wait_for_exit(30 * SECOND);
    assert_eq!(
        (code, container.output().as_str()),
        (0, ""),
        "{image} holds unneeded files, or could not be searched"
    );

    let full = format!("{image}:{}", image_tag());
    let size = |image: &str| -> u64 {
        let size = docker(&["image", "inspect", "-f", "{{.Size}}", image]);
        size.parse().expect("the engine knows sizes")
    };
    let (whole, base) = (size(&full), size("debian:bookworm-slim"));
    crate::progress::line(&format!(
        "     {full}: {} MB, of which the base {} MB",
        whole / 1_000_000,
        base / 1_000_000
    ));
    assert!(
        whole - base < ADDED_AT_MOST,
        "{full} adds {} bytes to its base",
        whole - base
    );
}

fn the_runtime_stages_are_the_same() {
    let runtime = |file: &str| {
        let path = source().join("docker").join(file);
        let text = fs::read_to_string(&path).expect("the file is part of the project");
        let at = text.find("# ---- Runtime stages");
        text[at.unwrap_or_else(|| panic!("{file} has no line that begins the runtime stages"))..]
            .to_owned()
    };
    assert_eq!(runtime("Dockerfile"), runtime("Dockerfile.prebuilt"));
}

fn health_follows_the_server(stage: &Stage) {
    let network = stage.network("net");
    let config = Config::server().set("health_addr", "\"127.0.0.1:9333\"  # moved");
    let server = Server::start(stage, &network, Kind::Ours, config);
    let name = stage.engine_name(server.name());
    wait_for_health(&name, "healthy");
    // A stopped process does not answer.
    server.signal("SIGSTOP");
    wait_for_health(&name, "unhealthy");
    server.signal("SIGCONT");
    wait_for_health(&name, "healthy");

    let last = format!(
        "{}health_addr: \"127.0.0.1:9444\"",
        Config::server().without("health_addr").yaml()
    );
    let unended = Spec::new("unended", "qdt-server")
        .file("/etc/qdt/server.yaml", last)
        .network(&network)
        .start(stage);
    wait_for_health(&stage.engine_name(unended.name()), "healthy");
}

fn read_only_is_enough(stage: &Stage) {
    let network = stage.network("net");
    let folder = own_files(stage, Config::server());
    let mut spec = Spec::new("server", "qdt-server")
        .read_only()
        .network(&network)
        .command(&["-config", "/etc/qdt/server.yaml"]);
    for file in ["server.yaml", "cert.pem", "key.pem"] {
        spec = spec.mount(
            &format!("{folder}/{file}"),
            &format!("/etc/qdt/{file}"),
            true,
        );
    }
    let before = contents(&folder);
    let server = spec.start(stage);
    let config = Config::client();
    let address = (server.ipv4(), 443).into();
    let client = Client::start(stage, &network, Kind::Ours, address, config);
    assert!(client.pings(56, SECOND));
    assert_eq!(server.stop(), 0);
    assert_eq!(contents(&folder), before, "files of the user have changed");
}

fn sigterm_ends_both(stage: &Stage) {
    let network = stage.network("net");
    let server = Server::start(stage, &network, Kind::Ours, Config::server());
    let config = Config::client();
    let client = Client::start(stage, &network, Kind::Ours, server.address(), config);
    for container in [&*client, &*server] {
        let start = Instant::now();
        assert_eq!(
            container.stop(),
            0,
            "{}:\n{}",
            container.name(),
            container.output()
        );
        let took = start.elapsed();
        assert!(took < 2 * SECOND, "{} took {took:?}", container.name());
    }
}

/// Client, server and a host that only the server reaches, in a container where what is forwarded
/// is dropped unless a rule made with `iptables` allows it; the server runs as the user of the
/// image.
fn carries_packets_through_nat(stage: &Stage, suffix: &str, iptables: &str) {
    let (inside, outside) = (stage.network("inside"), stage.network("outside"));
    let internet = internet(stage, &outside);
    let nat = "{ enabled: true, external_iface: eth1 }";
    let folder = own_files(stage, Config::server().set("nat", nat));
    let server = Spec::new("server", "qdt-server")
        .tag(&format!("{}{suffix}", image_tag()))
        .tun_device(&open_tun_device(stage))
        .mount(&folder, "/etc/qdt", true)
        .network(&inside)
        .entrypoint("/bin/sh")
        .command(&[
            "-c",
            &format!("{iptables} -P FORWARD DROP && exec qdt-server -config /etc/qdt/server.yaml"),
        ])
        .start(stage);
    docker(&[
        "network",
        "connect",
        outside.name(),
        &stage.engine_name("server"),
    ]);
    let machine = server.machine();
    wait_until("the server takes clients", 20 * SECOND, || {
        assert_eq!(server.ended(), None, "{}", server.output());
        matches!(
            get(machine, ([127, 0, 0, 1], 9100).into(), "/healthz"),
            Ok((200, _))
        )
    });
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid().expect("it runs")));
    let user = if suffix.is_empty() { 0 } else { NONROOT };
    let line = format!("Uid:\t{user}\t");
    assert!(
        status.expect("a process has a status").contains(&line),
        "not run by user {user}"
    );

    let address = machine.ipv4("eth0").expect("the first network's interface");
    gets_through(stage, machine, (&inside, address), &internet, iptables);
}

/// A host that only the server reaches.
pub(crate) fn internet(stage: &Stage, outside: &Network) -> Container {
    Spec::new("internet", "qdt-client")
        .entrypoint("/bin/sleep")
        .command(&["infinity"])
        .unprivileged()
        .network(outside)
        .start(stage)
}

/// A client in the network of the server's address gets an answer from behind the server, although
/// the server's FORWARD chain is closed.
#[track_caller]
pub(crate) fn gets_through(
    stage: &Stage,
    server: &Machine,
    (inside, address): (&Network, Ipv4Addr),
    internet: &Container,
    iptables: &str,
) {
    let config = Config::client().set("route_mode", "default");
    let client = Client::start(stage, inside, Kind::Ours, (address, 443).into(), config);
    wait_until("an answer from behind the server", 10 * SECOND, || {
        ping(client.machine(), internet.ipv4().into(), 56, SECOND).is_some()
    });
    let rules = server.run(iptables, &["-S", "FORWARD"]);
    assert!(
        rules.contains("-P FORWARD DROP") && rules.contains("qdt qdt0"),
        "{rules}"
    );
}

/// A configuration, its certificate and key in a folder of the host, readable by their owner only,
/// who is the user of the image for users other than root.
fn own_files(stage: &Stage, config: Config) -> String {
    let folder = stage.folder().join("etc-qdt");
    fs::create_dir(&folder).expect("the cell's folder is writable");
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    fs::write(path("server.yaml"), config.yaml()).expect("the cell's folder is writable");
    let script = source().join("scripts/gen-cert.sh");
    crate::command::run(std::process::Command::new(script).args([
        &path("cert.pem"),
        &path("key.pem"),
        "vpn.lab",
    ]));
    for name in ["server.yaml", "key.pem", "cert.pem"] {
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o600))
            .expect("the file is ours");
        chown(path(name), Some(NONROOT), Some(NONROOT)).expect("the suite runs as root");
    }
    folder.to_string_lossy().into_owned()
}

fn contents(folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("the folder can be listed"))
        .map(|entry| {
            let content = fs::read(entry.path()).expect("the suite runs as root");
            (entry.file_name().to_string_lossy().into_owned(), content)
        })
        .collect();
    files.sort();
    files
}

/// A device node that every user may open, as udev makes /dev/net/tun; without udev, that of the
/// host is open to root only.
fn open_tun_device(stage: &Stage) -> String {
    let path = stage.folder().join("tun");
    let node: &Path = &path;
    crate::command::run(
        std::process::Command::new("mknod")
            .arg("-m")
            .arg("666")
            .arg(node)
            .args(["c", "10", "200"]),
    );
    path.to_string_lossy().into_owned()
}
