//! One run of the probe: from an address and a token to a report.
//!
//! It is gentle: requests are paced below the server's default limits, every connection is closed
//! after its check, and where the pool of addresses is small, checks that would open a session make
//! their point without one.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::time::{Duration, Instant};

use quinn::{Endpoint, TransportConfig};

use super::checks::{self, Check, Material};
use super::compare::{Learned, Success, differences, shown};
use super::exchange::{Outcome, Pending};
use super::metrics::Page;
use super::report::{CheckStatus, Line, Report};
use super::request::{Head, Request};
use super::table::{Dialect, Expect, HINTS};
use super::{extensions, library, living};
use crate::probe::{ConnectError, Probe};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(4);
/// How long an answer may take that comes at the server's deadline for bodies (5 s).
const AFTER_DEADLINE: Duration = Duration::from_secs(9);
/// A pool of so many addresses is large enough for a session per check: each is kept for
/// `session_timeout`.
const LARGE_POOL: u32 = 200;
/// More than any server agrees to: its answer is its own limit.
const ANY_MTU: i64 = 65_535;

/// What to probe.
pub struct Options {
    /// `host:port` of the server.
    pub server: String,
    /// Its token.
    pub token: Vec<u8>,
    /// `http://host:port/metrics`, where labels are to be compared too.
    pub metrics: Option<String>,
    /// The kind of server.
    pub dialect: Dialect,
    /// Requests a second at most; 0: as fast as it goes.
    pub rate: u32,
}

impl std::fmt::Debug for Options {
    /// Without the token.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Options")
            .field("server", &self.server)
            .field("dialect", &self.dialect)
            .finish_non_exhaustive()
    }
}

/// Why there is no report: what is wrong, and what to do.
#[derive(Debug)]
pub struct CannotProbe(pub String);

/// Probes a server; `progress` gets every line as soon as it is known.
///
/// # Errors
/// [`CannotProbe`]: the server cannot be reached, does not take the token, or its metrics cannot be
/// read.
pub fn run(options: &Options, progress: &mut dyn FnMut(&Line)) -> Result<Report, CannotProbe> {
    let began = Instant::now();
    let mut run = Run::new(options, progress)?;
    run.learn()?;
    let checks = run.checks();
    let (slow, quick): (Vec<Check>, Vec<Check>) = checks.into_iter().partition(|check| check.slow);
    for check in &quick {
        run.check(check);
    }
    living::probe(&mut run);
    extensions::probe(&mut run);
    library::probe(&mut run);
    run.check_at_deadline(&slow);
    run.endpoint.close(0_u32.into(), b"");
    Ok(Report {
        server: options.server.clone(),
        dialect: options.dialect,
        labels: options.metrics.is_some(),
        lines: run.lines,
        notes: run.notes,
        connections: run.connections,
        took: began.elapsed(),
    })
}

