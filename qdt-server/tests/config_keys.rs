//! The table of keys against the file that is read, and against the documentation.

use std::fs;
use std::path::Path;

use qdt_program::from_yaml;
use qdt_server::config::{KEYS, Key, ServerFile};

/// The names of the fields of `ServerFile`, with dots, as its debug output has them.
fn names_of_the_file() -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut outer = String::new();
    for line in format!("{:#?}", ServerFile::default()).lines() {
        let Some((name, value)) = line.split_once(": ") else {
            continue;
        };
        match name.find(|c| c != ' ') {
            Some(4) if value.ends_with("File {") => outer = format!("{}.", name.trim()),
            Some(4) => names.push(name.trim().to_owned()),
            // Deeper are the fields of a type that is a scalar in YAML.
            Some(8) => names.push(format!("{outer}{}", name.trim())),
            _ => {}
        }
    }
    names
}

#[test]
fn every_key_of_the_file_stands_in_the_table_and_no_other_does() {
    let table: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(table, names_of_the_file());
}

#[test]
fn every_key_of_the_table_is_read_and_a_slip_in_it_is_met_with_its_name() {
    for Key { name, .. } in KEYS {
        let yaml = |name: &str| match name.split_once('.') {
            Some((outer, inner)) => format!("{outer}: {{{inner}: }}\n"),
            None => format!("{name}:\n"),
        };
        let (_, warnings) = from_yaml::<ServerFile>(&yaml(name)).expect("it reads");
        assert_eq!(warnings, [], "{name}");
        let (_, warnings) = from_yaml::<ServerFile>(&yaml(&format!("{name}_"))).expect("it reads");
        let texts: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        let meant = format!("did you mean {name}?");
        assert!(texts.iter().any(|text| text.contains(&meant)), "{texts:?}");
    }
}

#[test]
fn the_documentation_has_every_key_with_its_default_and_its_meaning_and_no_other() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let text = fs::read_to_string(path).expect("the documentation");
    let table = text
        .split_once("| key | default | effect |")
        .expect("a table")
        .1;
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            line.split(" | ")
                .map(|cell| cell.trim_matches(['|', ' ']))
                .collect()
        })
        .collect();
    let named: Vec<_> = rows.iter().map(|row| row[0].to_owned()).collect();
    let expected: Vec<_> = KEYS.iter().map(|key| format!("`{}`", key.name)).collect();
    assert_eq!(named, expected);
    for (row, key) in rows.iter().zip(KEYS) {
        assert_eq!(row[1], key.default.to_string(), "{}", key.name);
        assert!(row[2].starts_with(key.meaning), "{}: {}", key.name, row[2]);
    }
}
