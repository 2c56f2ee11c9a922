//! The server.yaml that a first start writes.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

use qdt_program::{Token, yaml_scalar};

use super::file::ServerFile;
use super::keys::{FirstStart, KEYS, KeyDefault, default_of};

const WRITES: &str = "a String takes every write";

/// Returns the text of a new server.yaml in `directory` (as the path of the configuration names
/// it): every key of the Go server, so that the operator sees what there is to change. The values
/// are the defaults, except that a new server has no [`rate_limit`](FirstStart::Number).
pub fn first_start_yaml(directory: &Path, token: &Token, cpus: usize) -> String {
    let mut yaml = String::new();
    let mut mapping = "";
    for key in KEYS {
        let value = match key.first_start {
            FirstStart::Absent => continue,
            FirstStart::Number(number) => number.to_string().into(),
            FirstStart::Default => scalar(key.default, directory, token, cpus),
        };
        let (outer, name) = key.name.split_once('.').unwrap_or(("", key.name));
        if outer != mapping {
            mapping = outer;
            if !outer.is_empty() {
                writeln!(yaml, "{outer}:").expect(WRITES);
            }
        }
        let indent = if outer.is_empty() { "" } else { "    " };
        writeln!(yaml, "{indent}{name}: {value}").expect(WRITES);
    }
    yaml
}

/// Returns `default` as YAML writes it.
fn scalar<'a>(
    default: KeyDefault,
    directory: &Path,
    token: &'a Token,
    cpus: usize,
) -> Cow<'a, str> {
    let quoted = |text: &str| Cow::Owned(yaml_scalar(text).into_owned());
    match default {
        // A new token is text, and no further copy of it is made here.
        KeyDefault::Required => yaml_scalar(str::from_utf8(token.as_bytes()).unwrap_or_default()),
        KeyDefault::Empty(yaml, _) => yaml.into(),
        KeyDefault::Text(text) => yaml_scalar(text),
        KeyDefault::Number(_) | KeyDefault::PerCpu(_) => default.number(cpus).to_string().into(),
        KeyDefault::Seconds(_) => default.duration().to_string().into(),
        KeyDefault::SameAs(key) => scalar(default_of(key), directory, token, cpus),
        // A path that is no text has no place in YAML; nothing there means beside this very file.
        KeyDefault::Beside(name) => quoted(directory.join(name).to_str().unwrap_or_default()),
        KeyDefault::FirstHost => ServerFile::default().with_defaults(cpus).gateway_ip.into(),
    }
}