/// A run under way.
pub(super) struct Run<'a> {
    pub(super) options: &'a Options,
    endpoint: Endpoint,
    address: SocketAddr,
    pub(super) learned: Option<Learned>,
    page: Option<Page>,
    next: Instant,
    connections: usize,
    progress: &'a mut dyn FnMut(&Line),
    lines: Vec<Line>,
    notes: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(options: &'a Options, progress: &'a mut dyn FnMut(&Line)) -> Result<Self, CannotProbe> {
        let server = &options.server;
        let page = options.metrics.as_ref().map(|url| {
            Page::open(url).map_err(|error| {
                CannotProbe(format!(
                    "{url} cannot be read: {error}. It is the server's `metrics_addr`, which may be bound to its \
                     own host only; without --metrics the labels are not compared"
                ))
            })
        });
        let page = page.transpose()?;
        let mut addresses: Vec<SocketAddr> = server
            .to_socket_addrs()
            .map_err(|error| CannotProbe(format!("{server}: {error}. Give it as host:port")))?
            .collect();
        addresses.sort_by_key(SocketAddr::is_ipv6);
        let mut failed = Vec::new();
        for address in addresses {
            let any = if address.is_ipv4() {
                "0.0.0.0:0"
            } else {
                "[::]:0"
            };
            let socket = UdpSocket::bind(any)
                .map_err(|error| CannotProbe(format!("no UDP socket: {error}")))?;
            let endpoint = Probe::endpoint_of(socket);
            match connect(&endpoint, address, server) {
                Ok(probe) => {
                    probe.hang_up();
                    return Ok(Self {
                        options,
                        endpoint,
                        address,
                        learned: None,
                        page,
                        next: Instant::now(),
                        connections: 1,
                        progress,
                        lines: Vec::new(),
                        notes: Vec::new(),
                    });
                }
                Err(why) => failed.push(format!("{address}: {why}")),
            }
        }
        Err(CannotProbe(format!(
            "{server} takes no connection ({}). Check the port (UDP), the firewall in between, and that the server runs; \
             on its host `tcpdump -ni any udp port {}` shows whether packets arrive",
            failed.join("; "),
            server.rsplit(':').next().unwrap_or_default()
        )))
    }

    /// A new connection with its control stream, in the pace of the run.
    pub(super) fn connect(&mut self) -> Result<Probe, String> {
        self.connect_bare().map(Probe::with_settings)
    }

    /// A new connection on which nothing was sent yet, in the pace of the run.
    pub(super) fn connect_bare(&mut self) -> Result<Probe, String> {
        if self.options.rate > 0 {
            std::thread::sleep(self.next.saturating_duration_since(Instant::now()));
            self.next = Instant::now() + Duration::from_secs(1) / self.options.rate;
        }
        self.connections += 1;
        connect(&self.endpoint, self.address, &self.options.server)
    }

    /// Sends a request on a connection of its own; the connection and the stream stay open with
    /// what is returned.
    fn send(&mut self, request: &Request) -> Result<(Probe, Pending), Outcome> {
        let probe = self.connect().map_err(Outcome::Broken)?;
        let pending = Pending::start(&probe, request)?;
        Ok((probe, pending))
    }

    /// The first session: whether this is a server that takes us, and how it is configured.
    fn learn(&mut self) -> Result<(), CannotProbe> {
        let body = format!(
            r#"{{"version":1,"client_nonce":"{}","mtu":{ANY_MTU}}}"#,
            checks::NONCE
        );
        let request = Request::new(&Head::connect(&self.options.token)).data(body.as_bytes());
        let outcome = match self.send(&request) {
            Ok((probe, mut pending)) => {
                let outcome = pending.outcome(ANSWER);
                probe.hang_up();
                outcome
            }
            Err(outcome) => outcome,
        };
        let first = match &outcome {
            Outcome::Answer(answer) if answer.status == 200 => {
                serde_json::from_slice::<Success>(&answer.body).ok()
            }
            _ => None,
        };
        let Some(first) = first else {
            let hint = hint(&outcome)
                .unwrap_or("this is no QDT server, or one of another protocol version");
            return Err(CannotProbe(format!(
                "a good request opens no session on {}: {} came instead; {hint}",
                self.options.server,
                shown(&outcome)
            )));
        };
        self.learned = Some(Learned::from(first).map_err(CannotProbe)?);
        let differences = differences(
            Expect::Session,
            &outcome,
            false,
            ANY_MTU,
            self.learned.as_mut(),
            self.options.dialect,
        );
        self.report(
            "the server",
            "a good request opens a session",
            &request.shown,
            Expect::Session,
            differences,
        );
        Ok(())
    }

    /// Every check; where addresses are few, none takes one that can do without.
    fn checks(&mut self) -> Vec<Check> {
        let addresses = self.learned.as_ref().map_or(0, |learned| {
            let all = 2_u32.saturating_pow(32 - u32::from(learned.pool.prefix_len()));
            // Neither network nor broadcast nor the gateway.
            all.saturating_sub(3)
        });
        let mut material = Material::new(&self.options.token);
        if addresses < LARGE_POOL {
            material.spare_addresses();
            self.notes.push(format!(
                "the pool has {addresses} addresses for clients: checks that would open a session were made with a \
                 nonce that is too short, and those about nonces that open one were left out"
            ));
        }
        let checks = checks::all(&material);
        if addresses >= LARGE_POOL {
            let opens = |check: &&Check| check.expected(self.options.dialect) == Expect::Session;
            let sessions = checks.iter().filter(opens).count();
            self.notes.push(format!(
                "some {sessions} sessions were opened and closed; a server keeps their addresses for session_timeout"
            ));
        }
        checks
    }

    fn check(&mut self, check: &Check) {
        let expected = check.expected(self.options.dialect);
        if let Expect::NotAsked(reason) = expected {
            self.not_asked(check, reason);
            return;
        }
        let outcome = match self.send(&check.request) {
            Ok((probe, mut pending)) => {
                let outcome = pending.outcome(ANSWER);
                probe.hang_up();
                outcome
            }
            Err(outcome) => outcome,
        };
        let differences = self.compare(check, &outcome);
        self.report(
            check.group,
            &check.name,
            &check.request.shown,
            expected,
            differences,
        );
    }

    /// Checks whose answer comes at the deadline for bodies: all wait at the same time.
    fn check_at_deadline(&mut self, checks: &[Check]) {
        let mut waiting = Vec::new();
        let mut labels = BTreeMap::new();
        for check in checks {
            let expected = check.expected(self.options.dialect);
            if let Expect::NotAsked(reason) = expected {
                self.not_asked(check, reason);
                continue;
            }
            *labels
                .entry(expected.label().unwrap_or_default())
                .or_insert(0) += 1;
            waiting.push((check, expected, self.send(&check.request)));
        }
        for (check, expected, sent) in waiting {
            let outcome = match sent {
                Ok((_probe, mut pending)) => pending.outcome(AFTER_DEADLINE),
                Err(outcome) => outcome,
            };
            let differences = self.compare(check, &outcome);
            self.push(Line::judged(
                check.group,
                &check.name,
                &check.request.shown,
                expected.text(),
                &differences,
            ));
        }
        if let Some(page) = self.page.as_mut().filter(|_| !labels.is_empty()) {
            let differences = page.differences(&labels);
            self.push(Line::judged(
                "bodies without an end",
                "what ended at the deadline is counted as bad_request",
                "the requests above",
                "label bad_request",
                &differences,
            ));
        }
    }

    fn compare(&mut self, check: &Check, outcome: &Outcome) -> Vec<String> {
        let dialect = self.options.dialect;
        let expected = check.expected(dialect);
        let is_head = check.request.is_head();
        let found = differences(
            expected,
            outcome,
            is_head,
            check.mtu,
            self.learned.as_mut(),
            dialect,
        );
        if !found.is_empty()
            && let Some(hint) = hint(outcome)
            && !self.notes.iter().any(|note| note == hint)
        {
            self.notes.push(hint.into());
        }
        found
    }

    /// Adds a line for one request, with what its label should have counted.
    pub(super) fn report(
        &mut self,
        group: &'static str,
        name: &str,
        sent: &str,
        expected: Expect,
        mut differences: Vec<String>,
    ) {
        let mut text = expected.text();
        if let Some(page) = &mut self.page {
            let labels = expected.label().map(|label| (label, 1));
            differences.extend(page.differences(&labels.into_iter().collect()));
            text += &expected
                .label()
                .map_or(", no label".into(), |label| format!(", label {label}"));
        }
        self.push(Line::judged(group, name, sent, text, &differences));
    }

    pub(super) fn push(&mut self, line: Line) {
        (self.progress)(&line);
        self.lines.push(line);
    }

    fn not_asked(&mut self, check: &Check, reason: &str) {
        self.push(Line {
            group: check.group,
            name: check.name.clone(),
            sent: check.request.shown.clone(),
            expected: String::new(),
            got: reason.into(),
            status: CheckStatus::NotAsked,
        });
    }
}

/// A connection to the server that was named as `host:port`.
fn connect(endpoint: &Endpoint, address: SocketAddr, server: &str) -> Result<Probe, String> {
    let host = server.rsplit_once(':').map_or("", |(host, _)| host);
    let name = host.trim_matches(['[', ']']);
    match Probe::connect_as(endpoint, address, name, TransportConfig::default(), CONNECT) {
        Ok(probe) => Ok(probe),
        Err(ConnectError::TimedOut) => Err("no answer".into()),
        Err(ConnectError::Connection(error)) => Err(error.to_string()),
    }
}

/// What an answer says about the server's state, in words.
fn hint(outcome: &Outcome) -> Option<&'static str> {
    let Outcome::Answer(answer) = outcome else {
        return None;
    };
    let body = String::from_utf8_lossy(&answer.body);
    HINTS
        .iter()
        .find(|(status, text, _)| *status == answer.status && *text == body.trim_end())
        .map(|(_, _, hint)| *hint)
}
