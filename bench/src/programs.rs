//! Paths of the programs. wireguard-go is built from the module that bench/wireguard-go
//! names, with the checksums it names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// A program of this project: in `QDT_BIN_DIR`, else next to this one.
///
/// # Errors
/// When it is not there.
pub(crate) fn ours(name: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os("QDT_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => own_folder()?,
    };
    let path = folder.join(name);
    ensure!(
        path.is_file(),
        "{} does not exist: cargo build --release -p qdt-server -p qdt-client -p bench",
        path.display()
    );
    Ok(path)
}

/// This program, for the client that is a part of it.
///
/// # Errors
/// When the kernel does not tell.
pub(crate) fn this() -> Result<PathBuf> {
    std::env::current_exe().context("the path of this program")
}

/// wireguard-go: `WIREGUARD_GO`, else built.
///
/// # Errors
/// When there is no Go or the build fails.
pub(crate) fn wireguard_go() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("WIREGUARD_GO") {
        return Ok(given.into());
    }
    let output = own_folder()?.join("wireguard-go");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("wireguard-go");
    let built = Command::new("go")
        .args(["build", "-buildvcs=false", "-mod=readonly", "-o"])
        .arg(&output)
        .arg("golang.zx2c4.com/wireguard")
        .current_dir(&source)
        .output()
        .context("go: wireguard-go is built with Go 1.25 or later (go.dev/dl)")?;
    ensure!(
        built.status.success(),
        "wireguard-go does not build in {}:\n{}",
        source.display(),
        String::from_utf8_lossy(&built.stderr)
    );
    Ok(output)
}

/// A program that scripts/bench-tools installs, and its version: in `QDT_BENCH_TOOLS`, else in the
/// folder `bench-tools` next to this program's folder.
///
/// # Errors
/// When it is not there.
pub(crate) fn tool(name: &str) -> Result<(PathBuf, String)> {
    let folder = match std::env::var_os("QDT_BENCH_TOOLS") {
        Some(folder) => PathBuf::from(folder),
        None => own_folder()?.join("../bench-tools"),
    };
    let path = folder.join("bin").join(name);
    ensure!(
        path.is_file(),
        "{} does not exist: scripts/bench-tools installs it (or leave it out with --only)",
        path.display()
    );
    let list = folder.join(".crates.toml");
    let installed = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
    let version = installed_version(&installed, name)
        .with_context(|| format!("{} does not name {name}", list.display()))?;
    Ok((path, version.to_owned()))
}

/// Where the last figures of the others are kept: next to this program's folder, as the tools are.
///
/// # Errors
/// When the kernel does not tell where that is.
pub(crate) fn last_figures() -> Result<PathBuf> {
    Ok(own_folder()?.join("../bench/last.json"))
}

/// The version of a crate in the list that `cargo install` keeps.
fn installed_version<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    list.lines().find_map(|line| {
        let line = line.strip_prefix('"')?.strip_prefix(name)?;
        line.strip_prefix(' ')?.split(' ').next()
    })
}

/// What a program says when it is asked for its version: the first word there that begins with a
/// digit, with or without a `v` before it, and what follows it in the line.
///
/// # Errors
/// When the program cannot be started or says no such thing.
pub(crate) fn version(program: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| program.display().to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.lines().next().and_then(|line| {
        let numbers = line.split_whitespace().skip_while(|word| {
            let digits = word.strip_prefix('v').unwrap_or(word);
            !digits.starts_with(|first: char| first.is_ascii_digit())
        });
        let words: Vec<_> = numbers.collect();
        (!words.is_empty()).then(|| words.join(" "))
    });
    version.with_context(|| format!("{} {arguments:?} says no version", program.display()))
}

fn own_folder() -> Result<PathBuf> {
    let mut path = this()?;
    path.pop();
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_tool_is_the_one_cargo_installed() {
        let list = "[v1]\n\"quincy-client 3.1.1 (registry+x)\" = [\"quincy-client\"]\n\
                    \"quincy-server 3.1.2 (registry+x)\" = [\"quincy-server\"]\n";
        assert_eq!(installed_version(list, "quincy-server"), Some("3.1.2"));
        assert_eq!(installed_version(list, "quincy"), None);
    }
}
