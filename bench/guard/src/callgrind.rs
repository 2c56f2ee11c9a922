//! Runs this program under callgrind, one case at a time.
//!
//! Callgrind counts inside one function of this program and what that calls, without the set-up
//! around it.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::cases;
use crate::counts::{COUNTED, Counts, PerPacket};

/// What says how to get the tool.
const INSTALL: &str = "valgrind: install the package valgrind (scripts/test does so)";

/// What a packet of the case costs.
///
/// # Errors
/// There is no valgrind, it or the case failed, or nothing was counted.
pub(crate) fn count(case: &str) -> Result<PerPacket> {
    let folder = tempfile::tempdir().context("a folder for callgrind's output")?;
    let output = folder.path().join("callgrind.out");
    let run = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--collect-atstart=no",
            "--compress-strings=no",
            "--compress-pos=no",
            "--dump-line=no",
        ])
        .arg(format!("--toggle-collect=*guard*cases*{COUNTED}*"))
        .arg(format!("--callgrind-out-file={}", output.display()))
        .arg(std::env::current_exe().context("the path of this program")?)
        .args(["run", case])
        // What a case inherits from here is on its stack.
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .context(INSTALL)?;
    ensure!(
        run.status.success(),
        "valgrind ended with {}:\n{}",
        run.status,
        String::from_utf8_lossy(&run.stderr)
    );
    let text = std::fs::read_to_string(&output)
        .with_context(|| format!("callgrind's output {}", output.display()))?;
    Counts::parse(&text)?.per_packet(cases::packets(case)?)
}

/// The version of valgrind, as in `3.19.0`.
///
/// # Errors
/// There is none.
pub(crate) fn version() -> Result<String> {
    let output = Command::new("valgrind")
        .arg("--version")
        .output()
        .context(INSTALL)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.trim();
    Ok(version.strip_prefix("valgrind-").unwrap_or(version).into())
}
