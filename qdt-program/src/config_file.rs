//! Reading of a configuration file into a typed configuration, with errors that name the file.
//!
//! Invariants: reading never writes; a configuration file that exists belongs to the operator,
//! whatever is missing in it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::yaml::{Warning, YamlError, from_yaml};

/// No configuration comes near this; a larger file is a mistake (a log, a disk image).
const MAX_BYTES: u64 = 1 << 20;

/// A configuration together with warnings for the operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded<T> {
    /// The configuration, complete and valid.
    pub config: T,
    /// Warnings about ignored, adjusted or risky values. To be logged once the logger exists.
    pub warnings: Vec<Warning>,
}

/// The reason why a configuration file could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such file; a server makes a new one then.
    #[error("{}: no such file; name the configuration with -config PATH", .0.display())]
    NotFound(PathBuf),
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}; check that the path is a file and that this user may read it", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file is larger than 1 MiB.
    #[error("{}: larger than 1 MiB, which no configuration is; check the path", .0.display())]
    TooLarge(PathBuf),
    /// The bytes are not text.
    #[error("{}: not UTF-8 text (near line {line}); save the file as UTF-8", .path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The line of the first offending byte, from 1.
        line: usize,
    },
    /// The text is not the YAML that the configuration needs.
    #[error("{}: {source}", .path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: YamlError,
    },
    /// The values do not make a configuration.
    #[error("{}: {problem}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The key, what is wrong with it and what to do.
        problem: ConfigProblem,
    },
}

impl ReadError {
    /// Returns the log message for the error: `logger error` for the log level, else `config
    /// error`.
    pub fn message(&self) -> &'static str {
        match self {
            Self::Invalid { problem, .. } if problem.key == "log_level" => "logger error",
            _ => "config error",
        }
    }
}

/// An invalid value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The key, with dots for nested ones.
    pub key: &'static str,
    /// What is wrong with its value and what to do about it.
    pub text: String,
}

impl ConfigProblem {
    /// A problem with `key`.
    pub fn new(key: &'static str, text: impl fmt::Display) -> Self {
        Self {
            key,
            text: text.to_string(),
        }
    }

    /// Converts the problem into an error of the file at `path`.
    pub fn in_file(self, path: &Path) -> ReadError {
        ReadError::Invalid {
            path: path.to_owned(),
            problem: self,
        }
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.text)
    }
}

/// Reads the text of a configuration file: UTF-8, or UTF-16 with a byte order mark.
fn read_config_text(path: &Path) -> Result<String, ReadError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ReadError::NotFound(path.to_owned()),
        _ => ReadError::Unreadable {
            path: path.to_owned(),
            source,
        },
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ReadError::TooLarge(path.to_owned()));
    }
    decode_text(&bytes).map_err(|line| ReadError::NotText {
        path: path.to_owned(),
        line,
    })
}

/// Returns the text of `bytes`, or the line of the first byte that is not text.
fn decode_text(bytes: &[u8]) -> Result<String, usize> {
    let utf16 = |unit: fn([u8; 2]) -> u16| {
        let units = bytes[2..]
            .chunks_exact(2)
            .map(|pair| unit([pair[0], pair[1]]));
        let text: Result<String, _> = char::decode_utf16(units).collect();
        text.map_err(|_| 1)
    };
    match bytes {
        [0xff, 0xfe, ..] => utf16(u16::from_le_bytes),
        [0xfe, 0xff, ..] => utf16(u16::from_be_bytes),
        _ => std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|error| {
                1 + bytes[..error.valid_up_to()]
                    .iter()
                    .filter(|b| **b == b'\n')
                    .count()
            }),
    }
}

/// Reads the file at `path` into `T` as [`from_yaml`] does.
pub fn read_config_yaml<T: DeserializeOwned>(path: &Path) -> Result<Loaded<T>, ReadError> {
    let text = read_config_text(path)?;
    let (config, warnings) = from_yaml(&text).map_err(|source| ReadError::Yaml {
        path: path.to_owned(),
        source,
    })?;
    Ok(Loaded { config, warnings })
}
