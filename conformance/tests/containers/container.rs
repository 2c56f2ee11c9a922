//! A container of a cell: what it is started from, and a handle to it while it
//! runs. Its network is a [`Machine`], so that all traffic and every probe of
//! the lab work from inside it. When the handle goes, the logs are kept and
//! the container is removed.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use conformance::{Machine, wait_for};
use testcontainers::bollard::models::{ContainerInspectResponse, DeviceMapping};
use testcontainers::bollard::query_parameters::{
    KillContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use testcontainers::core::Mount;
use testcontainers::runners::SyncRunner as _;
use testcontainers::{CopyTargetOptions, GenericImage, ImageExt as _};

use crate::engine::{Engine, LABEL, image_tag, this_run};
use crate::network::Network;
use crate::stage::Stage;

/// What a container is started from.
#[derive(Debug)]
pub(crate) struct Spec {
    image: String,
    tag: String,
    name: String,
    command: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
    mounts: Vec<(String, String, bool)>,
    network: Option<String>,
    user: Option<String>,
    entrypoint: Option<String>,
    read_only: bool,
    capabilities: Vec<String>,
    tun: Option<String>,
}

impl Spec {
    /// A container of an image of ours in the tag under test, with NET_ADMIN
    /// and /dev/net/tun. `name` is unique within its cell.
    pub(crate) fn new(name: &str, image: &str) -> Self {
        Self {
            image: image.to_owned(),
            tag: image_tag(),
            name: name.to_owned(),
            command: Vec::new(),
            files: Vec::new(),
            mounts: Vec::new(),
            network: None,
            user: None,
            entrypoint: None,
            read_only: false,
            capabilities: vec!["NET_ADMIN".to_owned()],
            tun: Some("/dev/net/tun".to_owned()),
        }
    }

    /// Another tag than the one under test.
    #[must_use]
    pub(crate) fn tag(mut self, tag: &str) -> Self {
        tag.clone_into(&mut self.tag);
        self
    }

    /// The arguments of the entrypoint.
    #[must_use]
    pub(crate) fn command(mut self, command: &[&str]) -> Self {
        self.command = command.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Another entrypoint.
    #[must_use]
    pub(crate) fn entrypoint(mut self, program: &str) -> Self {
        self.entrypoint = Some(program.to_owned());
        self
    }

    /// A file of mode 0600 in the container's own file system.
    #[must_use]
    pub(crate) fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), content.into()));
        self
    }

    /// A file or folder of the host at `path`.
    #[must_use]
    pub(crate) fn mount(mut self, host: &str, path: &str, read_only: bool) -> Self {
        self.mounts
            .push((host.to_owned(), path.to_owned(), read_only));
        self
    }

    /// The network it is in.
    #[must_use]
    pub(crate) fn network(mut self, network: &Network) -> Self {
        self.network = Some(network.name().to_owned());
        self
    }

    /// A network by its name, also `host`.
    #[must_use]
    pub(crate) fn network_named(mut self, name: &str) -> Self {
        self.network = Some(name.to_owned());
        self
    }

    /// The user it runs as.
    #[must_use]
    pub(crate) fn user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// Another device node of the host as its /dev/net/tun.
    #[must_use]
    pub(crate) fn tun_device(mut self, node: &str) -> Self {
        self.tun = Some(node.to_owned());
        self
    }

    /// A root file system that cannot be written.
    #[must_use]
    pub(crate) fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Neither capabilities nor a TUN device: a program that only speaks to others.
    #[must_use]
    pub(crate) fn unprivileged(mut self) -> Self {
        self.capabilities.clear();
        self.tun = None;
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When the image is missing or the engine does not start it.
    #[track_caller]
    pub(crate) fn start(self, stage: &Stage) -> Container {
        let engine = Engine::get();
        let full = format!("{}:{}", self.image, self.tag);
        engine.image_id(&full);
        let engine_name = stage.engine_name(&self.name);
        let mut image = GenericImage::new(&self.image, &self.tag);
        if let Some(entrypoint) = &self.entrypoint {
            image = image.with_entrypoint(entrypoint);
        }
        let tun = self.tun;
        let mut request = image
            .with_container_name(&engine_name)
            .with_label(LABEL, this_run())
            .with_cmd(self.command)
            .with_readonly_rootfs(self.read_only)
            .with_host_config_modifier(move |host| {
                // Ports of an image are not to appear on the machine that tests it.
                host.publish_all_ports = Some(false);
                if let Some(node) = &tun {
                    host.devices = Some(vec![DeviceMapping {
                        path_on_host: Some(node.clone()),
                        path_in_container: Some("/dev/net/tun".to_owned()),
                        cgroup_permissions: Some("rwm".to_owned()),
                    }]);
                }
            });
        for capability in self.capabilities {
            request = request.with_cap_add(capability);
        }
        for (path, content) in self.files {
            request = request.with_copy_to(CopyTargetOptions::new(path).with_mode(0o600), content);
        }
        for (host, path, read_only) in self.mounts {
            let mode = if read_only {
                testcontainers::core::AccessMode::ReadOnly
            } else {
                testcontainers::core::AccessMode::ReadWrite
            };
            request = request.with_mount(Mount::bind_mount(host, path).with_access_mode(mode));
        }
        if let Some(network) = self.network {
            request = request.with_network(network);
        }
        if let Some(user) = self.user {
            request = request.with_user(user);
        }
        let inner = request
            .start()
            .unwrap_or_else(|error| panic!("the engine does not start {full}: {error}"));
        let mut container = Container {
            name: self.name,
            inner: Some(inner),
            machine: None,
            folder: stage.folder().to_owned(),
            logs: stage.logs().to_owned(),
        };
        container.find_machine();
        container
    }
}

