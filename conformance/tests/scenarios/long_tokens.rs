//! Tokens as long as a request can carry them, and longer.

use conformance::{Client, Config, Lab, Server};
use qdt_proto::http3::MAX_FIELD_VALUE;

use crate::{SECOND, pings};

/// A token of this length in bytes, as YAML.
fn token(character: char, length: usize) -> String {
    let text = character.to_string().repeat(length / character.len_utf8());
    format!("\"{text}\"")
}

#[test]
fn the_longest_token_works_whatever_its_characters() {
    let lab = Lab::new(1);
    // Short, long and longest in Huffman code.
    for character in ['a', '~', '\u{f9}'] {
        let token = token(character, MAX_FIELD_VALUE);
        let mut server = Server::start(&lab.server, Config::server().set("token", &token));
        let config = Config::client().set("token", &token);
        let client = Client::start(&lab.clients[0], config.clone());
        assert!(pings(&client), "{character:?}");
        drop(client);
        // quic-go writes every value in Huffman code, which makes this one four times as long.
        let client = Client::start_go(&lab.clients[0], config);
        assert!(pings(&client), "{character:?} of a Go client");
        drop(client);
        server.signal(libc::SIGTERM);
        assert_eq!(server.wait_for_exit(10 * SECOND), 0);
    }
}

#[test]
fn the_longest_token_opens_a_go_server() {
    let lab = Lab::new(1);
    let token = token('\u{f9}', MAX_FIELD_VALUE);
    let _server = Server::start_go(&lab.server, Config::server().set("token", &token));
    let client = Client::start(&lab.clients[0], Config::client().set("token", &token));
    assert!(pings(&client));
}

#[test]
fn a_token_that_is_too_long_is_refused_at_the_start_of_both_programs() {
    let lab = Lab::new(1);
    let token = token('a', MAX_FIELD_VALUE + 1);
    let mut server = Server::spawn(&lab.server, Config::server().set("token", &token));
    let mut client = Client::spawn(&lab.clients[0], Config::client().set("token", &token));
    assert_eq!(server.wait_for_exit(10 * SECOND), 1);
    assert_eq!(client.wait_for_exit(10 * SECOND), 1);
    for said in [server.stderr(), client.stderr()] {
        let limit = format!("at most {} can be presented", MAX_FIELD_VALUE);
        assert!(said.contains(&limit), "{said}");
        assert!(!said.contains("aaaaaaaa"), "the token is not shown: {said}");
    }
}
