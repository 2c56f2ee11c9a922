//! Reader of a configuration's keys, from its type and from its page in `docs/`, for the tests of
//! both programs that hold the one against the other.

use std::fmt::Debug;
use std::fs;
use std::path::Path;

/// Returns the names of the fields of a configuration file's type, with dots for those of a map,
/// as its debug output has them. The type of such a map ends with `File`.
pub(crate) fn fields(file: &impl Debug) -> Vec<String> {
    let mut names = Vec::new();
    let mut map: Option<String> = None;
    for line in format!("{file:#?}").lines() {
        let Some((name, value)) = line.split_once(": ") else {
            continue;
        };
        let depth = name.find(|c| c != ' ');
        let name = name.trim();
        match (depth, &map) {
            (Some(4), _) => {
                map = value.ends_with("File {").then(|| name.to_owned());
                names.extend(map.is_none().then(|| name.to_owned()));
            }
            (Some(8), Some(map)) => names.push(format!("{map}.{name}")),
            // The fields of a type that is a scalar in YAML.
            _ => {}
        }
    }
    names
}

/// Returns the cells of each row below `header` in the page `docs/NAME`.
///
/// # Panics
/// When the page has no such table.
pub(crate) fn rows(name: &str, header: &str) -> Vec<Vec<String>> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let page = fs::read_to_string(docs.join(name)).expect("the documentation");
    let (_, table) = page.split_once(header).expect("a table");
    let rows = table.lines().skip(2).map_while(|row| row.strip_prefix('|'));
    let cells = |row: &str| row.split(" | ").map(cell).collect();
    rows.map(cells).collect()
}

fn cell(text: &str) -> String {
    text.trim_matches(['|', ' ']).to_owned()
}
