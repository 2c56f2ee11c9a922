//! What an exchange does without a connection.

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
            state,
            out: None,
        }],
        claimed: Some(id),
        session_given_up: false,
        answered: None,
    }
}

#[test]
fn a_request_that_goes_before_it_was_granted_leaves_its_place_to_another() {
    let body = State::Body {
        reservation: Some((Endpoint::Connect, ())),
        body: Vec::new(),
        deadline: Instant::now(),
    };
    let verdict = State::Pending {
        endpoint: Endpoint::Connect,
        deadline: Instant::now(),
    };
    for state in [State::Head, body, verdict, State::Refused] {
        let mut exchanges = with(state);
        exchanges.forget(0);
        assert_eq!(
            (exchanges.claimed, exchanges.session_given_up),
            (None, false)
        );
    }
}

#[test]
fn a_granted_request_that_goes_ends_the_session() {
    let mut exchanges = with(State::Granted);
    exchanges.forget(0);
    assert!(exchanges.session_given_up);
}

#[test]
fn a_request_that_waits_for_its_verdict_has_the_connections_session_until_its_time_is_over() {
    let mut quic = connection();
    let mut context = context();
    let mut exchanges = with(State::Head);
    let first = exchanges.requests[0].id;
    let second = StreamId::new(Side::Client, Dir::Bi, 1);
    let verdict = Verdict::Pending(Endpoint::Connect, Box::new(|_| ()));
    let settled = exchanges.conclude(&mut quic, 0, verdict, &context);
    assert!(matches!(settled, Some(Settled::Pending { stream, .. }) if stream == first));
    assert!(exchanges.waits_for_verdict(first));
    assert!(exchanges.is_claimed_besides(second));
    exchanges.expire(&mut quic, &context);
    assert!(exchanges.waits_for_verdict(first), "it has time left");
    context.request.now = exchanges.next_deadline().expect("it does not wait forever");
    exchanges.expire(&mut quic, &context);
    assert!(!exchanges.waits_for_verdict(first));
    assert!(!exchanges.is_claimed_besides(second));
    assert_eq!(exchanges.answered, Some(context.request.now));
}

/// A connection without a peer.
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

/// Refuses everybody, with a status that tells that it was asked.
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
fn admission_judges_no_request_to_a_path_that_names_no_endpoint() {
    let context = context();
    for (path, status) in [("/connect?x=1", 418), ("/connect/", 404), ("/", 404)] {
        let request = encode_request(b"localhost", path.as_bytes(), b"token", b"");
        let mut exchanges = with(State::Head);
        let verdict = exchanges.requests[0].take(&request, false, false, &context);
        let Some(Verdict::Refused(refusal, false)) = verdict else {
            panic!("{path} was not refused");
        };
        assert_eq!(refusal.status, status, "{path}");
    }
}
