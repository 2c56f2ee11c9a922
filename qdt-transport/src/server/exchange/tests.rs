//! What an exchange does without a connection.

use qdt_proto::datagram::SessionId;
use qdt_proto::http3::encode_request;
use quinn_proto::Side;

use super::*;

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
    for state in [State::Head, body, State::Refused] {
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

    fn body(&self, (): (), _: Option<&[u8]>, _: &RequestContext) -> Result<Grant, Refusal> {
        unreachable!("no head is accepted")
    }

    fn ended(&self, _: SessionId, _: &str, _: Duration) {}
}

#[test]
fn admission_judges_no_request_to_a_path_that_names_no_endpoint() {
    let context = Context {
        admission: &Asked,
        request: RequestContext {
            peer: ([192, 0, 2, 1], 443).into(),
            worker: 0,
            now: Instant::now(),
        },
        unix_seconds: || 0,
    };
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
