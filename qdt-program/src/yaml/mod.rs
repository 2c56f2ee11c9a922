//! YAML the way Go's `yaml.v3` reads it into typed fields.
//!
//! Users bring files that were written for the Go programs, so the typed reading is theirs: a
//! scalar for a text key keeps its spelling (`token: 0123` is "0123"), a boolean key takes `yes`
//! and `off`, an integer key takes `1_000`, `0x500`, `0755` and cuts fractions, a null leaves the
//! default, `<<` merges, a repeated key is an error, and only the first document counts. Where Go
//! ignores an unknown key in silence, it is a [`Warning`] here, with the key that was probably
//! meant.
//!
//! `granit_parser` does the syntax. [`tree`] keeps its events as nodes with their lines, [`scalar`]
//! decides what a scalar is, [`mapping`] follows merges, and [`de`] hands nodes to serde. The
//! values of scalars never appear in errors about text keys: one of them is the token.

mod de;
mod mapping;
mod nearest;
mod quote;
mod scalar;
mod tree;

use std::fmt;

use serde::de::DeserializeOwned;

pub use quote::yaml_scalar;

/// A problem in a configuration that does not stop the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Line in the file, from 1, where it is known.
    pub line: Option<usize>,
    /// The key, with dots for nested ones; empty for the file as a whole.
    pub key: String,
    /// What is the matter and what to do about it.
    pub text: String,
}

impl Warning {
    /// A warning about the value of `key`.
    pub fn new(key: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            line: None,
            key: key.into(),
            text: text.into(),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)
    }
}

/// The reason why a text could not be read into typed fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlError {
    /// The line of the offending place, from 1, where it is known.
    line: Option<usize>,
    /// The key in question, with dots for nested ones; empty for the file as a whole.
    key: String,
    problem: String,
}

impl YamlError {
    fn at(line: usize, key: &str, problem: impl Into<String>) -> Self {
        Self {
            line: Some(line),
            key: key.to_owned(),
            problem: problem.into(),
        }
    }
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for YamlError {}

impl serde::de::Error for YamlError {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self {
            line: None,
            key: String::new(),
            problem: problem.to_string(),
        }
    }
}

/// Reads the first document of `text` into `T`, whose structs are `#[serde(default)]` throughout.
///
/// Supported fields are booleans, integers, strings, [`Token`](crate::Token),
/// [`GoDuration`](crate::GoDuration), vectors of them and structs of them.
///
/// # Errors
/// Bad syntax, a value of the wrong kind, a key given twice, a merge of something that is no
/// mapping: the first one found, with line and key.
pub fn from_yaml<T: DeserializeOwned>(text: &str) -> Result<(T, Vec<Warning>), YamlError> {
    let tree = tree::Tree::parse(text)?;
    de::deserialize(&tree)
}
