//! `qdt-server -config server.yaml`: from the command line to an exit code.
//!
//! The order is: arguments, configuration (made anew where there is none), logger, certificate,
//! server. Everything that can be wrong is found before anything on the host is changed. Exit
//! codes: 0 after a signal that stops at whatever stage, 1 for any error, 2 for a wrong command
//! line.

use std::path::PathBuf;
use std::process::ExitCode;

use qdt_host::LinuxHost;
use qdt_program::{
    CommandLine, FlushLogAtExit, Loaded, Signal, Signals, forbid_core_dumps, init_log,
    log_warnings, startup_error, warn_of_open_secrets,
};
use qdt_server::prepare::{Prepared, announce, prepare, warn_if_client_config_is_stale};
use qdt_server::serve::{ServeError, Server};
use qdt_transport::ServerTls;
use tokio::runtime::Runtime;
use tracing::{error, info};

fn main() -> ExitCode {
    let _log = FlushLogAtExit;
    forbid_core_dumps();
    let path = match CommandLine::read(std::env::args_os(), "server.yaml") {
        Ok(command_line) => command_line.config,
        Err(exit) => return exit.report(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("qdt-control")
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let code = run(&runtime, path);
            // A profile that is being taken must not hold the end up.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            startup_error("server init error", &error);
            ExitCode::FAILURE
        }
    }
}

fn run(runtime: &Runtime, path: PathBuf) -> ExitCode {
    let signals = runtime.block_on(async { Signals::new(Signal::Reload) });
    let mut signals = match signals {
        Ok(signals) => signals,
        Err(error) => {
            startup_error("server init error", &error);
            return ExitCode::FAILURE;
        }
    };
    let host = LinuxHost::default();
    let cpus = std::thread::available_parallelism().map_or(1, Into::into);
    let prepared = match runtime.block_on(prepare(&host, &path, cpus)) {
        Ok(prepared) => prepared,
        Err(error) => {
            startup_error(error.message(), &error);
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
        let (cert, key) = (
            config.credentials.tls_cert.display(),
            config.credentials.tls_key.display(),
        );
        info!(%cert, %key, "self-signed certificate created");
    }
    let is_first_start = first_start.is_some();
    if let Some(first_start) = first_start {
        announce(&path, &first_start);
    }
    warn_of_open_secrets([&path, &config.credentials.tls_key]);
    let served = runtime.block_on(async {
        let tls = ServerTls::load(&config.credentials.tls_cert, &config.credentials.tls_key)?;
        if !is_first_start {
            warn_if_client_config_is_stale(&path, &config.credentials.token, tls.pin());
        }
        let server = Server::start(host, config, tls, path, cpus, log).await?;
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
