//! A tunnel with a virtual clock for test scripts: events in, timed actions out.
//!
//! Invariants: time passes only in [`Script::wait`], timer by timer, so every moment is exact.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use qdt_client::{Action, Event, HostSettings, Report, RouteMode, Settings, Stage, Tunnel};
use qdt_proto::datagram::SessionId;
use qdt_proto::handshake::{Assignment, ConnectResponse};
use qdt_transport::{AttemptId, ClientEvent, Dial, DialError, PacketSize};

pub(crate) const V4: &str = "192.0.2.1:443";
pub(crate) const V6: &str = "[2001:db8::1]:443";

/// An action and its time since the start of the script.
pub(crate) type Timed = (Duration, Action);

pub(crate) struct Script {
    pub(crate) tunnel: Tunnel,
    start: Instant,
    now: Instant,
}

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn settings() -> Settings {
    Settings {
        timeout: secs(10),
        host: HostSettings {
            tun: "qdt0".to_owned(),
            route_mode: RouteMode::Default,
            dns: Vec::new(),
        },
    }
}

/// The answer of our server.
pub(crate) fn our_answer() -> ConnectResponse {
    ConnectResponse {
        version: 1,
        session_id: SessionId(7),
        server_nonce: "AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        mtu: 1350,
        client_ip: "10.8.0.2".to_owned(),
        gateway_ip: "10.8.0.1".to_owned(),
        cidr: "10.8.0.0/24".to_owned(),
        dns: vec!["9.9.9.9".to_owned()],
        caps: Some(vec!["ping".to_owned(), "close".to_owned()]),
        resume: Some("ticket-1".to_owned()),
    }
}

/// The answer of a Go server.
pub(crate) fn go_answer() -> ConnectResponse {
    ConnectResponse {
        mtu: 1242,
        caps: None,
        resume: None,
        ..our_answer()
    }
}

impl Script {
    pub(crate) fn new(settings: Settings) -> Self {
        let start = Instant::now();
        Self {
            tunnel: Tunnel::new(settings, 1),
            start,
            now: start,
        }
    }

    /// Returns a started tunnel whose server's name is resolved.
    pub(crate) fn started(settings: Settings, addresses: &[&str]) -> (Self, Vec<Action>) {
        let mut script = Self::new(settings);
        assert_eq!(script.event(Event::Started), [Action::Resolve]);
        let actions = script.event(resolved(addresses));
        (script, without_reports(actions))
    }

    /// Returns a tunnel up at full size with our server.
    pub(crate) fn connected() -> (Self, AttemptId) {
        Self::connected_with(our_answer(), PacketSize::Full)
    }

    pub(crate) fn connected_with(answer: ConnectResponse, size: PacketSize) -> (Self, AttemptId) {
        let (mut script, actions) = Self::started(settings(), &[V4]);
        let mut attempt = only_dial(&actions).attempt;
        if size == PacketSize::Base {
            attempt = only_dial(&script.wait(ms(300))).attempt;
        }
        script.establish(attempt, answer, size);
        assert_eq!(script.tunnel.stage(), Stage::Connected);
        (script, attempt)
    }

    pub(crate) fn event(&mut self, event: Event) -> Vec<Action> {
        self.tunnel.handle_event(self.now, event);
        self.drain()
    }

    pub(crate) fn worker_event(&mut self, event: ClientEvent) -> Vec<Action> {
        self.event(Event::Worker(event))
    }

    pub(crate) fn establish(
        &mut self,
        attempt: AttemptId,
        answer: ConnectResponse,
        size: PacketSize,
    ) -> Vec<Action> {
        self.worker_event(answered(attempt, &answer, size))
    }

    pub(crate) fn refuse(&mut self, attempt: AttemptId, status: u16, body: &str) -> Vec<Action> {
        self.worker_event(ClientEvent::Refused {
            attempt,
            status,
            body: body.to_owned(),
        })
    }

    pub(crate) fn fail(&mut self, attempt: AttemptId, error: DialError) -> Vec<Action> {
        self.worker_event(ClientEvent::Failed { attempt, error })
    }

