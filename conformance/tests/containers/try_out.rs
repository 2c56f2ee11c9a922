//! The try-out of docs/containers.md: from a fresh clone to a ping.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use conformance::Binaries;

use crate::command::{Generation, Project, run, source};
use crate::engine::image_tag;
use crate::stage::Stage;

/// What `scripts/images` builds.
const IMAGES: [&str; 5] = [
    "qdt-server:TAG",
    "qdt-server:TAG-nonroot",
    "qdt-client:TAG",
    "qdt-try-out:TAG",
    "qdt-prometheus:TAG",
];

/// The two commands of docs/containers.md in a copy of what a clone holds. The first gets the
/// programs' folder, because compiling them again would take minutes and show nothing.
pub(crate) fn two_commands_lead_to_a_ping(stage: &Stage, generation: Generation) {
    let clone = stage.folder().join("clone");
    copy_of_a_clone(&clone);
    // Runs in parallel, and the other generation's, use other addresses.
    let images = Images(format!("{}-{}", image_tag(), stage.engine_name("try-out")));
    let third = (std::process::id() * 2 + u32::from(generation == Generation::First)) % 256;
    run(Command::new(clone.join("scripts/images"))
        .env("CARGO_TARGET_DIR", clone.join("target"))
        .args(["--tag", &images.0, "--programs"])
        .arg(Binaries::folder()));

    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr());
    let free = free.expect("loopback has ports").port();
    let file = clone.join("docker/try-out/compose.yaml");
    let project = Project::new(stage, generation, &[&file])
        .variable("QDT_IMAGE_TAG", &images.0)
        .variable("QDT_INTERNET", &format!("198.19.{third}"))
        .variable("QDT_PROMETHEUS_PORT", &free.to_string());
    let output = project.run(&["up", "--exit-code-from", "ping"]);
    let answered = output.matches("3 packets transmitted, 3 received").count();
    assert_eq!(
        answered, 2,
        "pings to the gateway and to the internet:\n{output}"
    );
}

/// Images of this tag, whose names are forgotten when it goes.
struct Images(String);

impl Drop for Images {
    fn drop(&mut self) {
        let _ = Command::new("docker")
            .arg("rmi")
            .args(IMAGES.map(|image| image.replace("TAG", &self.0)))
            .output();
    }
}

/// The owner of the clone: a user that no image knows.
const OWNER: u32 = 54321;

/// The files that a clone of this source would hold, with changes that are not committed yet; of a
/// user other than root and with umask 077, because modes go from a clone into images and mounts.
fn copy_of_a_clone(into: &Path) {
    // The suite runs as root, also where the source is another user's.
    let listed = run(Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files"])
        .current_dir(source()));
    for name in listed.lines() {
        let (from, to) = (source().join(name), into.join(name));
        if from.is_file() {
            fs::create_dir_all(to.parent().expect("a file has a folder"))
                .expect("the cell's folder is writable");
            fs::copy(&from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
            let mode = from
                .metadata()
                .expect("it was just read")
                .permissions()
                .mode();
            fs::set_permissions(&to, fs::Permissions::from_mode(mode & 0o700))
                .expect("the file is ours");
            chown(&to, Some(OWNER), Some(OWNER)).expect("the suite runs as root");
        }
    }
    assert!(
        into.join("scripts/images").is_file(),
        "no clone: is git installed and this its work tree?"
    );
}
