//! The keys of client.yaml against their documentation.

use std::fs;
use std::path::Path;

use qdt_client::config::ClientFile;

/// The names of the fields of `ClientFile`, as its debug output has them.
fn names_of_the_file() -> Vec<String> {
    let debug = format!("{:#?}", ClientFile::default());
    // Deeper are the fields of a type that is a scalar in YAML.
    let outer = debug.lines().filter_map(|line| line.strip_prefix("    "));
    let fields = outer.filter(|line| !line.starts_with(' '));
    fields
        .filter_map(|line| line.split_once(": "))
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[test]
fn the_documentation_has_every_key_of_the_file_and_no_other() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration-client.md");
    let text = fs::read_to_string(path).expect("the documentation");
    let table = text
        .split_once("| key | default | meaning |")
        .expect("a table")
        .1;
    let mut documented: Vec<_> = table
        .lines()
        .skip(2)
        .map_while(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect();
    let mut read = names_of_the_file();
    documented.sort();
    read.sort();
    assert_eq!(documented, read);
}
