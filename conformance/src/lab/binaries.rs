//! Paths of the programs under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::requirements::find_in_path;

/// The programs under test and the Go peer.
#[derive(Debug)]
pub struct Binaries;

impl Binaries {
    /// The folder of `qdt-server` and `qdt-client`: `QDT_BIN_DIR`, else the
    /// folder of the `lab` profile in cargo's target folder.
    #[must_use]
    pub fn folder() -> PathBuf {
        if let Some(folder) = std::env::var_os("QDT_BIN_DIR") {
            return folder.into();
        }
        Self::target().join("lab")
    }

    fn target() -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
            PathBuf::from,
        )
    }

    /// The path of `qdt-server`.
    ///
    /// # Panics
    /// When it was not built.
    #[must_use]
    pub fn server() -> PathBuf {
        Self::find("qdt-server")
    }

    /// The path of `qdt-client`.
    ///
    /// # Panics
    /// When it was not built.
    #[must_use]
    pub fn client() -> PathBuf {
        Self::find("qdt-client")
    }

    /// The path of the `qdt-server` that has faults on purpose: `QDT_MUTANTS_SERVER`, else
    /// `mutants/debug/qdt-server` in cargo's target folder.
    ///
    /// # Panics
    /// When it was not built.
    #[must_use]
    pub fn mutants() -> PathBuf {
        let path = std::env::var_os("QDT_MUTANTS_SERVER").map_or_else(
            || Self::target().join("mutants/debug/qdt-server"),
            PathBuf::from,
        );
        assert!(
            path.is_file(),
            "{} does not exist: run scripts/lib/build-mutants",
            path.display()
        );
        path
    }

    fn find(name: &str) -> PathBuf {
        let path = Self::folder().join(name);
        assert!(
            path.is_file(),
            "{} does not exist: run scripts/test, or `cargo build --profile lab -p qdt-server -p qdt-client`, \
             or point QDT_BIN_DIR at the folder of the two programs",
            path.display()
        );
        path
    }

    /// The path of the Go peer, built on first use.
    ///
    /// # Panics
    /// When there is no Go toolchain or the build fails.
    #[must_use]
    pub fn go_peer() -> PathBuf {
        static BUILT: OnceLock<PathBuf> = OnceLock::new();
        BUILT
            .get_or_init(|| {
                if let Some(given) = std::env::var_os("QDT_GO_PEER") {
                    return given.into();
                }
                let go = find_in_path("go")
                    .expect("the Go peer needs the Go toolchain: apt-get install golang, or go.dev/dl (1.25 or later)");
                // A program that runs cannot be overwritten, but replaced: several test
                // programs may build at once.
                let folder = Self::target().join("lab");
                std::fs::create_dir_all(&folder).expect("the target folder is writable");
                let output = folder.join("go-peer");
                let building = folder.join(format!("go-peer.{}", std::process::id()));
                let built = Command::new(go)
                    .args(["build", "-buildvcs=false", "-o"])
                    .arg(&building)
                    .arg(".")
                    .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("go-peer"))
                    .output()
                    .expect("go can be started");
                assert!(
                    built.status.success(),
                    "the Go peer does not build:\n{}",
                    String::from_utf8_lossy(&built.stderr)
                );
                std::fs::rename(&building, &output).expect("the target folder is writable");
                output
            })
            .clone()
    }
}
