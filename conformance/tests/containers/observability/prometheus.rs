//! Debian's Prometheus in its container, scraping one server, and questions
//! to its HTTP interface.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use conformance::{Machine, get, wait_for, wait_until};
use serde_json::Value;

use crate::container::{Container, Spec};
use crate::network::Network;
use crate::programs::Server;
use crate::stage::Stage;

/// Scrapes come once a second; the start loads a database.
const TIMEOUT: Duration = Duration::from_secs(30);
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

/// One sample of an instant query.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    /// Its labels, the name of the series under `__name__`.
    pub(super) labels: BTreeMap<String, String>,
    /// Its value, NaN where it is none.
    pub(super) value: f64,
}

/// A running Prometheus.
pub(super) struct Prometheus(Container);

impl Prometheus {
    /// Starts it and waits for its first scrape of the server.
    ///
    /// # Panics
    /// When it does not scrape.
    #[track_caller]
    pub(super) fn start(stage: &Stage, network: &Network, server: &Server) -> Self {
        let targets = stage.folder().join("targets.yml");
        let text = format!("- targets: [\"{}:9100\"]\n", server.ipv4());
        fs::write(&targets, text).expect("the cell's folder is writable");
        let rules = repository("docs/grafana/alerts.yml");
        let container = Spec::new("prometheus", "qdt-prometheus")
            .unprivileged()
            .mount(
                &targets.to_string_lossy(),
                "/etc/prometheus/targets/servers.yml",
                true,
            )
            .mount(&rules, "/etc/prometheus/rules/alerts.yml", true)
            .network(network)
            .start(stage);
        let prometheus = Self(container);
        wait_until(
            "the first scrape of the server",
            TIMEOUT,
            || matches!(prometheus.ask("query?query=up"), Ok(answer) if answer["result"][0]["value"][1] == "1"),
        );
        prometheus
    }

    /// The `data` of an answer to `/api/v1/<path>`, or the error that Prometheus names.
    pub(super) fn ask(&self, path: &str) -> Result<Value, String> {
        let (status, text) = get(self.0.machine(), ADDRESS, &format!("/api/v1/{path}"))
            .map_err(|error| error.to_string())?;
        let answer: Value =
            serde_json::from_str(&text).map_err(|error| format!("{status}: {error}: {text}"))?;
        if answer["status"] == "success" {
            Ok(answer["data"].clone())
        } else {
            Err(answer["error"].to_string())
        }
    }

    /// Its network as a machine of the lab.
    #[track_caller]
    pub(super) fn machine(&self) -> &Machine {
        self.0.machine()
    }

    /// An instant query. A scalar comes as one sample without labels.
    pub(super) fn query(&self, expression: &str) -> Result<Vec<Sample>, String> {
        let data = self.ask(&format!("query?query={}", encode(expression)))?;
        let sample = |labels: &Value, value: &Value| Sample {
            labels: serde_json::from_value(labels.clone()).unwrap_or_default(),
            value: value[1]
                .as_str()
                .and_then(|text| text.parse().ok())
                .unwrap_or(f64::NAN),
        };
        match data["resultType"].as_str() {
            Some("scalar") => Ok(vec![sample(&Value::Null, &data["result"])]),
            _ => Ok(data["result"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|found| sample(&found["metric"], &found["value"]))
                .collect()),
        }
    }

    /// The value of an expression that has exactly one.
    ///
    /// # Panics
    /// When it is wrong or has none or several.
    #[track_caller]
    pub(super) fn value(&self, expression: &str) -> f64 {
        match self.query(expression).as_deref() {
            Ok([sample]) => sample.value,
            other => panic!("{expression}: {other:?}"),
        }
    }

    /// Waits until a scrape has begun after this call, so that it shows everything up to now.
    ///
    /// # Panics
    /// When none comes.
    #[track_caller]
    pub(super) fn next_scrape(&self) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock after 1970")
            .as_secs_f64();
        wait_until("a scrape after this moment", TIMEOUT, || {
            self.query("timestamp(qdt_sessions_active)")
                .is_ok_and(|found| found.len() == 1 && found[0].value > now)
        });
    }

    /// Waits until an expression has a result, and returns it.
    ///
    /// # Panics
    /// When it stays empty.
    #[track_caller]
    pub(super) fn wait_for_result(&self, expression: &str) -> Vec<Sample> {
        wait_for(expression, TIMEOUT, || {
            self.query(expression)
                .ok()
                .filter(|found| !found.is_empty())
        })
    }
}

/// A file of the repository.
pub(super) fn repository(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(path);
    path.canonicalize()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .to_string_lossy()
        .into_owned()
}

/// Percent encoding of everything but letters and digits.
fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() {
            encoded.push(byte.into());
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}
