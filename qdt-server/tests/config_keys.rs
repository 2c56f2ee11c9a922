//! The table of keys against the parsed file and the documentation.

#[path = "../../qdt-program/tests/support/documented_keys.rs"]
mod documented_keys;

use documented_keys::{fields, rows};
use qdt_program::from_yaml;
use qdt_server::config::{KEYS, Key, ServerFile};

#[test]
fn the_table_has_exactly_the_keys_of_the_file() {
    let table: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(table, fields(&ServerFile::default()));
}

#[test]
fn every_key_of_the_table_is_read_and_suggested_for_a_typo() {
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
fn the_documentation_has_exactly_the_keys_with_default_and_meaning() {
    let rows = rows("configuration.md", "| key | default | effect |");
    let named: Vec<_> = rows.iter().map(|row| row[0].as_str()).collect();
    let expected: Vec<_> = KEYS.iter().map(|key| format!("`{}`", key.name)).collect();
    assert_eq!(named, expected);
    for (row, key) in rows.iter().zip(KEYS) {
        assert_eq!(row[1], key.default.to_string(), "{}", key.name);
        assert!(row[2].starts_with(key.meaning), "{}: {}", key.name, row[2]);
    }
}
