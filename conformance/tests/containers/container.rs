//! A handle to a container of a cell. Its network is a [`Machine`], so that all traffic and every
//! probe of the lab work from inside it. Dropping the handle keeps the logs and removes the
//! container.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use conformance::{Machine, wait_for};
use testcontainers::GenericImage;
use testcontainers::bollard::models::ContainerInspectResponse;
use testcontainers::bollard::query_parameters::{
    KillContainerOptionsBuilder, StopContainerOptionsBuilder,
};

use crate::engine::Engine;
pub(crate) use crate::spec::Spec;
use crate::stage::Stage;

/// A container that was started.
pub(crate) struct Container {
    name: String,
    /// `None` only while it is dropped.
    inner: Option<testcontainers::Container<GenericImage>>,
    machine: Option<Machine>,
    folder: PathBuf,
    logs: PathBuf,
}

impl Container {
    /// The handle to what was just started for a stage.
    #[track_caller]
    pub(crate) fn started(
        name: &str,
        inner: testcontainers::Container<GenericImage>,
        stage: &Stage,
    ) -> Self {
        let mut container = Self {
            name: name.to_owned(),
            inner: Some(inner),
            machine: None,
            folder: stage.folder().to_owned(),
            logs: stage.logs().to_owned(),
        };
        container.find_machine();
        container
    }

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
    ///
    /// # Panics
    /// When the engine does not give its log: what is missing is not the same as nothing.
    #[track_caller]
    pub(crate) fn stdout(&self) -> String {
        text(self.inner().stdout_to_vec())
            .unwrap_or_else(|error| panic!("no stdout of {}: {error}", self.name))
    }

    /// What it wrote to stderr so far, in all its starts.
    ///
    /// # Panics
    /// As [`Container::stdout`].
    #[track_caller]
    pub(crate) fn stderr(&self) -> String {
        text(self.inner().stderr_to_vec())
            .unwrap_or_else(|error| panic!("no stderr of {}: {error}", self.name))
    }

    /// stdout, then stderr.
    ///
    /// # Panics
    /// As [`Container::stdout`].
    #[track_caller]
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
        let inner = self.inner();
        for (title, bytes) in [
            ("stdout", inner.stdout_to_vec()),
            ("stderr", inner.stderr_to_vec()),
        ] {
            let text = text(bytes).unwrap_or_else(|error| format!("(not given: {error})"));
            let _ = writeln!(kept, "==== {title} of {}\n{text}", self.name);
        }
        if fs::create_dir_all(&self.logs).is_ok() {
            let _ = fs::write(self.logs.join(format!("{}.log", self.name)), kept);
        }
        // Removes the container.
        drop(self.inner.take());
    }
}

fn text(
    bytes: testcontainers::core::error::Result<Vec<u8>>,
) -> testcontainers::core::error::Result<String> {
    bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}
