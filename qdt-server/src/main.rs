//! `qdt-server -config server.yaml`, from the command line to the exit code.
//!
//! The order is: arguments, configuration (created if missing), logger, certificate, server. Every
//! error of the operator is found before the host is changed. Exit codes: 0 after a stop signal at
//! any stage, 1 for an error, 2 for a wrong command line.

use std::path::PathBuf;
use std::process::ExitCode;

use qdt_host::LinuxHost;
use qdt_program::{
    CommandLine, FlushLogAtExit, Loaded, Signal, Signals, forbid_core_dumps, init_log,
    log_warnings, startup_error, warn_of_open_secrets,
};
use qdt_server::bootstrap::{Bootstrap, announce, load_or_create, warn_if_client_config_is_stale};
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
            // A running profile must not delay the exit.
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
    let bootstrap = match runtime.block_on(load_or_create(&host, &path, cpus)) {
        Ok(bootstrap) => bootstrap,
        Err(error) => {
            startup_error(error.message(), &error);
            return ExitCode::FAILURE;
        }
    };
    let Bootstrap {
        loaded: Loaded { config, warnings },
        first_start,
        created_certificate,
    } = bootstrap;
    let log = init_log(config.log);
    log_warnings(&path, &warnings);
    if created_certificate {
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

/// Logs `error`; the exit code is 1, or 0 if a stop signal has arrived.
fn report(runtime: &Runtime, signals: &mut Signals, error: &ServeError) -> ExitCode {
    match error.message() {
        "server init error" => error!(err = %error, "server init error"),
        _ => error!(err = %error, "server error"),
    }
    let stop_signal = runtime.block_on(async {
        tokio::select! {
            biased;
            signal = signals.next() => matches!(signal, Signal::Stop(_)),
            () = std::future::ready(()) => false,
        }
    });
    if stop_signal {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
