//! The keys of client.yaml against their documentation.

#[path = "../../qdt-program/tests/support/documented_keys.rs"]
mod documented_keys;

use documented_keys::{fields, rows};
use qdt_client::config::ClientFile;

#[test]
fn the_documentation_has_every_key_of_the_file_and_no_other() {
    let rows = rows("configuration-client.md", "| key | default | meaning |");
    let mut documented: Vec<_> = rows
        .iter()
        .map(|row| row[0].trim_matches('`').to_owned())
        .collect();
    let mut read = fields(&ClientFile::default());
    documented.sort();
    read.sort();
    assert_eq!(documented, read);
}
