//! Tests of exchanges without a peer.

use std::sync::Arc;

use qdt_proto::datagram::SessionId;
use qdt_proto::http3::encode_request;
use quinn_proto::{Endpoint as QuicEndpoint, Side};

use super::*;
use crate::client::dialling_config;
use crate::{ClientTls, ClientTrust};

fn with(state: State<()>) -> Exchanges<()> {
    let id = StreamId::new(Side::Client, Dir::Bi, 0);
    Exchanges {
        requests: vec![Exchange {
            id,
            parser: RequestStream::new(),
            is_head: false,
            stream_frames: 0,
            state,
            out: None,
        }],
        claimed: Some(id),
        session_abandoned: false,
        answered: None,
    }
}

#[test]
fn a_request_that_ends_before_its_grant_releases_the_session() {
    let body = State::Body {
        reservation: Some(()),
        body: Vec::new(),
        deadline: Instant::now(),
    };
    let outcome = State::Pending {
        deadline: Instant::now(),
    };
    for state in [State::Head, body, outcome, State::Refused] {
        let mut exchanges = with(state);
        exchanges.remove(0);
        assert_eq!(
            (exchanges.claimed, exchanges.session_abandoned),
            (None, false)
        );
    }
}

#[test]
fn the_end_of_a_granted_request_ends_the_session() {
    let mut exchanges = with(State::Granted);
    exchanges.remove(0);
    assert!(exchanges.session_abandoned);
}

#[test]
fn a_pending_request_holds_the_connections_session_until_its_deadline() {
    let mut quic = connection();
    let mut context = context();
    let mut exchanges = with(State::Head);
    let first = exchanges.requests[0].id;
    let second = StreamId::new(Side::Client, Dir::Bi, 1);
    let decision = Ok(Decision::Pending(Box::new(|_| ())));
    let result = exchanges.conclude(&mut quic, 0, decision, &context);
    assert!(matches!(result, Some(RequestResult::Pending { stream, .. }) if stream == first));
    assert!(exchanges.is_pending(first));
    assert!(exchanges.is_claimed_by_another(second));
    exchanges.expire(&mut quic, &context);
    assert!(exchanges.is_pending(first), "it has time left");
    context.request.now = exchanges.next_deadline().expect("it does not wait forever");
    exchanges.expire(&mut quic, &context);
    assert!(!exchanges.is_pending(first));
    assert!(!exchanges.is_claimed_by_another(second));
    assert_eq!(exchanges.answered, Some(context.request.now));
}

#[test]
fn a_pending_request_whose_stream_was_read_to_its_end_waits_on_when_another_arrives() {
    let mut quic = connection();
    let context = context();
    let mut exchanges = with(State::Pending {
        deadline: context.request.now + Duration::from_secs(3),
    });
    let id = exchanges.requests[0].id;
    // QUIC knows no stream whose end was read, as it knows none that was never opened.
    assert!(exchanges.accept(&mut quic, &context).is_none());
    assert!(exchanges.is_pending(id));
}

/// Returns a connection without a peer.
fn connection() -> Connection {
    let tls = ClientTls::new(&ClientTrust::Anyone).expect("trust");
    let mut endpoint = QuicEndpoint::new(Arc::default(), None, true, None);
    let to = ([192, 0, 2, 1], 443).into();
    let config = dialling_config(&tls, 1200);
    let dialled = endpoint.connect(Instant::now(), config, to, "localhost");
    dialled.expect("it dials").1
}

fn context() -> Context<'static, Asked> {
    let now = Instant::now();
    Context {
        admission: &Asked,
        request: RequestContext {
            peer: ([192, 0, 2, 1], 443).into(),
            worker: 0,
            now,
        },
        answer_by: now + Duration::from_secs(1),
        unix_seconds: || 0,
    }
}

/// A policy that refuses everything, with a status of its own.
struct Asked;

impl Admission for Asked {
    type Reservation = ();

    fn head(&self, _: &RequestHead, _: &RequestContext, _: bool) -> Result<(), Refusal> {
        Err(Refusal {
            status: 418,
            body: "asked",
        })
    }

    fn body(&self, (): (), _: Option<&[u8]>, _: &RequestContext) -> Decision {
        unreachable!("no head is accepted")
    }

    fn ended(&self, _: SessionId, _: &str, _: Duration) {}
}

#[test]
fn a_request_without_an_endpoint_does_not_reach_admission() {
    let context = context();
    for (path, status) in [("/connect?x=1", 418), ("/connect/", 404), ("/", 404)] {
        let request = encode_request(b"localhost", path.as_bytes(), b"token", b"");
        let mut exchanges = with(State::Head);
        let decision = exchanges.requests[0].take(&request, false, false, &context);
        let Some(Ok(Decision::Refused(refusal))) = decision else {
            panic!("{path} was not refused");
        };
        assert_eq!(refusal.status, status, "{path}");
    }
}
