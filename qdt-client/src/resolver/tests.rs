//! Look-ups at name servers on loopback with scripted answers.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use super::*;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

/// The behaviour of a server.
#[derive(Clone, Copy)]
enum Server {
    Answers,
    Truncates,
    Fails,
    KnowsNothing,
    /// NXDOMAIN for all types but A.
    KnowsOneFamily,
    /// NXDOMAIN without and SERVFAIL within the search domain `broken`.
    HasABrokenDomain,
    /// Answers with a wrong id first.
    IsForged,
}

fn answer(question: &[u8], flags: [u8; 2]) -> Vec<u8> {
    let mut message = question.to_vec();
    message[2..4].copy_from_slice(&flags);
    if flags == [0x81, 0x80] && question[question.len() - 3] == 1 {
        message[7] = 1;
        message.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        message.extend_from_slice(&ADDRESS.octets());
    }
    message
}

/// Starts a server for the life of the process; the receiver gets the queried names.
fn start(server: Server) -> (SocketAddr, Receiver<Vec<u8>>) {
    // Another process may have the same TCP port.
    let (socket, address, listener) = (0..100)
        .find_map(|_| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
            let address = socket.local_addr().ok()?;
            Some((socket, address, TcpListener::bind(address).ok()?))
        })
        .expect("a port of both");
    let (questions, asked) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let question = &buffer[..length];
            let send = |message: &[u8]| socket.send_to(message, from).expect("loopback");
            match server {
                Server::Answers => send(&answer(question, [0x81, 0x80])),
                Server::Truncates => send(&answer(question, [0x83, 0x80])),
                Server::Fails => send(&answer(question, [0x81, 0x82])),
                Server::KnowsNothing => send(&answer(question, [0x81, 0x83])),
                Server::KnowsOneFamily => {
                    let knows = question[length - 3] == 1;
                    send(&answer(question, [0x81, if knows { 0x80 } else { 0x83 }]))
                }
                Server::HasABrokenDomain => {
                    let has = |part: &[u8]| question.windows(part.len()).any(|it| it == part);
                    let code = match (has(b"\x06broken\0"), has(b"\x03lan\0")) {
                        (true, _) => 0x82,
                        (_, true) => 0x80,
                        _ => 0x83,
                    };
                    send(&answer(question, [0x81, code]))
                }
                Server::IsForged => {
                    let mut forged = answer(question, [0x81, 0x80]);
                    forged[0] ^= 1;
                    let last = forged.len() - 1;
                    forged[last] ^= 1;
                    send(&forged);
                    send(&answer(question, [0x81, 0x80]))
                }
            };
            if questions.send(question[12..length - 4].to_vec()).is_err() {
                return;
            }
        }
    });
    if matches!(server, Server::Truncates) {
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut length = [0; 2];
                stream.read_exact(&mut length).expect("a length");
                let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut question).expect("a question");
                let message = answer(&question, [0x81, 0x80]);
                let length = (message.len() as u16).to_be_bytes();
                stream.write_all(&length).expect("written");
                stream.write_all(&message).expect("written");
            }
        });
    }
    (address, asked)
}

fn resolve(name: &str, servers: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Cause> {
    let server = format!("{name}:443").parse().expect("host and port");
    let resolvers = HostResolvers {
        servers,
        search: vec!["broken".to_owned(), "lan".to_owned()],
        ..HostResolvers::default()
    };
    resolve_outside(&server, &resolvers, None).map_err(Cause::new)
}

fn found() -> Result<Vec<SocketAddr>, Cause> {
    Ok(vec![SocketAddr::from((ADDRESS, 443))])
}

#[test]
fn the_first_server_that_answers_decides() {
    // No server reads from this socket.
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let silent = (silent.local_addr().expect("bound"), silent);
    let refused = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let refused = refused.local_addr().expect("bound");
    let (failing, _failed) = start(Server::Fails);
    let (good, _asked) = start(Server::Answers);
    for servers in [
        vec![good],
        vec![silent.0, good],
        vec![refused, good],
        vec![failing, good],
        vec![failing, refused, silent.0, good],
    ] {
        assert_eq!(resolve("vpn.example.org", servers), found());
    }
}

#[test]
fn a_truncated_answer_is_asked_for_over_tcp() {
    let (server, _asked) = start(Server::Truncates);
    assert_eq!(resolve("vpn.example.org", vec![server]), found());
}

#[test]
fn a_forged_answer_does_not_count() {
    let (server, _asked) = start(Server::IsForged);
    assert_eq!(resolve("vpn.example.org", vec![server]), found());
}

#[test]
fn a_name_that_does_not_exist_is_queried_in_the_search_domains() {
    let (server, asked) = start(Server::KnowsNothing);
    let error = resolve("vpn.example.org", vec![server]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "address vpn.example.org:443: cannot look up vpn.example.org: no such name"
    );
    // The answer for one family may end the query for the other.
    let mut names: Vec<_> = asked.try_iter().collect();
    names.dedup();
    assert_eq!(names[0], b"\x03vpn\x07example\x03org\0");
    assert_eq!(names[1], b"\x03vpn\x07example\x03org\x06broken\0");
    assert_eq!(names[2], b"\x03vpn\x07example\x03org\x03lan\0");
}

#[test]
fn a_server_that_denies_the_name_for_one_family_is_believed_for_the_other() {
    let (server, _asked) = start(Server::KnowsOneFamily);
    assert_eq!(resolve("vpn.example.org", vec![server]), found());
}

#[test]
fn a_search_domain_whose_servers_fail_hides_no_name_of_the_next() {
    let (server, _asked) = start(Server::HasABrokenDomain);
    assert_eq!(resolve("vpn", vec![server]), found());
}

#[test]
fn an_address_with_its_interface_is_not_queried() {
    let (server, asked) = start(Server::Answers);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("client.yaml");
    let yaml = "server: '[fe80::1%lo]:443'\ntoken: 0123456789abcdef\ninsecure: true\n";
    std::fs::write(&file, yaml).expect("written");
    let config = ClientConfig::load(&file).expect("a configuration").config;
    let resolvers = HostResolvers {
        servers: vec![server],
        ..HostResolvers::default()
    };
    let addresses = new(&config, Outside::Mark(0))(Some(resolvers)).expect("it is an address");
    assert_eq!(addresses[0].ip().to_string(), "fe80::1");
    assert!(asked.try_recv().is_err(), "a server was queried");
}

#[test]
fn servers_that_do_not_answer_are_reported_within_the_timeout() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = silent.local_addr().expect("bound");
    let error = resolve("vpn.example.org", vec![address]).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("none of 1 name server(s) knows it: no answer"),
        "{error}"
    );
    let error = resolve("vpn.example.org", Vec::new()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no name server outside the tunnel"),
        "{error}"
    );
}

#[test]
fn the_error_of_the_system_stays_the_source_of_a_failed_look_up() {
    let refused = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = refused.local_addr().expect("bound");
    drop(refused);
    let error = resolve("vpn.example.org", vec![address]).unwrap_err();
    let mut kinds = Vec::new();
    let mut next: Option<&dyn Error> = Some(&error);
    while let Some(error) = next {
        kinds.extend(error.downcast_ref().map(io::Error::kind));
        next = error.source();
    }
    assert!(
        kinds.contains(&io::ErrorKind::ConnectionRefused),
        "{kinds:?}"
    );
}
