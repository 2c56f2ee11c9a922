//! `conformance probe --server host:port --token-file FILE`: compares a server with what is
//! documented.
//!
//! The report goes to stdout, line by line as it comes; what went wrong before there is one to
//! stderr. Exit codes: 0 everything is as documented, 1 something differs, 2 the server could not
//! be probed or the command line is wrong. The token comes from a file, so that no list of
//! processes shows it.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use conformance::parity::{self, Dialect, Line, Options, Report};

/// Proves from outside what a QDT server does.
#[derive(Parser)]
#[command(name = "conformance")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Send every documented request to a server and compare its answers, to the byte.
    ///
    /// Makes some 200 connections and opens some 70 sessions one after the other and closes each
    /// (few where the pool is small), in the pace of --rate, and needs about half a minute. The
    /// certificate is not checked: who the server is does not matter here.
    Probe {
        /// The server: host:port, UDP.
        #[arg(long, value_name = "HOST:PORT")]
        server: String,
        /// A file that holds the server's token and nothing else.
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
        /// The server's metrics, to compare the labels of qdt_handshakes_total too; no other client
        /// should connect meanwhile.
        #[arg(long, value_name = "http://HOST:PORT/metrics")]
        metrics: Option<String>,
        /// Writes the report as Markdown too.
        #[arg(long, value_name = "FILE")]
        markdown: Option<PathBuf>,
        /// The kind of server: what a Go server does otherwise is expected of it.
        #[arg(long, value_name = "qdt|go", default_value = "qdt", value_parser = dialect)]
        dialect: Dialect,
        /// Requests a second at most; the default stays below a server's default limits. 0: as fast
        /// as it goes.
        #[arg(long, value_name = "N", default_value_t = 12)]
        rate: u32,
    },
}

fn main() -> ExitCode {
    let Task::Probe {
        server,
        token_file,
        metrics,
        markdown,
        dialect,
        rate,
    } = Arguments::parse().task;
    let probed = token(&token_file).and_then(|token| {
        let options = Options {
            server,
            token,
            metrics,
            dialect,
            rate,
        };
        probe(&options, markdown.as_deref())
    });
    match probed {
        Ok(report) if report.is_same() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            let _ = writeln!(io::stderr(), "conformance: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn dialect(text: &str) -> Result<Dialect, String> {
    match text {
        "qdt" => Ok(Dialect::Qdt),
        "go" => Ok(Dialect::Go),
        _ => Err("qdt or go".into()),
    }
}

/// The token of a file, without the line end that editors put there.
fn token(path: &Path) -> Result<Vec<u8>> {
    let mut token = std::fs::read(path)
        .with_context(|| format!("the token file {} cannot be read", path.display()))?;
    while token.last().is_some_and(|byte| b"\r\n".contains(byte)) {
        token.pop();
    }
    ensure!(
        !token.is_empty() && !token.contains(&b'\n'),
        "{} has to hold the token and nothing else: one line, not the whole server.yaml",
        path.display()
    );
    Ok(token)
}

fn probe(options: &Options, markdown: Option<&Path>) -> Result<Report> {
    let mut out = io::stdout();
    let mut group = "";
    let mut print = |line: &Line| {
        let _ = if line.group == group {
            writeln!(out, "{}", line.text())
        } else {
            group = line.group;
            writeln!(out, "{group}\n{}", line.text())
        };
    };
    let report = parity::run(options, &mut print)
        .map_err(|parity::CannotProbe(why)| anyhow::anyhow!(why))?;
    writeln!(io::stdout(), "\n{}", report.summary())?;
    if let Some(path) = markdown {
        std::fs::write(path, report.markdown())
            .with_context(|| format!("the report {} cannot be written", path.display()))?;
    }
    Ok(report)
}
