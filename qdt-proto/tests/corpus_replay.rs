//! The committed fuzz corpora, run through the fuzz targets with a stable compiler.
//!
//! `scripts/fuzz` looks for new inputs; what is worth keeping lands in `fuzz/corpus/<target>/` and
//! is replayed here forever.
#![expect(
    clippy::disallowed_methods,
    reason = "a test reads its corpus from files"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/src/lib.rs"]
#[allow(
    unreachable_pub,
    reason = "these are public in the fuzz crate, whose files they are"
)]
mod fuzz;

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// Names in a folder of `fuzz`, without a `.rs` at their end.
fn names_in(folder: &str) -> BTreeSet<String> {
    let folder = fuzz_folder().join(folder);
    fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a readable folder").file_name())
        .map(|name| {
            name.to_str()
                .expect("a name in ASCII")
                .trim_end_matches(".rs")
                .to_owned()
        })
        .collect()
}

#[test]
fn every_committed_input_passes_its_fuzz_target() {
    for (name, target) in fuzz::TARGETS {
        for input in names_in(&format!("corpus/{name}")) {
            let path = fuzz_folder().join("corpus").join(name).join(&input);
            let data = fs::read(&path).expect("a readable corpus");
            // A panic below is the target's; this line says which input it was.
            println!("{name} {input}: {} bytes", data.len());
            target(&data);
        }
    }
}

#[test]
fn every_fuzz_target_has_a_corpus_an_entry_for_libfuzzer_and_a_place_in_the_list() {
    let listed: BTreeSet<String> = fuzz::TARGETS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(
        listed.len(),
        fuzz::TARGETS.len(),
        "no target is listed twice"
    );
    assert_eq!(
        names_in("fuzz_targets"),
        listed,
        "fuzz_targets/ and TARGETS differ"
    );
    assert_eq!(names_in("corpus"), listed, "corpus/ and TARGETS differ");
    for name in &listed {
        assert!(
            !names_in(&format!("corpus/{name}")).is_empty(),
            "corpus/{name} is empty"
        );
    }
    let manifest = fs::read_to_string(fuzz_folder().join("Cargo.toml")).expect("a manifest");
    let binaries: BTreeSet<String> = manifest
        .lines()
        .filter_map(|line| {
            line.strip_prefix("path = \"fuzz_targets/")?
                .strip_suffix(".rs\"")
        })
        .map(str::to_owned)
        .collect();
    assert_eq!(
        binaries, listed,
        "[[bin]] in fuzz/Cargo.toml and TARGETS differ"
    );
}
