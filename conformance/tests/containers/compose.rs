//! The compose files: that of the Go project with another image, the one at
//! the top of this project, and the try-out; with both generations of docker
//! compose.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use conformance::{Config, Lab, get, ping, wait_until};

use crate::SECOND;
use crate::cell::Cell;
use crate::command::{Generation, Project, docker, run, source};
use crate::container::Spec;
use crate::images::{gets_through, internet};
use crate::network::Network;
use crate::programs::{Client, Kind};
use crate::stage::Stage;
use crate::try_out::two_commands_lead_to_a_ping;

/// The topic's name.
const GROUP: &str = "compose files";
/// The service of the server, in the Go project's file and in ours.
const SERVER: &str = "qdt-server";
/// What a first start makes.
const FIRST_START: [&str; 4] = ["server.yaml", "client.yaml", "cert.pem", "key.pem"];
/// The Go project's compose file as its users have it, but for the name of the image.
const OF_THE_GO_PROJECT: &str = "\
services:
  qdt-server:
    image: qdt-server:${QDT_IMAGE_TAG}
    network_mode: host
    cap_add:
      - NET_ADMIN
    devices:
      - /dev/net/tun:/dev/net/tun
    volumes:
      - ./server.yaml:/etc/qdt/server.yaml:ro
      - ./cert.pem:/etc/qdt/cert.pem:ro
      - ./key.pem:/etc/qdt/key.pem:ro
    command: [\"-config\", \"/etc/qdt/server.yaml\"]
";

/// The cells of the topic.
pub(crate) fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for generation in Generation::BOTH {
        let cell = |row: &str, work: fn(&Stage, Generation)| {
            Cell::new(GROUP, row, generation.name(), move |stage| {
                work(stage, generation)
            })
        };
        cells.push(cell("the files are valid", the_files_are_valid));
        cells.push(cell(
            "the Go project's file with another image starts a server that a client pings",
            the_go_projects_file_starts_our_server,
        ));
        cells.push(cell(
            "what a first start made in a volume survives down, up and a new container",
            |stage, generation| first_start_is_kept(stage, generation, "qdt-config"),
        ));
        cells.push(cell(
            "two commands lead from a fresh clone to a ping",
            two_commands_lead_to_a_ping,
        ));
    }
    // The same file read by the same program: the older generation would show nothing new, and is
    // slower.
    let cell = |row: &str, work: fn(&Stage)| Cell::new(GROUP, row, Generation::Second.name(), work);
    cells.push(cell(
        "what a first start made in a folder survives down, up and a new container",
        |stage| {
            let folder = stage.folder().join("qdt");
            first_start_is_kept(stage, Generation::Second, &folder.to_string_lossy());
        },
    ));
    cells.push(cell(
        "a user's own files are used and never written",
        own_files_are_used,
    ));
    cells.push(cell(
        "with no more rights than the file leaves it the server carries packets through a closed FORWARD chain",
        |stage| the_rights_are_enough(stage, "iptables-nft"),
    ));
    cells.push(cell(
        "with no more rights than the file leaves it the server carries packets where an older iptables closed it",
        |stage| the_rights_are_enough(stage, "iptables-legacy"),
    ));
    cells
}

fn the_files_are_valid(_: &Stage, generation: Generation) {
    for file in ["compose.yaml", "docker/try-out/compose.yaml"] {
        let path = source().join(file);
        run(generation
            .command()
            .arg("-f")
            .arg(path)
            .args(["config", "--quiet"]));
    }
}

/// The server in the host's network, on the host's address in the client's network and with a
/// device of its own name.
fn the_go_projects_file_starts_our_server(stage: &Stage, generation: Generation) {
    let network = stage.network("net");
    let host = host_address(&network);
    let third = host.octets()[2];
    let config = Config::server()
        .set("addr", &format!("{host}:443"))
        .set("metrics_addr", &format!("{host}:9100"))
        .set("health_addr", &format!("{host}:9200"))
        .set("tun_name", &format!("qdtgo{third}"))
        .set("pool_cidr", &format!("10.214.{third}.0/24"));
    write_own_files(stage.folder(), &config);
    let file = stage.folder().join("docker-compose.yml");
    fs::write(&file, OF_THE_GO_PROJECT).expect("the cell's folder is writable");
    let project = Project::new(stage, generation, &[&file]);
    project.up();
    crate::command::wait_for_health(&project.container(SERVER), "healthy");

    let address = (host, 443).into();
    let client = Client::spawn(
        stage,
        "client",
        &network,
        Kind::Ours,
        address,
        Config::client(),
    );
    let gateway = Ipv4Addr::new(10, 214, third, 1);
    wait_until("a ping through the tunnel", 20 * SECOND, || {
        ping(client.machine(), gateway.into(), 56, SECOND).is_some()
    });
}

