//! The same server as another HTTP/3 library sees it: h3, which shares no line with the server's
//! own edge.
//!
//! What h3 can say is said here once more; that both see the same rules out a fault that the
//! server's encoder and the probe's reader have in common.

use bytes::{Buf as _, Bytes};
use http::{HeaderValue, Method};

use super::checks::{DEFAULT_MTU, NONCE};
use super::exchange::{Answer, Outcome};
use super::run::Run;
use super::session::{ANSWER, compare};
use super::table::{BAD_NONCE, BAD_REQUEST, Expect, METHOD, NOT_FOUND, UNAUTHORIZED};
use crate::probe::{Probe, finish};

const GROUP: &str = "as the library h3 sees it";

/// What h3 sends.
struct Said<'a> {
    method: Method,
    path: &'a str,
    token: &'a [u8],
    body: &'a str,
}

/// Makes every check of this kind.
pub(super) fn probe(run: &mut Run<'_>) {
    let token = run.options.token.clone();
    let body = format!(r#"{{"version":1,"client_nonce":"{NONCE}"}}"#);
    let good = Said {
        method: Method::POST,
        path: "/connect",
        token: &token,
        body: &body,
    };
    let cases = [
        (
            "another path is not found",
            Said {
                path: "/",
                ..good.again()
            },
            Expect::Refused(NOT_FOUND),
        ),
        (
            "GET is not a method",
            Said {
                method: Method::GET,
                body: "",
                ..good.again()
            },
            Expect::Refused(METHOD),
        ),
        (
            "HEAD is answered without a body",
            Said {
                method: Method::HEAD,
                body: "",
                ..good.again()
            },
            Expect::Refused(METHOD),
        ),
        (
            "a wrong token is refused",
            Said {
                token: b"wrong",
                ..good.again()
            },
            Expect::Refused(UNAUTHORIZED),
        ),
        (
            "another version is refused",
            Said {
                body: r#"{"version":2}"#,
                ..good.again()
            },
            Expect::Refused(BAD_REQUEST),
        ),
        (
            "a bad nonce is refused",
            Said {
                body: r#"{"version":1,"client_nonce":"="}"#,
                ..good.again()
            },
            Expect::Refused(BAD_NONCE),
        ),
        ("a good request opens a session", good, Expect::Session),
    ];
    for (name, said, expected) in cases {
        let sent = format!("{} {} {}", said.method, said.path, said.body);
        let outcome = match run.connect_bare() {
            Ok(probe) => {
                let outcome = finish(ANSWER, exchange(&probe, &said)).unwrap_or(Outcome::Silence);
                probe.hang_up();
                outcome
            }
            Err(why) => Outcome::Broken(why),
        };
        let is_head = said.method == Method::HEAD;
        let found = compare(run, expected, &outcome, is_head, DEFAULT_MTU);
        run.report(GROUP, name, &sent, expected, found);
    }
}

impl Said<'_> {
    fn again(&self) -> Self {
        Self {
            method: self.method.clone(),
            ..*self
        }
    }
}

/// One request on a connection of its own.
async fn exchange(probe: &Probe, said: &Said<'_>) -> Outcome {
    match attempt(probe, said).await {
        Ok(answer) => Outcome::Answer(answer),
        Err(error) => Outcome::Broken(format!("h3: {error}")),
    }
}

async fn attempt(probe: &Probe, said: &Said<'_>) -> anyhow::Result<Answer> {
    let quic = h3_quinn::Connection::new(probe.quic().clone());
    let (mut connection, mut requests) = h3::client::builder()
        .enable_datagram(true)
        .build::<_, _, Bytes>(quic)
        .await?;
    let driver = tokio::spawn(async move { connection.wait_idle().await });
    let head = http::Request::builder()
        .method(said.method.clone())
        .uri(format!("https://qdt.test{}", said.path))
        .header("x-qdt-token", HeaderValue::from_bytes(said.token)?)
        .body(())?;
    let mut stream = requests.send_request(head).await?;
    let body = Bytes::copy_from_slice(said.body.as_bytes());
    // A server that has made up its mind may stop the stream before this: its answer says more.
    let _ = if body.is_empty() {
        stream.finish().await
    } else {
        stream.send_data(body).await
    };
    let response = stream.recv_response().await?;
    let mut answer = Answer {
        status: response.status().as_u16(),
        headers: response
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().into(), value.as_bytes().into()))
            .collect(),
        body: Vec::new(),
        finished: false,
    };
    while !(answer.status == 200 && answer.body.ends_with(b"\n")) {
        match stream.recv_data().await? {
            Some(mut part) => answer
                .body
                .extend_from_slice(&part.copy_to_bytes(part.remaining())),
            None => {
                answer.finished = true;
                break;
            }
        }
    }
    driver.abort();
    Ok(answer)
}
