//! What Prometheus counts is what was sent: packets and bytes each way, drops
//! by reason, handshakes by result.

use std::net::Ipv4Addr;

use conformance::probe::{Exchange, Probe, Session, SessionOptions, echo_request, request_body};
use conformance::{Lab, wait_until};

use super::{ANSWER, Named, Setting, echo};
use crate::SECOND;
use crate::stage::Stage;

pub(super) fn cells() -> Vec<Named> {
    vec![
        (
            "packets and bytes in Prometheus are those that were sent, in and out",
            traffic,
        ),
        ("drops by reason add up to what was sent wrongly", drops),
        (
            "handshakes by result add up to the requests that were made",
            handshakes,
        ),
        ("sessions in Prometheus follow the real ones", sessions),
    ]
}

fn traffic(stage: &Stage) {
    let setting = Setting::new(stage);
    let prometheus = &setting.prometheus;
    let mut session = setting.session();
    // A rate is taken between scrapes; there must be some before the traffic and some behind it.
    let scrapes = "count_over_time(qdt_sessions_active[15s]) >= 3";
    prometheus.wait_for_result(scrapes);
    let counters: Vec<String> = ["qdt_packets_total", "qdt_bytes_total"]
        .iter()
        .flat_map(|name| ["in", "out"].map(|way| format!("{name}{{direction=\"{way}\"}}")))
        .collect();
    let values = || {
        counters
            .iter()
            .map(|counter| prometheus.value(counter))
            .collect::<Vec<_>>()
    };
    prometheus.next_scrape();
    let before = values();

    let payloads = (0..200).map(|number| number * 5);
    let (packets, bytes) = (200.0, echo(&mut session, payloads) as f64);

    prometheus.next_scrape();
    let after = values();
    let growth: Vec<_> = after
        .iter()
        .zip(&before)
        .map(|(after, before)| after - before)
        .collect();
    assert_eq!(growth, [packets, packets, bytes, bytes], "{counters:?}");
    let page = setting.server.metrics();
    for (counter, value) in counters.iter().zip(&after) {
        assert_eq!(
            page.value(counter),
            *value,
            "{counter}: the page and Prometheus"
        );
    }

    // And so do rates. Prometheus extrapolates from the scrapes inside the window to its edges, up
    // to one scrape's distance on each side.
    prometheus.wait_for_result("count_over_time(qdt_sessions_active[60s]) >= 12");
    for (counter, sent) in counters.iter().zip([packets, packets, bytes, bytes]) {
        let reckoned = prometheus.value(&format!("rate({counter}[60s]) * 60"));
        assert!(
            (sent * 0.95..sent * 1.25).contains(&reckoned),
            "{counter}: {reckoned} of {sent}"
        );
    }
}

fn drops(stage: &Stage) {
    let setting = Setting::new(stage);
    let prometheus = &setting.prometheus;
    let (mut session, other) = (setting.session(), setting.session());
    prometheus.next_scrape();
    let reason =
        |reason: &str| prometheus.value(&format!("qdt_drops_total{{reason=\"{reason}\"}}"));
    let reasons = [
        "src_mismatch",
        "bad_packet",
        "replay",
        "decode",
        "client_to_client",
        "rate_in",
        "decode_oversize",
    ];
    let before = reasons.map(reason);
    let packets_before = prometheus.value("qdt_packets_total{direction=\"in\"}");

    let (own, spoofed) = (session.inner(), Ipv4Addr::new(10, 8, 0, 200));
    for number in 0..40 {
        session.send_packet(&echo_request(spoofed, Lab::GATEWAY, number, 56));
    }
    for number in 0..30 {
        let mut lying = echo_request(own, Lab::GATEWAY, number, 56);
        lying.pop();
        session.send_packet(&lying);
    }
    let once = session
        .sealer
        .seal(0, &echo_request(own, Lab::GATEWAY, 900, 56));
    session.send_many((0..21).map(|_| once.clone()));
    session.send_many((0..10).map(|_| b"junk".to_vec()));
    for number in 0..5 {
        session.send_packet(&echo_request(own, other.inner(), number, 56));
    }
    // Nothing overtakes on one connection: with this answered, everything before was judged.
    echo(&mut session, [56]);

    prometheus.next_scrape();
    let after = reasons.map(reason);
    let growth: Vec<_> = after
        .iter()
        .zip(&before)
        .map(|(after, before)| after - before)
        .collect();
    assert_eq!(
        growth,
        [40.0, 30.0, 20.0, 10.0, 5.0, 0.0, 0.0],
        "{reasons:?}"
    );
    let packets = prometheus.value("qdt_packets_total{direction=\"in\"}") - packets_before;
    assert_eq!(
        packets, 2.0,
        "the replayed packet once, and the last one; what is dropped is not carried"
    );
}

