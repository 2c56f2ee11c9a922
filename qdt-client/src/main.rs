//! The program `qdt-client -config client.yaml`: runs one tunnel, and exits with 0 after a signal
//! and with 1 after an error.

use std::process::ExitCode;

use qdt_client::config::ClientConfig;
use qdt_client::{Outcome, run};
use qdt_host::LinuxHost;
use qdt_program::{
    CommandLine, FlushLogAtExit, Loaded, Signal, Signals, forbid_core_dumps, init_log,
    log_warnings, startup_error, warn_of_open_secrets,
};
use tracing::{error, info};

fn main() -> ExitCode {
    let _log = FlushLogAtExit;
    forbid_core_dumps();
    let path = match CommandLine::read(std::env::args_os(), "client.yaml") {
        Ok(command_line) => command_line.config,
        Err(exit) => return exit.report(),
    };
    let Loaded { config, warnings } = match ClientConfig::load(&path) {
        Ok(loaded) => loaded,
        Err(error) => {
            startup_error(error.message(), &error);
            return ExitCode::FAILURE;
        }
    };
    init_log(config.log);
    log_warnings(&path, &warnings);
    warn_of_open_secrets([&path]);
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start: {error}")),
    };
    let outcome = runtime.block_on(async {
        // From here on a signal stops the program in order. There is nothing to reload, so SIGHUP,
        // sent when a terminal closes, stops it too.
        let mut signals = Signals::new(Signal::Stop("SIGHUP"))
            .map_err(|error| format!("cannot listen for signals: {error}"))?;
        let stop = async {
            if let Signal::Stop(signal) = signals.next().await {
                info!(signal, "stopping");
            }
        };
        Ok::<_, String>(run(LinuxHost::default(), config, stop).await)
    });
    // Does not wait for a look-up that hangs.
    runtime.shutdown_background();
    match outcome {
        Ok(Outcome::Signal) => {
            info!("stopped");
            ExitCode::SUCCESS
        }
        Ok(Outcome::Failed(error)) => failed(&error.to_string()),
        Err(text) => failed(&text),
    }
}

fn failed(text: &str) -> ExitCode {
    error!(err = text, "client error");
    ExitCode::FAILURE
}
