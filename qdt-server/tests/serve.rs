//! The running program in its own network namespace: start, reload, drain, and host faults. Needs
//! root, a TUN driver, `ip` and `nft`, and fails without them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where an expectation fails"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use qdt_proto::handshake::Capabilities;
use qdt_transport::{
    AttemptId, ClientCommand, ClientEvent, ClientSettings, ClientTls, ClientTrust, ClientWorker,
    Dial, PacketSize,
};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{UnshareFlags, unshare_unsafe};

const DEADLINE: Duration = Duration::from_secs(30);
const TOKEN: &str = "token: 0123456789abcdef\n";

/// Runs a test, and the programs it starts, in a new network namespace.
fn in_a_namespace(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            // SAFETY: unshares only the network namespace; descriptors and memory stay shared.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
                .expect("a network namespace needs root");
            sh("ip link set lo up");
            test();
        });
        if let Err(panic) = inside.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{script}`: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// A server process; killed on drop.
struct Server {
    child: Child,
    lines: Receiver<String>,
}

impl Server {
    fn start(folder: &Path) -> Self {
        Self::start_with(Command::new(env!("CARGO_BIN_EXE_qdt-server")), folder)
    }

    fn start_with(mut command: Command, folder: &Path) -> Self {
        let mut child = command
            .args(["-config", "server.yaml"])
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let streams: [Box<dyn std::io::Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        for stream in streams {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        Self { child, lines }
    }

    /// Waits for the next line that contains `text`.
    fn wait_for_line(&self, text: &str) -> String {
        let until = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        loop {
            match self
                .lines
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("{text:?} is not among:\n{}", seen.join("\n")),
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn wait_for_exit(&mut self) -> ExitStatus {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the server does not exit");
            std::thread::yield_now();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

fn folder(yaml: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("server.yaml"), yaml).unwrap();
    folder
}

/// A folder whose server.yaml enables NAT through `ext`.
fn folder_with_nat() -> tempfile::TempDir {
    folder(&format!(
        "{TOKEN}nat: {{enabled: true, external_iface: ext}}\n"
    ))
}

#[test]
fn a_first_start_serves_and_sigterm_leaves_nothing_behind() {
    in_a_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Server::start(folder.path());
        server.wait_for_line("qdt-client -config client.yaml");
        assert!(folder.path().join("client.yaml").exists());
        // stdout and stderr are read in parallel: only the page tells that admission is open.
        let until = Instant::now() + DEADLINE;
        while TcpStream::connect("127.0.0.1:9200").is_err()
            || !get("[::1]:9200", "/healthz").ends_with("\r\n\r\nok")
        {
            assert!(Instant::now() < until, "not healthy");
            std::thread::yield_now();
        }
        assert!(get("127.0.0.1:9100", "/metrics").contains("\nqdt_sessions_active 0\n"));
        assert!(sh("ip -4 -o addr show qdt0").contains("10.8.0.1/24"));
        server.signal(Signal::TERM);
        assert_eq!(server.wait_for_exit().code(), Some(0));
        assert!(!sh("ip -o link show").contains("qdt0"));
        assert_eq!(sh("nft list tables"), "");
    });
}

#[test]
fn sigint_during_the_start_is_exit_code_0() {
    in_a_namespace(|| {
        let folder = folder(TOKEN);
        let mut server = Server::start(folder.path());
        server.wait_for_line("certificate created");
        server.signal(Signal::INT);
        assert_eq!(server.wait_for_exit().code(), Some(0));
    });
}

#[test]
fn nat_is_installed_once_and_removed_at_the_end() {
    in_a_namespace(|| {
        sh(
            "ip link add ext type veth peer name far; ip addr add 198.51.100.1/24 dev ext
            ip link set ext up; ip route add default dev ext; nft add table ip others",
        );
        let folder = folder(&format!("{TOKEN}nat: {{enabled: true}}\n"));
        let mut killed = Server::start(folder.path());
        killed.wait_for_line("server started");
        killed.child.kill().unwrap();
        killed.wait_for_exit();
        let mut server = Server::start(folder.path());
        assert!(
            server
                .wait_for_line("interface of the default route")
                .contains("external_iface=ext")
        );
        server.wait_for_line("server started");
        assert_eq!(sh("nft list ruleset").matches("masquerade").count(), 1);
        assert_eq!(sh("cat /proc/sys/net/ipv4/ip_forward"), "1\n");
        server.signal(Signal::TERM);
        assert_eq!(server.wait_for_exit().code(), Some(0));
        assert_eq!(sh("nft list tables"), "table ip others\n");
    });
}

#[test]
fn a_client_that_connects_before_the_server_is_ready_waits_and_gets_its_session() {
    in_a_namespace(|| {
        let folder = folder(&format!(
            "{TOKEN}nat: {{enabled: true, external_iface: lo}}\n"
        ));
        let file = |name: &str| folder.path().join(name);
        // Blocks the last step of the start until the test permits it.
        let script = "#!/bin/sh\ntouch called\nwhile [ ! -e go ]; do sleep 0.05; done\n\
            PATH=${PATH#*:} exec nft \"$@\"\n";
        fs::write(file("nft"), script).unwrap();
        fs::set_permissions(file("nft"), fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!(
            "{}:{}",
            folder.path().display(),
            std::env::var("PATH").unwrap()
        );
        let mut command = Command::new(env!("CARGO_BIN_EXE_qdt-server"));
        command.env("PATH", path);
        let server = Server::start_with(command, folder.path());
        let until = Instant::now() + DEADLINE;
        while !file("called").exists() {
            assert!(Instant::now() < until, "nft is not called");
            std::thread::yield_now();
        }
        let (report, events) = channel();
        let client = ClientWorker::start(client_settings(), move |event| {
            let _ = report.send(event);
        });
        let client = client.unwrap();
        client.send(ClientCommand::Dial(Dial {
            attempt: AttemptId(1),
            address: "127.0.0.1:443".parse().unwrap(),
            size: PacketSize::Full,
            resume: None,
        }));
        let early = events.recv_timeout(Duration::from_secs(1));
        assert!(early.is_err(), "a response too early: {early:?}");
        fs::write(file("go"), "").unwrap();
        server.wait_for_line("server started");
        match events.recv_timeout(DEADLINE) {
            Ok(ClientEvent::Established { .. }) => {}
            other => panic!("{other:?}"),
        }
    });
}

fn client_settings() -> ClientSettings {
    ClientSettings {
        tls: ClientTls::new(&ClientTrust::Anyone).unwrap(),
        outside: None,
        server_name: "localhost".into(),
        authority: "localhost".into(),
        token: b"0123456789abcdef".to_vec().into(),
        mtu: 1350,
        caps: Capabilities::all(),
        client_id: String::new(),
        dial_timeout: DEADLINE,
        probe_interval: None,
        max_reassembly_bytes: 65_535,
    }
}

#[test]
fn a_busy_metrics_address_is_logged_and_the_tunnel_runs() {
    in_a_namespace(|| {
        let busy = TcpListener::bind("127.0.0.1:9100").unwrap();
        let folder = folder(&format!(
            "{TOKEN}metrics_addr: 127.0.0.1:9100\nhealth_addr: 127.0.0.1:9200\n"
        ));
        let server = Server::start(folder.path());
        let line = server.wait_for_line("metrics server error");
        assert!(
            line.contains("level=ERROR") && line.contains("127.0.0.1:9100"),
            "{line}"
        );
        server.wait_for_line("server started");
        assert!(get("127.0.0.1:9200", "/healthz").ends_with("ok"));
        drop(busy);
    });
}

#[test]
fn a_busy_addr_is_a_server_error_that_leaves_nothing_on_the_host() {
    in_a_namespace(|| {
        let busy = UdpSocket::bind("[::]:443").unwrap();
        let folder = folder_with_nat();
        let mut server = Server::start(folder.path());
        let line = server.wait_for_line("msg=\"server error\"");
        assert!(line.contains("addr"), "{line}");
        assert_eq!(server.wait_for_exit().code(), Some(1));
        assert!(!sh("ip -o link show").contains("qdt0"));
        assert_eq!(sh("nft list tables"), "");
        drop(busy);
    });
}

#[test]
fn a_pool_that_overlaps_a_host_network_is_an_error_that_names_both_and_changes_nothing() {
    in_a_namespace(|| {
        sh(
            "ip link add lan type veth peer name far; ip addr add 192.168.77.2/24 dev lan; ip link set lan up",
        );
        for pool in ["192.168.77.0/24", "192.168.0.0/16", "192.168.77.8/29"] {
            let folder = folder(&format!("{TOKEN}pool_cidr: {pool}\n"));
            let mut server = Server::start(folder.path());
            let line = server.wait_for_line("msg=\"server init error\"");
            for part in [pool, "192.168.77.0/24", "`lan`", "for example 10.8.0.0/24"] {
                assert!(line.contains(part), "{part} is not in {line}");
            }
            assert_eq!(server.wait_for_exit().code(), Some(1));
            assert!(!sh("ip -o link show").contains("qdt0"));
        }
    });
}

#[test]
fn an_existing_device_with_an_address_of_the_pool_is_used() {
    in_a_namespace(|| {
        sh("ip tuntap add qdt0 mode tun; ip addr add 10.8.0.1/24 dev qdt0; ip link set qdt0 up");
        let folder = folder(TOKEN);
        let server = Server::start(folder.path());
        server.wait_for_line("server started");
    });
}

/// Adds an interface to the outside without a default route.
const OUTSIDE: &str = "ip link add ext type veth peer name far; ip addr add 198.51.100.1/24 dev ext
    ip link set ext up; ip link set far up";

/// Waits until `done` returns true.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn healthz() -> String {
    get("127.0.0.1:9200", "/healthz")
}

#[test]
fn nat_waits_for_a_default_route_and_healthz_and_a_metric_say_so() {
    in_a_namespace(|| {
        sh(OUTSIDE);
        let folder = folder(&format!("{TOKEN}nat: {{enabled: true}}\n"));
        let mut server = Server::start(folder.path());
        assert!(
            server
                .wait_for_line("nat waits")
                .contains("nat.external_iface is empty")
        );
        server.wait_for_line("server started");
        assert!(healthz().contains("503"), "{}", healthz());
        assert!(get("127.0.0.1:9100", "/metrics").contains("\nqdt_nat_missing 1\n"));
        sh("ip route add default dev ext");
        let line = server.wait_for_line("interface of the default route");
        assert!(line.contains("external_iface=ext"), "{line}");
        until("NAT works", || healthz().ends_with("\r\n\r\nok"));
        assert!(get("127.0.0.1:9100", "/metrics").contains("\nqdt_nat_missing 0\n"));
        assert_eq!(sh("nft list ruleset").matches("masquerade").count(), 1);
        // NAT follows the default route.
        sh(
            "ip link add ext2 type veth peer name far2; ip link set ext2 up
            ip route replace default dev ext2",
        );
        let line = server.wait_for_line("interface of the default route");
        assert!(line.contains("external_iface=ext2"), "{line}");
        until("the rules name it", || {
            sh("nft list ruleset").contains("oifname \"ext2\" masquerade")
        });
        server.signal(Signal::TERM);
        assert_eq!(server.wait_for_exit().code(), Some(0));
        assert_eq!(sh("nft list tables"), "");
    });
}

#[test]
fn changes_to_the_device_and_the_firewall_are_undone_and_named() {
    in_a_namespace(|| {
        sh(OUTSIDE);
        let folder = folder_with_nat();
        let mut server = Server::start(folder.path());
        server.wait_for_line("server started");
        let rules = || sh("nft -s list ruleset");
        let device = || sh("ip -4 addr show qdt0");
        let (all_rules, whole_device) = (rules(), device());
        assert!(whole_device.contains("10.8.0.1/24"), "{whole_device}");
        let mut repairs = 0;
        for (change, named) in [
            ("nft flush ruleset", "nat"),
            ("nft delete table ip qdt_qdt0", "nat"),
            ("nft flush chain ip qdt_qdt0 forward", "nat"),
            ("nft delete table ip6 qdt_qdt0", "nat"),
            ("ip addr flush dev qdt0", "address"),
            ("ip link set qdt0 mtu 900", "mtu"),
            ("ip link set qdt0 down", "link"),
            ("echo 0 > /proc/sys/net/ipv4/ip_forward", "forwarding"),
        ] {
            sh(change);
            let line = server.wait_for_line("restored");
            assert!(
                line.contains("another program changed the host's network")
                    && line.contains(&format!("restored={named}")),
                "{change}: {line}"
            );
            repairs += 1;
            until(change, || {
                rules() == all_rules
                    && device() == whole_device
                    && sh("cat /proc/sys/net/ipv4/ip_forward") == "1\n"
            });
            assert!(sh("ip route show 10.8.0.0/24").contains("dev qdt0"));
        }
        // Nothing else was restored: no repair caused another.
        let page = get("127.0.0.1:9100", "/metrics");
        let made: f64 = page
            .lines()
            .filter(|line| line.starts_with("qdt_host_repairs_total{"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum();
        assert_eq!(made, f64::from(repairs), "{page}");
        sh("ip link set qdt0 down; ip link set qdt0 up");
        until("the device is restored", || device() == whole_device);
        assert!(sh("ip route show 10.8.0.0/24").contains("dev qdt0"));
        server.signal(Signal::TERM);
        assert_eq!(server.wait_for_exit().code(), Some(0));
        assert_eq!(sh("nft list tables"), "");
    });
}

#[test]
fn a_program_that_keeps_undoing_repairs_is_an_error() {
    in_a_namespace(|| {
        sh(OUTSIDE);
        let folder = folder_with_nat();
        let server = Server::start(folder.path());
        server.wait_for_line("server started");
        for _ in 0..20 {
            sh("nft flush ruleset");
            server.wait_for_line("restored");
        }
        sh("nft flush ruleset");
        let line = server.wait_for_line("not restored for a minute");
        assert!(
            line.contains("level=ERROR") && line.contains("another program keeps changing it"),
            "{line}"
        );
        assert_eq!(sh("nft list ruleset"), "");
        assert!(healthz().contains("503"), "{}", healthz());
        assert!(get("127.0.0.1:9100", "/metrics").contains("\nqdt_nat_missing 1\n"));
    });
}

#[test]
fn a_default_route_that_moves_among_other_changes_is_followed() {
    in_a_namespace(|| {
        sh(OUTSIDE);
        sh("ip route add default dev ext
            ip link add ext2 type veth peer name far2; ip link set ext2 up");
        let folder = folder(&format!("{TOKEN}nat: {{enabled: true}}\n"));
        let server = Server::start(folder.path());
        server.wait_for_line("server started");
        // Many kinds of changes at once, as when a network manager restarts; repeated, because the
        // kernel and the scheduler decide which of them share a report.
        for (n, name) in ["ext2", "ext", "ext2", "ext", "ext2"].iter().enumerate() {
            let changes = folder.path().join("changes");
            fs::write(
                &changes,
                format!(
                    "link set {name} mtu 140{n}\naddr add 203.0.113.{n}/32 dev {name}\n\
                     route replace default dev {name}\nrule add pref 10{n} lookup main\n"
                ),
            )
            .unwrap();
            let changes = changes.display();
            sh(&format!(
                "nft add table ip other{n} & ip -batch {changes}; wait"
            ));
            let line = server.wait_for_line("interface of the default route");
            assert!(line.contains(&format!("external_iface={name}")), "{line}");
            until("the rules name it", || {
                sh("nft list ruleset").contains(&format!("oifname \"{name}\" masquerade"))
            });
        }
    });
}

/// Shadows the system's `program` in `folder` by `script`, in which `$REAL` is the original.
fn shadow(folder: &Path, program: &str, script: &str) {
    let real = sh(&format!("command -v {program}"));
    let file = folder.join(program);
    fs::write(
        &file,
        format!("#!/bin/sh\nREAL={}\n{script}\n", real.trim()),
    )
    .unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Starts a server that finds the programs of `folder` before the system's.
fn start_with_shadows(folder: &Path) -> Server {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qdt-server"));
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", folder.display()));
    Server::start_with(command, folder)
}

#[test]
fn rules_flushed_before_their_first_read_are_restored() {
    in_a_namespace(|| {
        sh(OUTSIDE);
        let folder = folder_with_nat();
        // A firewall service that starts at the same moment and flushes the new rules.
        shadow(
            folder.path(),
            "nft",
            "case \"$*\" in *-s*list*) [ -e \"$0.done\" ] || { touch \"$0.done\"; $REAL flush ruleset; };; esac
             exec $REAL \"$@\"",
        );
        let server = start_with_shadows(folder.path());
        server.wait_for_line("restored");
        until("the rules are restored", || {
            sh("nft list ruleset").contains("masquerade")
        });
        until("health is restored", || healthz().ends_with("\r\n\r\nok"));
    });
}

#[test]
fn a_start_whose_rules_cannot_be_read_back_leaves_none() {
    in_a_namespace(|| {
        sh(OUTSIDE);
        let folder = folder_with_nat();
        shadow(
            folder.path(),
            "nft",
            "case \"$*\" in *-s*list*) sleep 60;; esac; exec $REAL \"$@\"",
        );
        let mut server = start_with_shadows(folder.path());
        assert_eq!(server.wait_for_exit().code(), Some(1));
        assert_eq!(sh("nft list tables"), "");
    });
}

#[test]
fn a_foreign_chain_that_drops_forwarded_packets_is_named_at_the_start_and_when_it_appears() {
    in_a_namespace(|| {
        sh(OUTSIDE);
        let sample = "nft add table inet filter
            nft 'add chain inet filter forward { type filter hook forward priority 0; policy drop; }'";
        let folder = folder_with_nat();
        let named = "the chain `forward` of the nftables table `inet filter` drops";
        sh(sample);
        let mut server = Server::start(folder.path());
        let line = server.wait_for_line(named);
        assert!(line.contains("level=WARN"), "{line}");
        assert!(
            line.contains("nft insert rule inet filter forward iifname qdt0 oifname ext accept"),
            "{line}"
        );
        server.wait_for_line("server started");
        server.signal(Signal::TERM);
        assert_eq!(server.wait_for_exit().code(), Some(0));
        sh("nft delete table inet filter");
        let server = Server::start(folder.path());
        server.wait_for_line("server started");
        sh(sample);
        server.wait_for_line(named);
    });
}

#[test]
fn a_later_network_that_overlaps_the_pool_is_a_warning() {
    in_a_namespace(|| {
        let folder = folder(TOKEN);
        let server = Server::start(folder.path());
        server.wait_for_line("server started");
        sh("ip link add lan type veth peer name far; ip addr add 10.8.0.77/24 dev lan");
        let line = server.wait_for_line("10.8.0.0/24 overlaps 10.8.0.0/24");
        assert!(
            line.contains("level=WARN") && line.contains("`lan`"),
            "{line}"
        );
    });
}

#[test]
fn a_deleted_tun_device_ends_the_server_with_an_error() {
    in_a_namespace(|| {
        let folder = folder(TOKEN);
        let mut server = Server::start(folder.path());
        server.wait_for_line("server started");
        sh("ip link del qdt0");
        server.wait_for_line("tun read error");
        let line = server.wait_for_line("msg=\"server error\"");
        assert!(line.contains("was deleted by another program"), "{line}");
        assert_eq!(server.wait_for_exit().code(), Some(1));
    });
}

#[test]
fn a_reload_applies_token_certificate_and_level_or_nothing() {
    in_a_namespace(|| {
        let folder = folder(TOKEN);
        let file = |name: &str| folder.path().join(name);
        let mut server = Server::start(folder.path());
        let first_pin = pin(&server.wait_for_line("server started"));
        fs::write(file("server.yaml"), "token: YOUR_TOKEN\n").unwrap();
        server.signal(Signal::HUP);
        assert!(
            server
                .wait_for_line("reload failed, nothing changed")
                .contains("token")
        );
        fs::remove_file(file("cert.pem")).unwrap();
        fs::remove_file(file("key.pem")).unwrap();
        let files = qdt_server::first_start::CertificateFiles {
            certificate: file("cert.pem"),
            key: file("key.pem"),
        };
        qdt_server::first_start::ensure_certificate(&files, &[]).unwrap();
        fs::write(
            file("server.yaml"),
            "token: another-0123456789\nlog_level: debug\nmtu: 1400\n",
        )
        .unwrap();
        server.signal(Signal::HUP);
        server.wait_for_line("other changes need a restart");
        assert_ne!(pin(&server.wait_for_line("reloaded")), first_pin);
        server.signal(Signal::TERM);
        assert_eq!(server.wait_for_exit().code(), Some(0));
    });
}

fn pin(line: &str) -> String {
    line.split("pin=").nth(1).expect("a pin").to_owned()
}
