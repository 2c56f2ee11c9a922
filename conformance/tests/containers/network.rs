//! A named network of the engine: a bridge with IPv4 and IPv6 that nothing
//! outside of it reaches. It is removed with its value.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU16, Ordering};

use testcontainers::bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};

use crate::engine::{Engine, LABEL, this_run};

/// Networks are numbered: 10.213.N.0/24 and fd00:213:N::/64. Where a number is taken, the next one
/// is tried.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// A network.
#[derive(Debug)]
pub(crate) struct Network {
    name: String,
}

impl Network {
    /// Makes a network.
    ///
    /// # Panics
    /// When the engine refuses it for another reason than addresses in use.
    #[track_caller]
    pub(crate) fn new(name: &str) -> Self {
        Self::with_options(name, &[])
    }

    /// Makes a network with options of the bridge driver, such as
    /// `com.docker.network.driver.mtu`.
    ///
    /// # Panics
    /// As [`Network::new`].
    #[track_caller]
    pub(crate) fn with_options(name: &str, options: &[(&str, &str)]) -> Self {
        let engine = Engine::get();
        // Runs in parallel start at other numbers.
        let offset = (std::process::id() % 256) as u16;
        for _ in 0..256 {
            let number = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(offset) % 256;
            let subnets = [
                format!("10.213.{number}.0/24"),
                format!("fd00:213:{number:x}::/64"),
            ];
            let request = NetworkCreateRequest {
                name: name.to_owned(),
                internal: Some(true),
                enable_ipv6: Some(true),
                ipam: Some(Ipam {
                    config: Some(subnets.map(subnet).into()),
                    ..Ipam::default()
                }),
                options: Some(
                    options
                        .iter()
                        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                        .collect(),
                ),
                labels: Some(HashMap::from([(LABEL.to_owned(), this_run())])),
                ..NetworkCreateRequest::default()
            };
            match engine.wait(engine.docker().create_network(request)) {
                Ok(_) => {
                    return Self {
                        name: name.to_owned(),
                    };
                }
                Err(error) if error.to_string().contains("overlap") => {}
                Err(error) => panic!("the engine makes no network {name}: {error}"),
            }
        }
        panic!("all of 10.213.0.0/16 is in use by networks: remove some (docker network ls)");
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let engine = Engine::get();
        // What cannot be removed now is removed by the sweep at the end.
        let _ = engine.wait(engine.docker().remove_network(&self.name));
    }
}

fn subnet(subnet: String) -> IpamConfig {
    IpamConfig {
        subnet: Some(subnet),
        ..IpamConfig::default()
    }
}
