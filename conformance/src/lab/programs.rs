//! The programs of a lab, ours and the Go peer's, started with their
//! configuration and waited for.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::time::Duration;

use super::binaries::Binaries;
use super::config::Config;
use super::machine::Machine;
use super::metrics::Metrics;
use super::process::Process;
use super::wait::{wait_for, wait_until};
use crate::traffic;

/// How long a program may take until it does what it was started for.
const START: Duration = Duration::from_secs(15);

/// For a shell: runs the other arguments with their stdout on the first.
const INTO_FIRST: &str = "exec \"$@\" >\"$0\"";

/// A running server.
#[derive(Debug)]
pub struct Server<'lab> {
    process: Process,
    machine: &'lab Machine,
    config: Config,
}

impl<'lab> Server<'lab> {
    /// Starts our server and waits until /healthz says that it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn start(machine: &'lab Machine, config: Config) -> Self {
        let mut server = Self::spawn(machine, config);
        server.wait_until_ready();
        server
    }

    /// Starts our server and does not wait.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[track_caller]
    pub fn spawn(machine: &'lab Machine, config: Config) -> Self {
        let program = Binaries::server().to_string_lossy().into_owned();
        Self::spawn_command(machine, config, &[&program])
    }

    /// Starts the build of our server that has faults on purpose, with one of them or none, and
    /// waits until it is ready.
    ///
    /// # Panics
    /// When it was not built or does not become ready.
    #[must_use]
    #[track_caller]
    pub fn start_mutant(machine: &'lab Machine, config: Config, mutant: Option<&str>) -> Self {
        let program = Binaries::mutants().to_string_lossy().into_owned();
        let chosen = mutant.map(|name| format!("QDT_MUTANT={name}"));
        let words: Vec<&str> = ["env"]
            .into_iter()
            .chain(chosen.as_deref())
            .chain([program.as_str()])
            .collect();
        let mut server = Self::spawn_command(machine, config, &words);
        server.wait_until_ready();
        server
    }

    /// Starts our server with these variables (`NAME=value`) and does not wait.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[track_caller]
    pub fn spawn_with(machine: &'lab Machine, config: Config, variables: &[&str]) -> Self {
        let program = Binaries::server().to_string_lossy().into_owned();
        let words = [&["env"], variables, &[program.as_str()]].concat();
        Self::spawn_command(machine, config, &words)
    }

    /// Starts our server with its stdout on `log` and does not wait.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[track_caller]
    pub fn spawn_with_log(machine: &'lab Machine, config: Config, log: &Path) -> Self {
        let program = Binaries::server().to_string_lossy().into_owned();
        let log = log.to_string_lossy();
        Self::spawn_command(machine, config, &["sh", "-c", INTO_FIRST, &log, &program])
    }

    /// Starts a program that is our server with the words before its arguments.
    #[track_caller]
    fn spawn_command(machine: &'lab Machine, config: Config, words: &[&str]) -> Self {
        let path = machine.folder().join("server.yaml");
        write_private(&path, &config.yaml());
        let path = path.to_string_lossy();
        let arguments: Vec<&str> = words[1..]
            .iter()
            .copied()
            .chain(["-config", path.as_ref()])
            .collect();
        let process = Process::start(machine, "qdt-server", Path::new(words[0]), &arguments);
        Self {
            process,
            machine,
            config,
        }
    }

    /// Starts the Go peer's server and waits until it listens.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn start_go(machine: &'lab Machine, config: Config) -> Self {
        let config = config
            .set(
                "tls_cert",
                &machine.folder().join("go-cert.pem").to_string_lossy(),
            )
            .set(
                "tls_key",
                &machine.folder().join("go-key.pem").to_string_lossy(),
            );
        let path = machine.folder().join("go-server.yaml");
        write_private(&path, &config.yaml());
        let process = Process::start(
            machine,
            "go-server",
            &Binaries::go_peer(),
            &["server", "-config", &path.to_string_lossy()],
        );
        let server = Self {
            process,
            machine,
            config,
        };
        server.wait_until_udp_listens();
        server
    }

    /// Waits until /healthz answers 200.
    ///
    /// # Panics
    /// When it ends or stays silent instead.
    #[track_caller]
    pub fn wait_until_ready(&mut self) {
        wait_until("the server's /healthz says ok", START, || {
            if let Some(status) = self.process.ended() {
                panic!(
                    "qdt-server ended with {status}:\n{}{}",
                    self.process.stdout(),
                    self.process.stderr()
                );
            }
            matches!(
                traffic::get(self.machine, self.metrics_address(), "/healthz"),
                Ok((200, _))
            )
        });
    }

    /// Waits until a UDP socket is bound to port 443 of the machine.
    ///
    /// # Panics
    /// When none is.
    #[track_caller]
    pub fn wait_until_udp_listens(&self) {
        wait_until("a UDP socket on port 443", START, || {
            self.machine.udp_port_is_bound(443)
        });
    }

    /// Where the metrics are served on the machine itself.
    #[must_use]
    pub fn metrics_address(&self) -> SocketAddr {
        let text = self
            .config
            .get("metrics_addr")
            .unwrap_or(":9100")
            .trim_matches('"');
        let port = text
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok())
            .unwrap_or(9100);
        (Ipv4Addr::LOCALHOST, port).into()
    }

    /// Scrapes /metrics.
    ///
    /// # Panics
    /// When the server does not answer 200.
    #[must_use]
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        match traffic::get(self.machine, self.metrics_address(), "/metrics") {
            Ok((200, text)) => Metrics::parse(&text),
            other => panic!("/metrics: {other:?}"),
        }
    }

    /// The machine it runs on.
    #[must_use]
    pub fn machine(&self) -> &'lab Machine {
        self.machine
    }
}