fn handshakes(stage: &Stage) {
    let setting = Setting::new(stage);
    let prometheus = &setting.prometheus;
    let server = setting.server.address();
    let wrong = SessionOptions {
        token: b"another-token-of-32-characters-1".to_vec(),
        ..SessionOptions::default()
    };
    for _ in 0..3 {
        let refused = Session::open(setting.client(), server, &wrong)
            .expect_err("a wrong token opens nothing");
        assert_eq!(refused.status, 401);
    }
    let good_body = request_body("AAAAAAAAAAAAAAAAAAAAAA", 1242);
    let probe = Probe::connect(setting.client(), server);
    let ask = |method: &[u8], path: &[u8], body: &[u8]| {
        let mut exchange = Exchange::open(&probe);
        exchange.write_headers(&[
            (":method", method),
            (":scheme", b"https"),
            (":authority", b"qdt.test"),
            (":path", path),
            ("x-qdt-token", conformance::Token::TEXT.as_bytes()),
        ]);
        exchange.write_data(body);
        exchange.finish();
        exchange.answer(ANSWER).expect("the server answers").status
    };
    assert_eq!(ask(b"PUT", b"/connect", &good_body), 405);
    assert_eq!(ask(b"POST", b"/connect", b"[]"), 400);
    assert_eq!(ask(b"POST", b"/connect", b"{"), 400);
    assert_eq!(ask(b"POST", b"/connect", &request_body("====", 1242)), 400);
    assert_eq!(ask(b"POST", b"/connect", &request_body("AAAA", 1242)), 500);
    assert_eq!(ask(b"POST", b"/elsewhere", &good_body), 404);
    let _sessions = [setting.session(), setting.session()];

    prometheus.next_scrape();
    let expected = [
        ("ok", 2.0),
        ("unauthorized", 3.0),
        ("method", 1.0),
        ("bad_request", 2.0),
        ("bad_nonce", 1.0),
        ("key_derivation_error", 1.0),
    ];
    for (result, count) in expected {
        let counted = prometheus.value(&format!("qdt_handshakes_total{{result=\"{result}\"}}"));
        assert_eq!(counted, count, "{result}");
    }
    let all: f64 = expected.iter().map(|(_, count)| count).sum();
    assert_eq!(
        prometheus.value("sum(qdt_handshakes_total)"),
        all,
        "and nothing else; another path is not counted"
    );
}

fn sessions(stage: &Stage) {
    let setting = Setting::new(stage);
    let prometheus = &setting.prometheus;
    let sessions: Vec<_> = (0..5).map(|_| setting.session()).collect();
    prometheus.next_scrape();
    assert_eq!(prometheus.value("qdt_sessions_active"), 5.0);
    let places = "sum(qdt_addresses) + sum(qdt_sessions_active)";
    // A /24 without network, broadcast and gateway.
    assert_eq!(prometheus.value(places), 253.0);
    for session in &sessions {
        session.probe.close();
    }
    wait_until("the sessions are gone", 10 * SECOND, || {
        setting.server.metrics().sessions() == 0.0
    });
    prometheus.next_scrape();
    assert_eq!(prometheus.value("qdt_sessions_active"), 0.0);
    assert_eq!(prometheus.value("qdt_addresses{state=\"parked\"}"), 5.0);
    assert_eq!(prometheus.value(places), 253.0);
}
