//! The command line: one flag, `-config PATH`, in the manner of Go's `flag` package.
//!
//! One or two dashes, the value behind `=` or as the next argument, the last one wins, parsing
//! stops at the first argument that is no flag or at `--`. Parsing reads nothing but the arguments
//! and changes nothing.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::log::startup_line;

/// The program ends before it has begun: what to say on stderr, and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlyExit {
    /// 0 after `-h`, 1 for an empty path, 2 for a wrong command line.
    pub code: u8,
    /// Complete lines for stderr.
    pub stderr: String,
}

impl EarlyExit {
    /// Says why on stderr and gives the code to end with.
    pub fn report(self) -> ExitCode {
        // Where stderr is closed the code has to do.
        let _ = io::stderr().write_all(self.stderr.as_bytes());
        ExitCode::from(self.code)
    }
}

/// The path of the configuration that the command line asks for.
///
/// `args` begins with the program's name, `default` is the path when the flag is not given.
///
/// # Errors
/// A wrong command line, or a request for help.
pub fn config_path(
    args: impl IntoIterator<Item = OsString>,
    default: &str,
) -> Result<PathBuf, EarlyExit> {
    let mut args = args.into_iter();
    let program = args.next().unwrap_or_default();
    let usage = format!(
        "Usage of {}:\n  -config string\n    \tpath of the configuration file (default {default:?})\n",
        program.display()
    );
    let wrong = |what: String| EarlyExit {
        code: 2,
        stderr: format!("{what}\n{usage}"),
    };

    let mut path = OsString::from(default);
    while let Some(arg) = args.next() {
        let bytes = arg.as_bytes();
        let name = match bytes {
            [b'-', b'-'] => break,
            [b'-', b'-', name @ ..] | [b'-', name @ ..] if !name.is_empty() => name,
            _ => break,
        };
        if matches!(name[0], b'-' | b'=') {
            return Err(wrong(format!("bad flag syntax: {}", arg.display())));
        }
        let (name, value) = match name.iter().position(|b| *b == b'=') {
            Some(at) => (
                &name[..at],
                Some(OsStr::from_bytes(&name[at + 1..]).to_owned()),
            ),
            None => (name, None),
        };
        match name {
            b"config" => {
                let value = value.or_else(|| args.next());
                path = value.ok_or_else(|| wrong("flag needs an argument: -config".to_owned()))?;
            }
            b"h" | b"help" => {
                return Err(EarlyExit {
                    code: 0,
                    stderr: usage,
                });
            }
            _ => {
                let name = OsStr::from_bytes(name).display();
                return Err(wrong(format!("flag provided but not defined: -{name}")));
            }
        }
    }
    if path.is_empty() {
        let stderr = startup_line("config error", &"config path is empty");
        return Err(EarlyExit { code: 1, stderr });
    }
    Ok(PathBuf::from(path))
}
