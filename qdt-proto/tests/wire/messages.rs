//! What one end writes the other end reads, any JSON reader included, and secrets do not show.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use qdt_proto::datagram::SessionId;
use qdt_proto::handshake::{
    Capabilities, Capability, ConnectRequest, ConnectResponse, Nonce, NonceError, decode_nonce_text,
};

/// Text with everything that needs care: quotes, controls, HTML, separators, other planes.
fn any_text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        any::<char>(),
        (0..0x80_u8).prop_map(char::from),
        prop::sample::select(vec![
            '\u{2028}', '\u{2029}', '<', '>', '&', '"', '\\', '\u{fffd}'
        ]),
    ];
    vec(character, 0..20).prop_map(|characters| characters.into_iter().collect())
}

prop_compose! {
    fn any_request()(
        client_nonce in any_text(),
        mtu in 1..i64::MAX,
        caps in vec(any_text(), 0..4),
        client_id in any_text(),
        platform in any_text(),
        max_mtu: Option<u16>,
        resume in option::of(any_text()),
    ) -> ConnectRequest {
        ConnectRequest { version: 1, client_nonce, mtu, caps, client_id, platform, max_mtu, resume }
    }
}

prop_compose! {
    fn any_response()(
        session_id: u64,
        mtu in 1..i64::MAX,
        server_nonce in any_text(),
        client_ip in any_text(),
        gateway_ip in any_text(),
        cidr in any_text(),
        dns in vec(any_text(), 0..4),
        caps in option::of(vec(any_text(), 0..4)),
        resume in option::of(any_text()),
    ) -> ConnectResponse {
        let session_id = SessionId(session_id);
        ConnectResponse {
            version: 1, session_id, server_nonce, mtu, client_ip, gateway_ip, cidr, dns, caps,
            resume,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_request_is_read_as_it_was_written(request in any_request()) {
        let body = request.encode();
        prop_assert_eq!(ConnectRequest::decode(&body), Ok(request));
    }

    #[test]
    fn a_response_is_read_as_it_was_written(response in any_response()) {
        let body = response.encode();
        prop_assert_eq!(ConnectResponse::decode(&body), Ok(response));
    }

    #[test]
    fn another_json_reader_reads_the_same_request(request in any_request()) {
        let body: serde_json::Value = serde_json::from_slice(&request.encode()).unwrap();
        prop_assert_eq!(&body["version"], 1);
        prop_assert_eq!(&body["client_nonce"], &request.client_nonce);
        prop_assert_eq!(&body["mtu"], request.mtu);
        let texts = |list: &[String]| serde_json::to_value(list).unwrap();
        if request.caps.is_empty() {
            prop_assert!(body.get("caps").is_none());
        } else {
            prop_assert_eq!(&body["caps"], &texts(&request.caps));
        }
        prop_assert_eq!(body["client_id"].as_str().unwrap_or_default(), &request.client_id);
        prop_assert_eq!(body["platform"].as_str().unwrap_or_default(), &request.platform);
        prop_assert_eq!(body["max_mtu"].as_u64(), request.max_mtu.map(u64::from));
        prop_assert_eq!(body["resume"].as_str(), request.resume.as_deref());
    }

    #[test]
    fn another_json_reader_reads_the_same_response(response in any_response()) {
        let body: serde_json::Value = serde_json::from_slice(&response.encode()).unwrap();
        prop_assert_eq!(&body["session_id"], response.session_id.0);
        prop_assert_eq!(&body["server_nonce"], &response.server_nonce);
        prop_assert_eq!(&body["client_ip"], &response.client_ip);
        prop_assert_eq!(&body["gateway_ip"], &response.gateway_ip);
        prop_assert_eq!(&body["cidr"], &response.cidr);
        prop_assert_eq!(body.get("dns").is_some(), !response.dns.is_empty());
        prop_assert_eq!(body.get("caps").is_some(), response.caps.is_some());
        prop_assert_eq!(body["resume"].as_str(), response.resume.as_deref());
    }

    #[test]
    fn what_another_json_writer_wrote_is_read_alike(client_id in any_text(), platform in any_text()) {
        let body = serde_json::json!({
            "platform": platform, "version": 1, "client_id": client_id, "mtu": 1400,
        });
        let request = ConnectRequest::decode(body.to_string().as_bytes()).unwrap();
        prop_assert_eq!(request.client_id, client_id);
        prop_assert_eq!(request.platform, platform);
        prop_assert_eq!(request.mtu, 1400);
    }

    #[test]
    fn a_nonce_is_read_as_it_was_written(bytes: [u8; 16], breaks in vec(0..22_usize, 0..4)) {
        let nonce = Nonce::from_bytes(bytes);
        let mut text = nonce.to_text();
        prop_assert_eq!(text.len(), 22);
        prop_assert_eq!(Nonce::from_text(&text), Ok(nonce));
        for at in breaks {
            text.insert_str(at, "\r\n");
        }
        prop_assert_eq!(Nonce::from_text(&text), Ok(nonce));
    }

    #[test]
    fn a_nonce_of_another_length_is_told_apart_from_bad_text(bytes in vec(any::<u8>(), 0..40)) {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&bytes);
        prop_assert_eq!(decode_nonce_text(&text), Ok(bytes.clone()));
        if bytes.len() != 16 {
            prop_assert_eq!(Nonce::from_text(&text), Err(NonceError::Length(bytes.len())));
        }
        prop_assert_eq!(Nonce::from_text(&format!("{text}-")), Err(NonceError::Text));
    }
}

#[test]
fn capabilities_are_those_that_both_ends_name() {
    let names = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| (*text).to_owned())
            .collect::<Vec<_>>()
    };
    let caps = Capabilities::negotiate(&names(&["close", "future", "ping", "PING", "ping"]));
    assert!(caps.contains(Capability::Ping) && caps.contains(Capability::Close));
    assert!(!caps.contains(Capability::Aes256Gcm));
    assert_eq!(caps.to_texts(), names(&["ping", "close"]));
    assert!(Capabilities::negotiate(&names(&["fragment", "aead"])).is_empty());
    assert_eq!(
        Capabilities::all().to_texts(),
        names(&["aes-256-gcm", "ping", "close"])
    );
    assert_eq!(Capabilities::all().intersection(caps), caps);
    assert_eq!(Capabilities::NONE, Capabilities::default());
}

#[test]
fn a_resume_ticket_does_not_show_in_debug_output() {
    let body = br#"{"version":1,"resume":"very-secret","client_id":"laptop"}"#;
    for shown in [
        format!("{:?}", ConnectRequest::decode(body).unwrap()),
        format!("{:?}", ConnectResponse::decode(body).unwrap()),
    ] {
        assert!(shown.contains("resume: Some([redacted])"), "{shown}");
        assert!(!shown.contains("very-secret"), "{shown}");
    }
}
