//! `qdt-server -config server.yaml`: from the command line to an exit code.
//!
//! The order is: arguments, configuration (made anew where there is none), logger, certificate,
//! server. Everything that can be wrong is found before anything on the host is changed. Exit codes:
//! 0 after SIGTERM or SIGINT at whatever stage, 1 for any error, 2 for a wrong command line.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use qdt_host::default_route_source;
use qdt_program::{
    EarlyExit, Loaded, ReadError, config_path, init_log, log_warnings, startup_error,
};
use qdt_server::config::ServerConfig;
use qdt_server::first_start::{self, CertificateFiles, FirstStart, FirstStartError};
use qdt_server::serve::{ServeError, Server, Signal, Signals};
use qdt_transport::ServerTls;
use tokio::runtime::Runtime;
use tracing::{error, info};

fn main() -> ExitCode {
    let path = match config_path(std::env::args_os(), "server.yaml") {
        Ok(path) => path,
        Err(early) => return EarlyExit::report(early),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("qdt-control")
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => run(&runtime, path),
        Err(error) => {
            startup_error("server init error", &error);
            ExitCode::FAILURE
        }
    }
}

fn run(runtime: &Runtime, path: PathBuf) -> ExitCode {
    let signals = runtime.block_on(async { Signals::new() });
    let mut signals = match signals {
        Ok(signals) => signals,
        Err(error) => {
            startup_error("server init error", &error);
            return ExitCode::FAILURE;
        }
    };
    let cpus = std::thread::available_parallelism().map_or(1, Into::into);
    let prepared = match prepare(runtime, &path, cpus) {
        Ok(prepared) => prepared,
        Err((message, error)) => {
            startup_error(message, &error);
            return ExitCode::FAILURE;
        }
    };
    let Prepared {
        loaded: Loaded { config, warnings },
        first_start,
        made_certificate,
    } = prepared;
    let log = init_log(config.log);
    log_warnings(&path, &warnings);
    if made_certificate {
        let (cert, key) = (config.tls_cert.display(), config.tls_key.display());
        info!(%cert, %key, "self-signed certificate created");
    }
    if let Some(first_start) = first_start {
        announce(&path, &first_start);
    }
    let served = runtime.block_on(async {
        let tls = ServerTls::load(&config.tls_cert, &config.tls_key)?;
        let server = Server::start(config, tls, path, cpus, log).await?;
        server.run(&mut signals).await
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(runtime, &mut signals, &error),
    }
}

/// An error is exit code 1, unless the server was to stop anyway.
fn report(runtime: &Runtime, signals: &mut Signals, error: &ServeError) -> ExitCode {
    match error.message() {
        "server init error" => error!(err = %error, "server init error"),
        _ => error!(err = %error, "server error"),
    }
    let told_to_stop = runtime.block_on(async {
        tokio::select! {
            biased;
            signal = signals.next() => matches!(signal, Signal::Stop(_)),
            () = std::future::ready(()) => false,
        }
    });
    if told_to_stop {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What is there before the logger.
struct Prepared {
    loaded: Loaded<ServerConfig>,
    first_start: Option<FirstStart>,
    made_certificate: bool,
}

/// Reads the configuration; makes it, or only its certificate, where that is missing.
fn prepare(
    runtime: &Runtime,
    path: &Path,
    cpus: usize,
) -> Result<Prepared, (&'static str, Box<dyn std::error::Error>)> {
    let config_error = |error: FirstStartError| ("config error", error.into());
    let read_error = |error: ReadError| (error.message(), error.into());
    // A host without a default route is reached at its loopback address only.
    let addresses = || -> Vec<_> {
        runtime
            .block_on(default_route_source())
            .ok()
            .flatten()
            .into_iter()
            .collect()
    };
    match ServerConfig::load(path, cpus) {
        Ok(loaded) => {
            let files = CertificateFiles {
                certificate: loaded.config.tls_cert.clone(),
                key: loaded.config.tls_key.clone(),
            };
            let made_certificate =
                first_start::ensure_certificate(&files, &addresses()).map_err(config_error)?;
            Ok(Prepared {
                loaded,
                first_start: None,
                made_certificate,
            })
        }
        Err(ReadError::NotFound(_)) => {
            let pin_of = |files: &CertificateFiles| {
                ServerTls::load(&files.certificate, &files.key)
                    .map(|tls| tls.pin().to_owned())
                    .map_err(|error| error.to_string())
            };
            let made =
                first_start::first_start(path, cpus, &addresses(), pin_of).map_err(config_error)?;
            let loaded = ServerConfig::load(path, cpus).map_err(read_error)?;
            Ok(Prepared {
                loaded,
                first_start: Some(made),
                made_certificate: false,
            })
        }
        Err(error) => Err(read_error(error)),
    }
}

/// Tells, once in the life of a server, how to use what the first start made.
fn announce(path: &Path, made: &FirstStart) {
    info!(config = %path.display(), "first start: configuration created");
    let Some(client) = &made.client_config else {
        return;
    };
    let client = client.display();
    // On stderr: stdout is for log lines only. Where stderr is closed nobody reads it.
    let _ = writeln!(
        io::stderr(),
        "This server has just been set up. To connect a client, copy\n    {client}\n\
         to it (it holds the token: keep it secret) and run there, as root:\n    \
         qdt-client -config client.yaml\n\
         If clients reach this server at another address, change `server:` in that file."
    );
}
