//! The container engine: one connection to it, questions that testcontainers
//! does not answer, and the removal of what an earlier run left.
//!
//! Everything the suite makes bears the label [`LABEL`], whose value names the process that made
//! it. What has the name of a process that has ended is a leftover; what belongs to a run in
//! parallel stays. The running processes are read from /proc: a run in a separate container, or on
//! another machine that uses the same engine, is not visible there, and what it made counts as
//! leftover.

use std::collections::HashMap;
use std::fs;
use std::future::Future;
use std::sync::OnceLock;

use testcontainers::bollard::Docker;
use testcontainers::bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder,
};
use tokio::runtime::Runtime;

/// The label of every container and network of the suite.
pub(crate) const LABEL: &str = "qdt.container-suite";

/// The connection and what runs its requests.
pub(crate) struct Engine {
    docker: Docker,
    runtime: Runtime,
}

/// What a report says about where it was made.
pub(crate) struct Versions {
    /// Name and value, in the order of the report.
    pub(crate) lines: Vec<(String, String)>,
}

impl Engine {
    /// The connection of this process, made on first use.
    ///
    /// # Panics
    /// When no engine answers; [`Engine::connect`] has said so before any cell runs.
    pub(crate) fn get() -> &'static Self {
        Self::connect().unwrap_or_else(|message| panic!("{message}"))
    }

    /// The same.
    ///
    /// # Errors
    /// When no engine answers: what to run instead, for the user.
    pub(crate) fn connect() -> Result<&'static Self, &'static str> {
        static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
        let engine = ENGINE.get_or_init(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .map_err(|error| format!("THE CONTAINER SUITE CANNOT START A THREAD: {error}"))?;
            let docker = runtime.block_on(async {
                let docker = Docker::connect_with_local_defaults()?;
                docker.negotiate_version().await
            });
            match docker {
                Ok(docker) => Ok(Self { docker, runtime }),
                Err(error) => Err(format!(
                    "NO CONTAINER ENGINE ANSWERS, the container suite has not run ({error}): run \
                     scripts/containers, which installs and starts one and builds the images"
                )),
            }
        });
        engine.as_ref().map_err(String::as_str)
    }

    /// Runs a request to its end.
    pub(crate) fn wait<T>(&self, request: impl Future<Output = T>) -> T {
        self.runtime.block_on(request)
    }

    /// The connection, for requests.
    pub(crate) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// The id of an image of this project.
    ///
    /// # Panics
    /// When there is none of that name.
    #[track_caller]
    pub(crate) fn image_id(&self, image: &str) -> String {
        self.wait(self.docker.inspect_image(image))
            .ok()
            .and_then(|image| image.id)
            .unwrap_or_else(|| {
                panic!("there is no image {image}: run scripts/containers, it builds it")
            })
    }

    /// Versions of engine and kernel, and the ids of these images where they exist.
    pub(crate) fn versions(&self, images: &[&str]) -> Versions {
        let version = self.wait(self.docker.version()).unwrap_or_default();
        let mut lines = vec![
            ("engine".to_owned(), version.version.unwrap_or_default()),
            (
                "kernel".to_owned(),
                version.kernel_version.unwrap_or_default(),
            ),
        ];
        for image in images {
            if let Ok(found) = self.wait(self.docker.inspect_image(image)) {
                lines.push((format!("image {image}"), found.id.unwrap_or_default()));
            }
        }
        Versions { lines }
    }

    /// Removes containers and networks of runs that have ended, and of this
    /// one when `own` is set. Returns how many.
    pub(crate) fn sweep(&self, own: bool) -> usize {
        let filters = HashMap::from([("label", vec![LABEL])]);
        let gone = |labels: Option<&HashMap<String, String>>| {
            let maker = labels.and_then(|labels| labels.get(LABEL));
            maker.is_some_and(|maker| *maker == this_run() && own || !runs(maker))
        };
        let mut removed = 0;
        let list = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters)
            .build();
        for container in self
            .wait(self.docker.list_containers(Some(list)))
            .unwrap_or_default()
        {
            if gone(container.labels.as_ref()) {
                let id = container.id.unwrap_or_default();
                let options = RemoveContainerOptionsBuilder::new()
                    .force(true)
                    .v(true)
                    .build();
                removed += usize::from(
                    self.wait(self.docker.remove_container(&id, Some(options)))
                        .is_ok(),
                );
            }
        }
        let list = ListNetworksOptionsBuilder::new().filters(&filters).build();
        for network in self
            .wait(self.docker.list_networks(Some(list)))
            .unwrap_or_default()
        {
            if gone(network.labels.as_ref()) {
                let id = network.id.unwrap_or_default();
                removed += usize::from(self.wait(self.docker.remove_network(&id)).is_ok());
            }
        }
        removed
    }
}

/// The tag of the images under test: `QDT_IMAGE_TAG`, else `test`.
pub(crate) fn image_tag() -> String {
    std::env::var("QDT_IMAGE_TAG").unwrap_or_else(|_| "test".to_owned())
}

/// The label's value for this process: its id and when it started, because ids are used again.
pub(crate) fn this_run() -> String {
    let id = std::process::id();
    format!("{id}.{}", started(id).unwrap_or_default())
}

/// Whether the process that a label names still runs.
fn runs(maker: &str) -> bool {
    maker.split_once('.').is_some_and(|(id, start)| {
        id.parse()
            .ok()
            .and_then(started)
            .is_some_and(|now| now.to_string() == start)
    })
}

/// When a process started, in clock ticks since boot; `None` where it has ended.
fn started(id: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The second field is the name in parentheses and may hold anything; start time is the 22nd.
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()
}