/// `place` is what QDT_CONFIG says: a folder of the host, or the volume of the file.
fn first_start_is_kept(stage: &Stage, generation: Generation, place: &str) {
    let volume = stage.engine_name("config");
    let project = our_project(stage, generation, &volume).variable("QDT_CONFIG", place);
    let mut seen = Vec::new();
    for start in [
        &["up", "-d"][..],
        &["up", "-d"],
        &["up", "-d", "--force-recreate"],
    ] {
        project.run(start);
        wait_until_ready(&project);
        let copy = stage.folder().join(format!("copy-{}", seen.len()));
        docker(&[
            "cp",
            &format!("{}:/etc/qdt", project.container(SERVER)),
            &copy.to_string_lossy(),
        ]);
        seen.push(
            FIRST_START
                .map(|name| fs::read_to_string(copy.join(name)).expect("the first start made it")),
        );
        if seen.len() == 1 {
            project.run(&["down"]);
        }
    }
    assert!(
        seen[0][0].contains("token:"),
        "a configuration without a token"
    );
    assert!(
        seen.iter().all(|files| *files == seen[0]),
        "a later start changed what the first one made"
    );

    // The client.yaml of the first start still connects a client.
    let address = docker(&[
        "inspect",
        "-f",
        "{{.NetworkSettings.Networks.bridge.IPAddress}}",
        &project.container(SERVER),
    ]);
    let config: Vec<String> = seen[0][1]
        .lines()
        .map(|line| match line.starts_with("server:") {
            true => format!("server: \"{address}:443\""),
            false => line.to_owned(),
        })
        .collect();
    let client = Spec::new("client", "qdt-client")
        .file("/etc/qdt/client.yaml", config.join("\n"))
        .network_named("bridge")
        .start(stage);
    wait_until("a ping through the tunnel", 20 * SECOND, || {
        ping(client.machine(), Lab::GATEWAY.into(), 56, SECOND).is_some()
    });
}

fn own_files_are_used(stage: &Stage) {
    let folder = stage.folder().join("own");
    fs::create_dir(&folder).expect("the cell's folder is writable");
    write_own_files(&folder, &Config::server().set("pool_cidr", "10.99.0.0/24"));
    let state = || -> Vec<(PathBuf, Vec<u8>, SystemTime)> {
        let mut files: Vec<_> = fs::read_dir(&folder)
            .expect("the folder is there")
            .map(|entry| entry.expect("the folder can be listed"))
            .map(|entry| {
                let changed = entry.metadata().and_then(|it| it.modified());
                (
                    entry.path(),
                    fs::read(entry.path()).expect("the suite runs as root"),
                    changed.expect("files have a time"),
                )
            })
            .collect();
        files.sort();
        files
    };
    let before = state();
    let volume = stage.engine_name("config");
    let project = our_project(stage, Generation::Second, &volume)
        .variable("QDT_CONFIG", &folder.to_string_lossy());
    project.up();
    wait_until_ready(&project);
    let address = project.machine(SERVER).ipv4("qdt0");
    assert_eq!(
        address,
        Some(Ipv4Addr::new(10, 99, 0, 1)),
        "another configuration was used"
    );
    project.run(&["down"]);
    assert!(
        state() == before,
        "files of the user have changed, or others came"
    );
}

/// The server with all restrictions of the project's own file: capabilities, new privileges, a
/// writable root file system; but in a network that is not the host's, whose FORWARD chain is
/// closed before the server starts.
fn the_rights_are_enough(stage: &Stage, iptables: &str) {
    let (inside, outside) = (stage.network("inside"), stage.network("outside"));
    let internet = internet(stage, &outside);
    let folder = stage.folder().join("own");
    fs::create_dir(&folder).expect("the cell's folder is writable");
    let nat = "{ enabled: true, external_iface: eth2 }";
    write_own_files(&folder, &Config::server().set("nat", nat));
    let entrypoint = format!(
        "    entrypoint: [/bin/sh, -c, \"{iptables} -P FORWARD DROP && exec qdt-server -config /etc/qdt/server.yaml\"]\n"
    );
    let project = project_with(stage, Generation::Second, "unused", &entrypoint)
        .variable("QDT_CONFIG", &folder.to_string_lossy());
    project.up();
    for network in [&inside, &outside] {
        docker(&[
            "network",
            "connect",
            network.name(),
            &project.container(SERVER),
        ]);
    }
    wait_until_ready(&project);
    let machine = project.machine(SERVER);
    let address = machine.ipv4("eth1").expect("the first network's interface");
    gets_through(stage, &machine, (&inside, address), &internet, iptables);
}

/// The project's own file in a network that is not the host's, with a volume of another name than
/// users have.
fn our_project(stage: &Stage, generation: Generation, volume: &str) -> Project {
    project_with(stage, generation, volume, "")
}

/// As [`our_project`], with further lines for the service.
fn project_with(stage: &Stage, generation: Generation, volume: &str, lines: &str) -> Project {
    let elsewhere = stage.folder().join("elsewhere.yaml");
    let text = format!(
        "services:\n  {SERVER}:\n    network_mode: bridge\n{lines}volumes:\n  qdt-config:\n    name: {volume}\n"
    );
    fs::write(&elsewhere, text).expect("the cell's folder is writable");
    Project::new(
        stage,
        generation,
        &[&source().join("compose.yaml"), &elsewhere],
    )
}

#[track_caller]
fn wait_until_ready(project: &Project) {
    let machine = project.machine(SERVER);
    wait_until("the server takes clients", 20 * SECOND, || {
        matches!(
            get(&machine, ([127, 0, 0, 1], 9200).into(), "/healthz"),
            Ok((200, _))
        )
    });
}

/// The address of the host itself in a network: the first one.
fn host_address(network: &Network) -> Ipv4Addr {
    let subnet = docker(&[
        "network",
        "inspect",
        "-f",
        "{{range .IPAM.Config}}{{.Subnet}} {{end}}",
        network.name(),
    ]);
    let first = subnet
        .split('/')
        .next()
        .and_then(|it| it.parse::<Ipv4Addr>().ok());
    let [a, b, c, _] = first
        .expect("a network of the suite has an IPv4 subnet")
        .octets();
    Ipv4Addr::new(a, b, c, 1)
}

fn write_own_files(folder: &Path, config: &Config) {
    fs::write(folder.join("server.yaml"), config.yaml()).expect("the cell's folder is writable");
    run(Command::new(source().join("scripts/gen-cert.sh"))
        .arg(folder.join("cert.pem"))
        .arg(folder.join("key.pem"))
        .arg("vpn.lab"));
}
