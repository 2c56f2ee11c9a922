//! SIGHUP: token, certificate and log level anew, without ending a session.
//!
//! All or nothing: if the file or the certificate has a fault, everything stays as it was. Other
//! keys need a restart, and if one of them has changed the log says so.

use std::error::Error;

use qdt_program::{log_warnings, warn_of_open_secrets};
use qdt_transport::ServerTls;
use tracing::{error, info, warn};

use super::Server;
use crate::config::ServerConfig;

impl<H> Server<H> {
    /// Reads the configuration again and takes over what can be changed.
    pub(super) fn reload(&mut self) {
        match self.read_again() {
            Ok((config, tls)) => self.take_over(config, tls),
            Err(error) => error!(err = %error, "reload failed, nothing changed"),
        }
    }

    fn read_again(&self) -> Result<(ServerConfig, ServerTls), Box<dyn Error>> {
        let loaded = ServerConfig::load(&self.path, self.cpus)?;
        log_warnings(&self.path, &loaded.warnings);
        let config = loaded.config;
        warn_of_open_secrets([&self.path, &config.credentials.tls_key]);
        let tls = ServerTls::load(&config.credentials.tls_cert, &config.credentials.tls_key)?;
        Ok((config, tls))
    }

    fn take_over(&mut self, config: ServerConfig, tls: ServerTls) {
        let adopted = ServerConfig {
            credentials: config.credentials.clone(),
            log: qdt_program::LogConfig {
                level: config.log.level,
                ..self.config.log
            },
            ..self.config.clone()
        };
        if adopted != config {
            warn!(
                "only token, certificate and log level were reloaded; other changes need a restart"
            );
        }
        self.admission.set_token(adopted.credentials.token.clone());
        self.admission.change_ticket_key(tls.secrets().ticket_key());
        if let Some(workers) = &self.workers {
            workers.use_tls(&tls);
        }
        self.log.set_level(adopted.log.level);
        info!(pin = tls.pin(), "reloaded");
        self.config = adopted;
        self.tls = tls;
    }
}