/// A running client.
#[derive(Debug)]
pub struct Client<'lab> {
    process: Process,
    machine: &'lab Machine,
    config: Config,
}

impl<'lab> Client<'lab> {
    /// Starts our client and waits until its device has an address and the
    /// gateway answers a ping through it.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn start(machine: &'lab Machine, config: Config) -> Self {
        let mut client = Self::spawn(machine, config);
        client.wait_until_connected();
        client
    }

    /// Starts our client and does not wait.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[track_caller]
    pub fn spawn(machine: &'lab Machine, config: Config) -> Self {
        Self::spawn_program(machine, config, "client", &Binaries::client(), &[])
    }

    /// Starts our client with these variables (`NAME=value`) and does not wait.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[track_caller]
    pub fn spawn_with(machine: &'lab Machine, config: Config, variables: &[&str]) -> Self {
        let program = Binaries::client().to_string_lossy().into_owned();
        let before = [variables, &[program.as_str()]].concat();
        Self::spawn_program(machine, config, "client", Path::new("env"), &before)
    }

    /// Starts our client with its stdout on `log` and does not wait.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[track_caller]
    pub fn spawn_with_log(machine: &'lab Machine, config: Config, log: &Path) -> Self {
        let program = Binaries::client().to_string_lossy().into_owned();
        let log = log.to_string_lossy();
        let before = ["-c", INTO_FIRST, &log, &program];
        Self::spawn_program(machine, config, "client", Path::new("sh"), &before)
    }

    /// Starts the Go peer's client and waits as [`Client::start`] does.
    ///
    /// # Panics
    /// When it does not connect.
    #[track_caller]
    pub fn start_go(machine: &'lab Machine, config: Config) -> Self {
        let mut client = Self::spawn_go(machine, config);
        client.wait_until_connected();
        client
    }

    /// Starts the Go peer's client and does not wait.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[track_caller]
    pub fn spawn_go(machine: &'lab Machine, config: Config) -> Self {
        Self::spawn_program(
            machine,
            config,
            "go-client",
            &Binaries::go_peer(),
            &["client"],
        )
    }

    #[track_caller]
    fn spawn_program(
        machine: &'lab Machine,
        config: Config,
        name: &str,
        program: &Path,
        before: &[&str],
    ) -> Self {
        let path = machine.folder().join(format!("{name}.yaml"));
        write_private(&path, &config.yaml());
        let path = path.to_string_lossy();
        let arguments: Vec<&str> = before
            .iter()
            .copied()
            .chain(["-config", path.as_ref()])
            .collect();
        let process = Process::start(machine, name, program, &arguments);
        Self {
            process,
            machine,
            config,
        }
    }

    /// Waits until the tunnel carries packets and returns the inner address.
    ///
    /// # Panics
    /// When the client ends or does not connect.
    #[track_caller]
    pub fn wait_until_connected(&mut self) -> Ipv4Addr {
        let gateway = super::topology::Lab::GATEWAY;
        wait_for(
            "an answer from the gateway inside the tunnel",
            START,
            || {
                if let Some(status) = self.process.ended() {
                    panic!(
                        "the client ended with {status}:\n{}{}",
                        self.process.stdout(),
                        self.process.stderr()
                    );
                }
                let address = self.inner_address()?;
                traffic::ping(self.machine, gateway.into(), 56, Duration::from_millis(300))
                    .map(|_| address)
            },
        )
    }

    /// The address of the client's TUN device, where it has one.
    #[must_use]
    pub fn inner_address(&self) -> Option<Ipv4Addr> {
        let name = self.config.get("tun_name").unwrap_or("qdt0");
        self.machine.ipv4(name)
    }

    /// The MTU of the client's TUN device.
    ///
    /// # Panics
    /// When there is no device.
    #[must_use]
    #[track_caller]
    pub fn device_mtu(&self) -> usize {
        let name = self.config.get("tun_name").unwrap_or("qdt0");
        self.machine.mtu(name)
    }

    /// The machine it runs on.
    #[must_use]
    pub fn machine(&self) -> &'lab Machine {
        self.machine
    }
}

impl Deref for Server<'_> {
    type Target = Process;
    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Server<'_> {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

impl Deref for Client<'_> {
    type Target = Process;
    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Client<'_> {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Writes a configuration that only its owner may read, as the programs ask.
fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).expect("the machine's folder is writable");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("the file is ours");
}
