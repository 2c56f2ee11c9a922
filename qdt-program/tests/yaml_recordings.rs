//! What `gopkg.in/yaml.v3` v3.0.1 makes of a wide choice of texts, and that ours is the same.
//!
//! `tests/yaml_v3/main.go` makes `tests/yaml_v3.jsonl`, which is read when the test runs. Where
//! ours differs it does so on purpose; every such text stands below with its reason.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qdt_program::{GoDuration, Token, from_yaml};
use serde::Deserialize;
use serde_json::Value;

/// Texts on which ours differs, and why.
const DIFFERENT: &[(&str, &[&str])] = &[
    (
        "a float beyond 64 bits becomes some other number in Go; ours says that it does not fit",
        &[
            "count: 9223372036854775807.0\n",
            "count: -9.3e18\n",
            "count: -.inf\n",
        ],
    ),
    (
        "a quoted text that goes on in the first column, or after a tab, is more likely one with a quote missing",
        &["text: \"a\nb\"\n", "text: 'a\nb'\n", "text: \"a\n\tb\"\n"],
    ),
    (
        "YAML knows no tabs in the indentation of block mappings, and brackets do not change that for the parser",
        &["nested: {\n\tcount: 1,\n\ttext: a}\n", "list: [\n\ta]\n"],
    ),
    (
        "a comment begins after white space (YAML 1.2 section 6.6)",
        &["text: |# c\n  a\n", "text: \"a\"#c\n"],
    ),
    (
        "tabs between tokens and on blank lines hurt nobody",
        &[
            "\t# c\ntext: a\n",
            "\n\t\ntext: a\n",
            "text: a\n\t\ncount: 1\n",
            "text: a\n\t# c\ncount: 1\n",
            "list:\n-\ta\n",
            "list:\n- a\n-\tb\n",
        ],
    ),
    (
        "YAML 1.2 allows what 1.1 did not: its own version, unknown directives, empty documents and keys, other \
         characters in anchors",
        &[
            "%YAML 1.2\n---\ntext: a\n",
            "%FOO\n---\ntext: a\n",
            "...\n",
            ": a\n",
            "text: a\n: b\n",
            "text: &é 5\nlist: [*é]\n",
            "text: &a: 5\n",
        ],
    ),
    (
        "a tag that says time is not held against a text",
        &["text: !!timestamp x\n"],
    ),
];

/// Whole families of texts on which ours differs.
fn differs_on_purpose(yaml: &str) -> bool {
    // YAML 1.1 broke lines there, 1.2 does not, and editors do not either.
    let old_line_breaks = yaml.contains(['\u{85}', '\u{2028}']);
    // A byte order mark belongs to the beginning of a file; elsewhere it is a trap that nobody
    // sees.
    let hidden_mark = yaml.trim_start_matches('\u{feff}').contains('\u{feff}');
    let named = DIFFERENT.iter().any(|(_, texts)| texts.contains(&yaml));
    old_line_breaks || hidden_mark || named
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Sample {
    token: Token,
    text: String,
    flag: bool,
    count: i64,
    wait: GoDuration,
    list: Vec<String>,
    nested: Nested,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Nested {
    count: i64,
    text: String,
}

/// What Go made of an accepted text; a field that is not recorded has its zero value.
fn recorded(case: &Value) -> Sample {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    Sample {
        token: Token::new(
            STANDARD
                .decode(text(&case["token_base64"]))
                .expect("base64"),
        ),
        text: text(&case["text"]),
        flag: case["flag"] == true,
        count: number(&case["count"]),
        wait: GoDuration::from_nanos(number(&case["wait"])),
        list: case["list"]
            .as_array()
            .map(|items| items.iter().map(text).collect())
            .unwrap_or_default(),
        nested: Nested {
            count: number(&case["nested_count"]),
            text: text(&case["nested_text"]),
        },
    }
}

#[test]
fn every_recorded_yaml_vector_reads_as_yaml_v3_reads_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/yaml_v3.jsonl");
    let lines = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut wrong = Vec::new();
    for line in lines.lines() {
        let case: Value = serde_json::from_str(line).expect("a JSON object per line");
        let yaml = case["yaml"].as_str().expect("a text");
        let theirs = (case["accepted"] == true).then(|| recorded(&case));
        let ours = from_yaml::<Sample>(yaml).map(|(sample, _)| sample);
        let same = ours.as_ref().ok() == theirs.as_ref();
        if same == differs_on_purpose(yaml)
            && !(same && yaml.contains(['\u{85}', '\u{2028}', '\u{feff}']))
        {
            wrong.push(format!(
                "{yaml:?}: ours {ours:?}, yaml.v3 {theirs:?} {}",
                case["error"]
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
