//! What a cell runs on: a temporary folder, unique names on the engine, and the folder where its
//! containers leave their logs.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::network::Network;

/// The stage of one cell.
pub(crate) struct Stage {
    name: String,
    number: usize,
    folder: TempDir,
    logs: PathBuf,
}

impl Stage {
    /// A stage for the cell of that number and name.
    ///
    /// # Panics
    /// When the temporary folder or the target folder is not writable.
    pub(crate) fn new(number: usize, cell: &str) -> Self {
        let logs = output_folder().join("logs").join(cell.replace("::", "/"));
        // Logs of an earlier run would be taken for those of this one.
        if logs.exists() {
            std::fs::remove_dir_all(&logs).expect("the target folder is writable");
        }
        let folder = tempfile::Builder::new()
            .prefix("qdt-containers-")
            .tempdir()
            .expect("the temporary folder is writable");
        Self {
            name: cell.to_owned(),
            number,
            folder,
            logs,
        }
    }

    /// Another stage of the same cell, with other logs.
    pub(crate) fn with_other_logs(&self, name: &str) -> Self {
        Self::new(self.number, name)
    }

    /// The name of the cell.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A network with a unique name.
    ///
    /// # Panics
    /// When the engine makes none.
    #[track_caller]
    pub(crate) fn network(&self, name: &str) -> Network {
        Network::new(&self.engine_name(name))
    }

    /// A network whose links carry packets of that many bytes.
    ///
    /// # Panics
    /// When the engine makes none.
    #[track_caller]
    pub(crate) fn network_of_mtu(&self, name: &str, mtu: u16) -> Network {
        let option = ("com.docker.network.driver.mtu", mtu.to_string());
        Network::with_options(&self.engine_name(name), &[(option.0, &option.1)])
    }

    /// How the engine calls what the cell calls `name`.
    pub(crate) fn engine_name(&self, name: &str) -> String {
        format!("qdt-suite-{}-{}-{name}", std::process::id(), self.number)
    }

    /// A folder for files of the cell; gone after it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the logs of its containers go.
    pub(crate) fn logs(&self) -> &Path {
        &self.logs
    }

    /// Deletes the logs, because those of a cell that passed are not needed.
    pub(crate) fn forget_logs(&self) {
        let _ = std::fs::remove_dir_all(&self.logs);
    }
}

/// Where reports and logs go: `containers` in cargo's target folder.
pub(crate) fn output_folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    target.join("containers")
}
