//! The server.yaml that a first start writes.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

use qdt_program::{Token, yaml_scalar};

use super::file::ServerFile;
use super::keys::{FirstStartValue, KEYS, KeyDefault, default_of};

const INFALLIBLE: &str = "writing to a String cannot fail";

/// Returns the text of a new server.yaml in `directory` (as the configuration's path names it). It
/// shows every key of the Go server with its default, except that a new server has no
/// [`rate_limit`](FirstStartValue::Number).
pub fn first_start_yaml(directory: &Path, token: &Token, cpus: usize) -> String {
    let mut yaml = String::new();
    let mut mapping = "";
    for key in KEYS {
        let value = match key.first_start {
            FirstStartValue::Absent => continue,
            FirstStartValue::Number(number) => number.to_string().into(),
            FirstStartValue::Default => scalar(key.default, directory, token, cpus),
        };
        let (outer, name) = key.name.split_once('.').unwrap_or(("", key.name));
        if outer != mapping {
            mapping = outer;
            if !outer.is_empty() {
                writeln!(yaml, "{outer}:").expect(INFALLIBLE);
            }
        }
        let indent = if outer.is_empty() { "" } else { "    " };
        writeln!(yaml, "{indent}{name}: {value}").expect(INFALLIBLE);
    }
    yaml
}

/// Returns `default` in YAML.
fn scalar<'a>(
    default: KeyDefault,
    directory: &Path,
    token: &'a Token,
    cpus: usize,
) -> Cow<'a, str> {
    let quoted = |text: &str| Cow::Owned(yaml_scalar(text).into_owned());
    match default {
        // A new token is text; borrowing avoids a copy of the secret.
        KeyDefault::Required => yaml_scalar(str::from_utf8(token.as_bytes()).unwrap_or_default()),
        KeyDefault::Empty(yaml, _) => yaml.into(),
        KeyDefault::Text(text) => yaml_scalar(text),
        KeyDefault::Number(_) | KeyDefault::PerCpu(_) => default.number(cpus).to_string().into(),
        KeyDefault::Seconds(_) => default.duration().to_string().into(),
        KeyDefault::SameAs(key) => scalar(default_of(key), directory, token, cpus),
        // YAML cannot hold a path that is not UTF-8; an empty one means the same folder.
        KeyDefault::Beside(name) => quoted(directory.join(name).to_str().unwrap_or_default()),
        KeyDefault::FirstHost => ServerFile::default().with_defaults(cpus).gateway_ip.into(),
    }
}
