//! What a container of a cell is started from.

use testcontainers::bollard::models::DeviceMapping;
use testcontainers::core::{AccessMode, Mount};
use testcontainers::runners::SyncRunner as _;
use testcontainers::{CopyTargetOptions, GenericImage, ImageExt as _};

use crate::container::Container;
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
    entrypoint: Option<String>,
    read_only: bool,
    capabilities: Vec<String>,
    tun: Option<String>,
}

impl Spec {
    /// A container of an image of this project in the tag under test, with NET_ADMIN and
    /// /dev/net/tun. `name` is unique within its cell.
    pub(crate) fn new(name: &str, image: &str) -> Self {
        Self {
            image: image.to_owned(),
            tag: image_tag(),
            name: name.to_owned(),
            command: Vec::new(),
            files: Vec::new(),
            mounts: Vec::new(),
            network: None,
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
                AccessMode::ReadOnly
            } else {
                AccessMode::ReadWrite
            };
            request = request.with_mount(Mount::bind_mount(host, path).with_access_mode(mode));
        }
        if let Some(network) = self.network {
            request = request.with_network(network);
        }
        let inner = request
            .start()
            .unwrap_or_else(|error| panic!("the engine does not start {full}: {error}"));
        Container::started(&self.name, inner, stage)
    }
}
