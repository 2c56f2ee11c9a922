//! Recordings of the Go programs' handshake: keys, nonces, requests, responses.

use qdt_proto::datagram::SessionId;
use qdt_proto::handshake::{
    ConnectRequest, ConnectResponse, DirectionKeys, EmptyToken, Nonce, SessionKeys,
    decode_nonce_text,
};
use serde_json::Value;

use crate::support::{bytes, number, session_keys, text, vector_cases, vector_file};

#[test]
fn key_schedule_gives_the_keys_of_the_vector() {
    for case in vector_cases("key_schedule") {
        if case["error"].is_string() {
            let nonce = |field| Nonce::try_from(vec![7; number(&case, field) as usize].as_slice());
            let nonces = nonce("client_nonce_len").and_then(|client| {
                let server = nonce("server_nonce_len")?;
                Ok((client, server))
            });
            if let Ok((client, server)) = nonces {
                let keys = SessionKeys::derive(text(&case, "token").as_bytes(), &client, &server);
                assert_eq!(keys.err(), Some(EmptyToken), "{case}");
            }
            continue;
        }
        let keys = session_keys(&case);
        assert_eq!(
            keys.client.key().to_vec(),
            bytes(&case, "client_key_hex"),
            "{case}"
        );
        assert_eq!(
            keys.server.key().to_vec(),
            bytes(&case, "server_key_hex"),
            "{case}"
        );
        let prefix = |keys: &DirectionKeys| keys.nonce_prefix().to_vec();
        assert_eq!(
            prefix(&keys.client),
            bytes(&case, "client_nonce_prefix_hex"),
            "{case}"
        );
        assert_eq!(
            prefix(&keys.server),
            bytes(&case, "server_nonce_prefix_hex"),
            "{case}"
        );
    }
}

#[test]
fn nonce_text_is_read_as_in_the_vector() {
    for case in vector_cases("nonce_base64") {
        let decoded = decode_nonce_text(text(&case, "text"));
        if case["accepted"] == true {
            assert_eq!(decoded, Ok(bytes(&case, "bytes_hex")), "{case}");
        } else {
            assert!(decoded.is_err(), "{case} was accepted");
        }
    }
}

#[test]
fn connect_request_means_what_the_vector_says() {
    for case in vector_cases("connect_request_decode") {
        let decoded = ConnectRequest::decode(&bytes(&case, "body_hex"));
        if case["accepted"] != true {
            assert!(decoded.is_err(), "{case} was accepted");
            continue;
        }
        let request = decoded.unwrap_or_else(|error| panic!("{error} in {case}"));
        let expected = &case["request"];
        assert_eq!(
            u64::from(request.version),
            number(expected, "version"),
            "{case}"
        );
        assert_eq!(
            request.client_nonce,
            text(expected, "client_nonce"),
            "{case}"
        );
        assert_eq!(Some(request.mtu), expected["mtu"].as_i64(), "{case}");
        assert_eq!(request.caps, strings(&expected["caps"]), "{case}");
        assert_eq!(
            request.client_id,
            optional_text(expected, "client_id"),
            "{case}"
        );
        assert_eq!(
            request.platform,
            optional_text(expected, "platform"),
            "{case}"
        );
    }
}

#[test]
fn connect_request_is_written_as_in_the_vector() {
    let file = vector_file("connect_response_encode");
    let body = text(&file["cases"], "client_request_body");
    let request = ConnectRequest::decode(body.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(request.encode()).unwrap(), body);
}

#[test]
fn connect_response_is_written_and_read_as_in_the_vector() {
    let file = vector_file("connect_response_encode");
    let responses = file["cases"]["responses"].as_array().unwrap();
    assert!(!responses.is_empty());
    for case in responses {
        let expected = &case["response"];
        let response = ConnectResponse {
            version: 1,
            session_id: SessionId(number(expected, "session_id")),
            server_nonce: text(expected, "server_nonce").to_owned(),
            mtu: expected["mtu"].as_i64().unwrap(),
            client_ip: text(expected, "client_ip").to_owned(),
            gateway_ip: text(expected, "gateway_ip").to_owned(),
            cidr: text(expected, "cidr").to_owned(),
            dns: strings(&expected["dns"]),
            caps: None,
            resume: None,
        };
        let body = text(case, "body");
        assert_eq!(String::from_utf8(response.encode()).unwrap(), body);
        assert_eq!(ConnectResponse::decode(body.as_bytes()), Ok(response));
    }
}

/// A list of strings; absent and null are the empty one.
fn strings(list: &Value) -> Vec<String> {
    let elements = list.as_array().map(Vec::as_slice).unwrap_or_default();
    elements
        .iter()
        .map(|element| element.as_str().expect("a string").to_owned())
        .collect()
}

fn optional_text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().unwrap_or_default()
}