/// A container that was started.
pub(crate) struct Container {
    name: String,
    /// `None` only while it is dropped.
    inner: Option<testcontainers::Container<GenericImage>>,
    machine: Option<Machine>,
    folder: std::path::PathBuf,
    logs: std::path::PathBuf,
}

impl Container {
    fn inner(&self) -> &testcontainers::Container<GenericImage> {
        self.inner
            .as_ref()
            .expect("a container that is used has not been dropped")
    }

    /// Its name within the cell.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Everything the engine knows of it.
    ///
    /// # Panics
    /// When the engine does not answer.
    #[track_caller]
    pub(crate) fn inspect(&self) -> ContainerInspectResponse {
        let engine = Engine::get();
        engine
            .wait(engine.docker().inspect_container(self.inner().id(), None))
            .unwrap_or_else(|error| panic!("the engine says nothing about {}: {error}", self.name))
    }

    /// The process id of its first process on the host; `None` where it has ended.
    #[track_caller]
    pub(crate) fn pid(&self) -> Option<u32> {
        let pid = self.inspect().state?.pid?;
        u32::try_from(pid).ok().filter(|pid| *pid != 0)
    }

    /// Its network as a machine of the lab.
    ///
    /// # Panics
    /// When it had ended before its network could be looked at.
    #[track_caller]
    pub(crate) fn machine(&self) -> &Machine {
        self.machine.as_ref().unwrap_or_else(|| {
            panic!(
                "{} ended as soon as it was started:\n{}",
                self.name,
                self.output()
            )
        })
    }

    /// As [`Container::machine`], where it ran long enough to have one.
    pub(crate) fn machine_seen(&self) -> Option<&Machine> {
        self.machine.as_ref()
    }

    fn find_machine(&mut self) {
        self.machine = self
            .pid()
            .and_then(|pid| Machine::adopt(&self.name, pid, &self.folder).ok());
    }

    /// Its IPv4 address in the network it was started in.
    ///
    /// # Panics
    /// When it is not running.
    #[track_caller]
    pub(crate) fn ipv4(&self) -> Ipv4Addr {
        self.address(|endpoint| endpoint.ip_address.clone())
    }

    /// Its IPv6 address in the network it was started in.
    ///
    /// # Panics
    /// When it is not running.
    #[track_caller]
    pub(crate) fn ipv6(&self) -> Ipv6Addr {
        self.address(|endpoint| endpoint.global_ipv6_address.clone())
    }

