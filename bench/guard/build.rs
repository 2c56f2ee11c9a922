//! Tells the program which compiler and which profile built it, for the record of the counts.

use std::path::Path;
use std::process::Command;

fn main() {
    let variable = |name: &str| std::env::var(name).expect("cargo sets this for build scripts");
    let version = Command::new(variable("RUSTC"))
        .arg("--version")
        .output()
        .expect("cargo has just found the compiler");
    let version = String::from_utf8_lossy(&version.stdout);
    let version = version.split_whitespace().nth(1).unwrap_or("unknown");
    // target/PROFILE/build/guard-HASH/out; `PROFILE` itself says no more than debug or release.
    let out = variable("OUT_DIR");
    let profile = Path::new(&out)
        .ancestors()
        .nth(3)
        .and_then(Path::file_name)
        .map_or("unknown".into(), |name| name.to_string_lossy());
    // Cargo reads this from stdout.
    println!("cargo::rustc-env=GUARD_RUSTC={version}");
    println!("cargo::rustc-env=GUARD_PROFILE={profile}");
    println!("cargo::rerun-if-changed=build.rs");
}
