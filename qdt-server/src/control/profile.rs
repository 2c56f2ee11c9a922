//! CPU profiles of the running process, on the paths and in the format of `go tool pprof`.
//!
//! A profile covers all threads, packet workers included, and contains its symbols. One can be
//! taken at a time.

use std::env;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use axum::extract::RawQuery;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use pprof::ProfilerGuard;
use pprof::protos::Message as _;
use tokio::task::spawn_blocking;

/// Samples per CPU second, as in Go.
const FREQUENCY: i32 = 100;
/// Duration of a profile without `seconds`.
const DEFAULT_SECONDS: u64 = 30;
/// The longest duration: samples stay in memory until its end.
const MAX_SECONDS: u64 = 600;

pub(super) async fn index() -> Html<&'static str> {
    Html(
        "<html><head><title>/debug/pprof/</title></head><body>\n\
         <p>Profiles of this server:</p>\n\
         <ul><li><a href=\"profile?seconds=30\">profile</a>: CPU, <code>?seconds=N</code> \
         (<code>go tool pprof http://host:port/debug/pprof/profile</code>)</li>\n\
         <li><a href=\"cmdline\">cmdline</a>: the command line, separated by NUL</li></ul>\n\
         </body></html>\n",
    )
}

/// Returns the command line, which contains no secret.
pub(super) async fn cmdline() -> Response {
    let arguments: Vec<_> = env::args_os()
        .map(|argument| argument.as_bytes().to_vec())
        .collect();
    (
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
        arguments.join(&0),
    )
        .into_response()
}

/// Says that symbols exist; profiles contain them, so pprof requests no more.
pub(super) async fn symbol() -> &'static str {
    "num_symbols: 1\n"
}

/// Samples for `seconds` of the query and returns a protobuf profile.
pub(super) async fn cpu(RawQuery(query): RawQuery) -> Response {
    let duration = Duration::from_secs(seconds(query.as_deref().unwrap_or_default()));
    // Starting loads symbols and building resolves them, which would block the runtime.
    let started = spawn_blocking(|| ProfilerGuard::new(FREQUENCY)).await;
    let guard = match started {
        Ok(Ok(guard)) => guard,
        Ok(Err(error)) => return failure(&format!("could not enable CPU profiling: {error}")),
        Err(error) => return failure(&error.to_string()),
    };
    tokio::time::sleep(duration).await;
    let profile = spawn_blocking(move || -> Result<Vec<u8>, String> {
        let report = guard.report().build().map_err(|error| error.to_string())?;
        let profile = report.pprof().map_err(|error| error.to_string())?;
        Ok(profile.encode_to_vec())
    })
    .await;
    match profile {
        Ok(Ok(bytes)) => (
            [
                (header::CONTENT_TYPE, "application/octet-stream"),
                (
                    header::CONTENT_DISPOSITION,
                    "attachment; filename=\"profile\"",
                ),
            ],
            bytes,
        )
            .into_response(),
        Ok(Err(reason)) => failure(&reason),
        Err(error) => failure(&error.to_string()),
    }
}

fn seconds(query: &str) -> u64 {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix("seconds="))
        .and_then(|text| text.parse().ok())
        .filter(|seconds| *seconds > 0)
        .unwrap_or(DEFAULT_SECONDS)
        .min(MAX_SECONDS)
}

fn failure(reason: &str) -> Response {
    // With this header `go tool pprof` shows the text to its user.
    (
        StatusCode::INTERNAL_SERVER_ERROR,
        [("x-go-pprof", "1")],
        format!("{reason}\n"),
    )
        .into_response()
}
