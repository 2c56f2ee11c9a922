//! The commands of a user: `docker` and both generations of docker compose, run to their end.
//! Dropping a handle removes everything it made.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use conformance::{Machine, wait_until};

use crate::stage::Stage;

/// How long a container may take until its health check has passed: the period between two checks
/// and a slow machine.
const HEALTHY: Duration = Duration::from_secs(40);

/// Runs `docker` and returns what it wrote to stdout, without the line end.
///
/// # Panics
/// When it cannot be started or fails; its stderr is shown.
#[track_caller]
pub(crate) fn docker(arguments: &[&str]) -> String {
    run(Command::new("docker").args(arguments))
}

/// Waits until the engine calls a container `healthy`, or whatever else it is to be.
///
/// # Panics
/// When it does not in time.
#[track_caller]
pub(crate) fn wait_for_health(container: &str, state: &str) {
    wait_until(&format!("{container} {state}"), HEALTHY, || {
        docker(&["inspect", "-f", "{{.State.Health.Status}}", container]) == state
    });
}

/// The root of the project's source.
pub(crate) fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_owned()
}

/// A generation of docker compose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generation {
    /// The plugin, `docker compose`.
    Second,
    /// `docker-compose` 1.29, the last of its kind: the program that QDT_COMPOSE_1 names, else what
    /// is called so.
    First,
}

impl Generation {
    /// Both, the current one first.
    pub(crate) const BOTH: [Self; 2] = [Self::Second, Self::First];

    /// How users call it: a column of the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Second => "docker compose 2",
            Self::First => "docker-compose 1.29",
        }
    }

    /// A command of it.
    ///
    /// # Panics
    /// When it is not installed in the right version.
    #[track_caller]
    pub(crate) fn command(self) -> Command {
        let (mut command, wanted) = match self {
            Self::Second => (Command::new("docker"), None),
            Self::First => {
                let program = std::env::var_os("QDT_COMPOSE_1");
                let program = program.unwrap_or_else(|| "docker-compose".into());
                (Command::new(program), Some("1.29."))
            }
        };
        if let Some(wanted) = wanted {
            let version = Command::new(command.get_program())
                .args(["version", "--short"])
                .output();
            let version = version.map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
            assert!(
                version.as_ref().is_ok_and(|it| it.starts_with(wanted)),
                "docker-compose {wanted}x is missing ({version:?}): run scripts/containers, it installs it"
            );
        } else {
            command.arg("compose");
        }
        command
    }
}

/// Services of a compose file under a unique name; dropping the value takes them down, with what
/// they stored.
pub(crate) struct Project {
    generation: Generation,
    name: String,
    files: Vec<PathBuf>,
    variables: Vec<(String, String)>,
    folder: PathBuf,
    logs: PathBuf,
}

impl Project {
    /// The services of these files. Nothing is started.
    pub(crate) fn new(stage: &Stage, generation: Generation, files: &[&Path]) -> Self {
        let project = Self {
            generation,
            name: stage.engine_name("compose"),
            files: files.iter().map(|file| (*file).to_owned()).collect(),
            variables: Vec::new(),
            folder: stage.folder().to_owned(),
            logs: stage.logs().to_owned(),
        };
        project.variable("QDT_IMAGE_TAG", &crate::engine::image_tag())
    }

    /// Sets a variable that the files name.
    #[must_use]
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.generation.command();
        for file in &self.files {
            command.arg("-f").arg(file);
        }
        command.args(["-p", &self.name]).args(arguments);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs one of its commands, such as `up -d`, and returns what it wrote to stdout.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        run(&mut self.command(arguments))
    }

    /// Starts everything in the background.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub(crate) fn up(&self) {
        self.run(&["up", "-d"]);
    }

    /// The id of the container of a service.
    ///
    /// # Panics
    /// When it has none.
    #[track_caller]
    pub(crate) fn container(&self, service: &str) -> String {
        let id = self.run(&["ps", "-q", service]);
        assert!(!id.is_empty(), "{service} has no container");
        id
    }

    /// The network of a service that runs.
    ///
    /// # Panics
    /// When it does not run.
    #[track_caller]
    pub(crate) fn machine(&self, service: &str) -> Machine {
        let pid = docker(&["inspect", "-f", "{{.State.Pid}}", &self.container(service)]);
        let pid = pid.parse().expect("the engine knows process ids");
        Machine::adopt(service, pid, &self.folder).expect("the container runs")
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // The logs first: they go with the containers. A failure here cannot be reported any more.
        if let Ok(output) = self.command(&["logs", "--no-color"]).output() {
            let _ = std::fs::create_dir_all(&self.logs);
            let _ = std::fs::write(self.logs.join("compose.log"), output.stdout);
        }
        let _ = self
            .command(&["down", "--volumes", "--timeout", "3"])
            .output();
    }
}

/// Removes containers, networks, volumes and images that compose files made in runs which have
/// ended: they bear the label of compose, and a name with the id of the run's process. Which
/// processes run is read from this machine's /proc. Returns how many.
///
/// # Panics
/// When the engine does not answer.
pub(crate) fn sweep() -> usize {
    let project = "{{.Label \"com.docker.compose.project\"}}";
    let labelled = |id: &str| format!("{id} {project}");
    let images = "{{.Repository}}:{{.Tag}}".to_owned();
    let made: [(&[&str], String, &[&str]); 4] = [
        (&["ps", "--all"], labelled("{{.ID}}"), &["rm", "--force"]),
        (&["network", "ls"], labelled("{{.ID}}"), &["network", "rm"]),
        (&["volume", "ls"], labelled("{{.Name}}"), &["volume", "rm"]),
        (&["images"], format!("{images} {images}"), &["rmi"]),
    ];
    let mut removed = 0;
    for (list, format, remove) in made {
        let listed = docker(&[list, &["--format", &format]].concat());
        for line in listed.lines() {
            let (id, name) = line.split_once(' ').unwrap_or((line, ""));
            if is_of_an_ended_run(name) {
                let done = Command::new("docker").args(remove).arg(id).output();
                removed += usize::from(done.is_ok_and(|it| it.status.success()));
            }
        }
    }
    removed
}

/// Whether a name is one of [`Stage::engine_name`], of a process that has ended.
fn is_of_an_ended_run(name: &str) -> bool {
    let process = name
        .split_once("qdt-suite-")
        .and_then(|(_, rest)| rest.split('-').next());
    process.is_some_and(|id| id.parse::<u32>().is_ok() && !Path::new("/proc").join(id).exists())
}

/// Runs a command to its end and returns what it wrote to stdout, without the line end.
///
/// # Panics
/// When it cannot be started or fails; what it wrote is shown.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{stdout}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    stdout.trim_end().to_owned()
}