    pub(crate) fn close(&mut self, attempt: AttemptId) -> Vec<Action> {
        self.worker_event(ClientEvent::Closed {
            attempt,
            reason: "closed by the server".to_owned(),
        })
    }

    /// Lets `time` pass and returns the actions.
    pub(crate) fn wait(&mut self, time: Duration) -> Vec<Action> {
        self.wait_timed(time)
            .into_iter()
            .map(|(_, action)| action)
            .collect()
    }

    /// Lets `time` pass and returns the timed actions.
    pub(crate) fn wait_timed(&mut self, time: Duration) -> Vec<Timed> {
        let until = self.now + time;
        let mut actions = Vec::new();
        while let Some(due) = self.tunnel.poll_timeout().filter(|due| *due <= until) {
            assert!(
                due > self.now || self.now == until || actions.len() < 10_000,
                "time stands still"
            );
            self.now = self.now.max(due);
            self.tunnel.handle_timeout(self.now);
            let at = self.now - self.start;
            actions.extend(self.drain().into_iter().map(|action| (at, action)));
        }
        self.now = until;
        actions
    }

    /// Lets time pass until the first dial; returns the time it took, and the dial.
    pub(crate) fn next_dial(&mut self, within: Duration) -> (Duration, Dial) {
        let from = self.now;
        while let Some(due) = self
            .tunnel
            .poll_timeout()
            .filter(|due| *due <= from + within)
        {
            self.now = self.now.max(due);
            self.tunnel.handle_timeout(self.now);
            let actions = self.drain();
            if let Some(dial) = dials(&actions).first() {
                return (self.now - from, dial.clone());
            }
        }
        panic!("nothing was dialled within {within:?}");
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    fn drain(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.tunnel.poll_action()).collect()
    }
}

/// Returns the packet worker's event for `answer`.
pub(crate) fn answered(
    attempt: AttemptId,
    answer: &ConnectResponse,
    size: PacketSize,
) -> ClientEvent {
    match Assignment::check(answer, 1350) {
        Ok(assignment) => ClientEvent::Established {
            attempt,
            assignment: Box::new(assignment),
            size,
        },
        Err(error) => ClientEvent::Failed {
            attempt,
            error: error.into(),
        },
    }
}

pub(crate) fn resolved(addresses: &[&str]) -> Event {
    Event::Resolved(Ok(addresses.iter().map(|text| address(text)).collect()))
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

pub(crate) fn dials(actions: &[Action]) -> Vec<Dial> {
    let dial = |action: &Action| match action {
        Action::Dial(dial) => Some(dial.clone()),
        _ => None,
    };
    actions.iter().filter_map(dial).collect()
}

pub(crate) fn only_dial(actions: &[Action]) -> Dial {
    match &dials(actions)[..] {
        [dial] => dial.clone(),
        other => panic!("one dial was expected: {other:?}"),
    }
}

pub(crate) fn closed(actions: &[Action]) -> Vec<AttemptId> {
    let close = |action: &Action| match action {
        Action::Close(attempt) => Some(*attempt),
        _ => None,
    };
    actions.iter().filter_map(close).collect()
}

pub(crate) fn adopted(actions: &[Action]) -> Option<AttemptId> {
    actions.iter().find_map(|action| match action {
        Action::Adopt(attempt) => Some(*attempt),
        _ => None,
    })
}

pub(crate) fn reports(actions: &[Action]) -> Vec<Report> {
    let report = |action: &Action| match action {
        Action::Report(report) => Some(report.clone()),
        _ => None,
    };
    actions.iter().filter_map(report).collect()
}

pub(crate) fn without_reports(actions: Vec<Action>) -> Vec<Action> {
    actions
        .into_iter()
        .filter(|action| !matches!(action, Action::Report(_)))
        .collect()
}

/// Returns whether an action changes the host.
pub(crate) fn changes_host(actions: &[Action]) -> bool {
    actions.iter().any(|action| {
        matches!(
            action,
            Action::SetTun(_) | Action::SetRoutes(_) | Action::SetDns(_) | Action::RemoveRoutes
        )
    })
}
