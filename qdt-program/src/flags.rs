//! The command line: `-config PATH`, `-version` and `-h`, read as Go's `flag` package reads them.
//!
//! One or two dashes, the value after `=` or as the next argument, the last one wins, parsing
//! stops at the first argument that is not a flag or at `--`. Whatever follows is ignored, as in
//! Go, and reported. Parsing reads nothing but the arguments and changes nothing.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::log::{startup_line, startup_warning};

/// The version of both programs.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The output and exit code of a program that ends after its command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlyExit {
    /// 0 after `-h` and `-version`, 1 for an empty path, 2 for a wrong command line.
    pub code: u8,
    /// Complete lines for stdout.
    pub stdout: String,
    /// Complete lines for stderr.
    pub stderr: String,
}

impl EarlyExit {
    /// Writes the output and returns the exit code.
    pub fn report(self) -> ExitCode {
        // Where a stream is closed the code has to do.
        let _ = io::stdout().write_all(self.stdout.as_bytes());
        let _ = io::stderr().write_all(self.stderr.as_bytes());
        ExitCode::from(self.code)
    }
}

/// A parsed command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// The configuration file.
    pub config: PathBuf,
    /// The arguments that were not read: the first that is not a flag, and all that follow.
    pub ignored: Vec<OsString>,
}

impl CommandLine {
    /// Reads a command line. `args` begins with the program's name, `default` is the configuration
    /// file when the flag is not given. A command line with ignored arguments leaves a warning on
    /// stderr, because the user expected something of them.
    ///
    /// # Errors
    /// A wrong command line, or a request for help or the version.
    pub fn read(
        args: impl IntoIterator<Item = OsString>,
        default: &str,
    ) -> Result<Self, EarlyExit> {
        let read = Self::parse(args, default)?;
        if let Some(text) = read.warning() {
            startup_warning("arguments ignored", &text);
        }
        Ok(read)
    }

    /// Reads a command line as [`Self::read`] does, and writes nothing.
    ///
    /// # Errors
    /// Those of [`Self::read`].
    pub fn parse(
        args: impl IntoIterator<Item = OsString>,
        default: &str,
    ) -> Result<Self, EarlyExit> {
        let mut args = args.into_iter();
        let (config, first_ignored) = config_path(&mut args, default)?;
        let ignored = first_ignored.into_iter().chain(args).collect();
        Ok(Self { config, ignored })
    }

    /// Names the ignored arguments and the file that is used; `None` where all were read.
    pub fn warning(&self) -> Option<String> {
        if self.ignored.is_empty() {
            return None;
        }
        let word = |word: &OsString| word.display().to_string();
        let words: Vec<_> = self.ignored.iter().map(word).collect();
        Some(format!(
            "{}: flags end at the first argument that is not a flag; the configuration is {}; put \
             -config before anything else",
            words.join(" "),
            self.config.display()
        ))
    }
}

/// The configuration file, and the argument that ended the flags, where one did and it is not
/// `--`.
fn config_path(
    args: &mut impl Iterator<Item = OsString>,
    default: &str,
) -> Result<(PathBuf, Option<OsString>), EarlyExit> {
    let program = args.next().unwrap_or_default();
    let usage = format!(
        "Usage of {}:\n  \
         -config string\n    \tpath of the configuration file (default {default:?})\n  \
         -version\n    \tprint the version and exit\n",
        program.display()
    );
    let exit = |code, stdout, stderr| EarlyExit {
        code,
        stdout,
        stderr,
    };
    let wrong = |what: String| exit(2, String::new(), format!("{what}\n{usage}"));

    let mut path = OsString::from(default);
    let mut positional = None;
    while let Some(arg) = args.next() {
        let bytes = arg.as_bytes();
        let name = match bytes {
            [b'-', b'-'] => break,
            [b'-', b'-', name @ ..] | [b'-', name @ ..] if !name.is_empty() => name,
            _ => {
                positional = Some(arg);
                break;
            }
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
            b"h" | b"help" => return Err(exit(0, String::new(), usage)),
            b"version" => {
                // A flag that is on or off (Go's `strconv.ParseBool`).
                match value.as_deref().map_or(b"true".as_slice(), OsStr::as_bytes) {
                    b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => {}
                    b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => continue,
                    other => {
                        let text = OsStr::from_bytes(other).display();
                        let text =
                            format!("invalid boolean value \"{text}\" for -version: parse error");
                        return Err(wrong(text));
                    }
                }
                let program = Path::new(&program).file_name().unwrap_or(&program);
                let version = format!("{} {VERSION}\n", program.display());
                return Err(exit(0, version, String::new()));
            }
            _ => {
                let name = OsStr::from_bytes(name).display();
                return Err(wrong(format!("flag provided but not defined: -{name}")));
            }
        }
    }
    if path.is_empty() {
        let line = startup_line("config error", &"config path is empty");
        return Err(exit(1, String::new(), line));
    }
    Ok((PathBuf::from(path), positional))
}
