//! SIGHUP: reloads token, certificate and log level without ending a session.
//!
//! Invariant: if the file or the certificate has a fault, nothing changes. Other keys need a
//! restart; if one has changed, a warning says so.

use std::error::Error;

use qdt_program::{log_warnings, warn_of_open_secrets};
use qdt_transport::ServerTls;
use tracing::{error, info, warn};

use super::Server;
use crate::config::ServerConfig;

impl<H> Server<H> {
    /// Reads the configuration and applies what can change at run time.
    pub(super) fn reload(&mut self) {
        match self.read_config() {
            Ok((config, tls)) => self.apply(config, tls),
            Err(error) => error!(err = %error, "reload failed, nothing changed"),
        }
    }

    fn read_config(&self) -> Result<(ServerConfig, ServerTls), Box<dyn Error>> {
        let loaded = ServerConfig::load(&self.path, self.cpus)?;
        log_warnings(&self.path, &loaded.warnings);
        let config = loaded.config;
        warn_of_open_secrets([&self.path, &config.credentials.tls_key]);
        let tls = ServerTls::load(&config.credentials.tls_cert, &config.credentials.tls_key)?;
        Ok((config, tls))
    }

    fn apply(&mut self, config: ServerConfig, tls: ServerTls) {
        let applied = ServerConfig {
            credentials: config.credentials.clone(),
            log: qdt_program::LogConfig {
                level: config.log.level,
                ..self.config.log
            },
            ..self.config.clone()
        };
        if applied != config {
            warn!(
                "only token, certificate and log level were reloaded; other changes need a restart"
            );
        }
        self.admission.set_token(applied.credentials.token.clone());
        self.admission.rotate_ticket_key(tls.secrets().ticket_key());
        if let Some(workers) = &self.workers {
            workers.use_tls(&tls);
        }
        self.log.set_level(applied.log.level);
        info!(pin = tls.pin(), "reloaded");
        self.config = applied;
        self.tls = tls;
    }
}