    #[track_caller]
    fn address<T: std::str::FromStr>(
        &self,
        of: impl Fn(&testcontainers::bollard::models::EndpointSettings) -> Option<String>,
    ) -> T {
        self.inspect()
            .network_settings
            .and_then(|settings| settings.networks)
            .and_then(|networks| networks.values().find_map(&of))
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("{} has no such address: it is not running", self.name))
    }

    /// What it wrote to stdout so far, in all its starts.
    pub(crate) fn stdout(&self) -> String {
        text(self.inner().stdout_to_vec())
    }

    /// What it wrote to stderr so far, in all its starts.
    pub(crate) fn stderr(&self) -> String {
        text(self.inner().stderr_to_vec())
    }

    /// stdout, then stderr.
    pub(crate) fn output(&self) -> String {
        self.stdout() + &self.stderr()
    }

    /// Waits for a line of its output that contains `wanted`.
    ///
    /// # Panics
    /// When it does not come in time.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, wanted: &str, within: Duration) -> String {
        wait_for(
            &format!("a line with {wanted:?} from {}", self.name),
            within,
            || {
                let output = self.output();
                output
                    .lines()
                    .find(|line| line.contains(wanted))
                    .map(str::to_owned)
            },
        )
    }

    /// The exit code, where it has ended.
    #[track_caller]
    pub(crate) fn ended(&self) -> Option<i64> {
        let state = self.inspect().state?;
        if state.running == Some(true) {
            None
        } else {
            state.exit_code
        }
    }

    /// Waits for its end and returns the exit code (128 + signal, where one ended it).
    ///
    /// # Panics
    /// When it runs on.
    #[track_caller]
    pub(crate) fn wait_for_exit(&self, within: Duration) -> i64 {
        wait_for(&format!("the end of {}", self.name), within, || {
            self.ended()
        })
    }

    /// Sends a signal by name, such as `SIGTERM`, and does not wait.
    ///
    /// # Panics
    /// When it is not running.
    #[track_caller]
    pub(crate) fn signal(&self, signal: &str) {
        let engine = Engine::get();
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        engine
            .wait(
                engine
                    .docker()
                    .kill_container(self.inner().id(), Some(options)),
            )
            .unwrap_or_else(|error| panic!("{signal} for {}: {error}", self.name));
    }

    /// Ends it with SIGKILL and waits for the end.
    ///
    /// # Panics
    /// When it is not running.
    #[track_caller]
    pub(crate) fn kill(&self) {
        self.signal("SIGKILL");
        self.wait_for_exit(Duration::from_secs(10));
    }

    /// Stops it as `docker stop` does and returns the exit code.
    ///
    /// # Panics
    /// When the engine does not.
    #[track_caller]
    pub(crate) fn stop(&self) -> i64 {
        let engine = Engine::get();
        let options = StopContainerOptionsBuilder::new().t(10).build();
        engine
            .wait(
                engine
                    .docker()
                    .stop_container(self.inner().id(), Some(options)),
            )
            .unwrap_or_else(|error| panic!("stop {}: {error}", self.name));
        self.wait_for_exit(Duration::from_secs(12))
    }

    /// Starts it again after it has ended: the same file system and the same
    /// address, but a new network namespace.
    ///
    /// # Panics
    /// When the engine does not.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        let engine = Engine::get();
        engine
            .wait(engine.docker().start_container(self.inner().id(), None))
            .unwrap_or_else(|error| panic!("start {} again: {error}", self.name));
        self.find_machine();
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let mut kept = String::new();
        for (title, text) in [("stdout", self.stdout()), ("stderr", self.stderr())] {
            let _ = writeln!(kept, "==== {title} of {}\n{text}", self.name);
        }
        if fs::create_dir_all(&self.logs).is_ok() {
            let _ = fs::write(self.logs.join(format!("{}.log", self.name)), kept);
        }
        // Removes the container.
        drop(self.inner.take());
    }
}

fn text(bytes: testcontainers::core::error::Result<Vec<u8>>) -> String {
    bytes
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}
