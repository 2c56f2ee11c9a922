//! The checks of a server's answer, before any of it reaches the client's host.

use proptest::prelude::*;
use qdt_proto::datagram::SessionId;
use qdt_proto::handshake::{Assignment, AssignmentError, ConnectResponse, NonceError};

fn check(edit: impl FnOnce(&mut ConnectResponse)) -> Result<Assignment, AssignmentError> {
    let mut answer = ConnectResponse {
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
    };
    edit(&mut answer);
    Assignment::check(&answer, 1350)
}

#[test]
fn a_usual_answer_is_accepted() {
    let assignment = check(|_| {}).unwrap();
    assert_eq!(assignment.address.to_string(), "10.8.0.2/24");
    assert_eq!(assignment.gateway.to_string(), "10.8.0.1");
    assert_eq!(assignment.tun_mtu(), 1312);
    assert!(assignment.caps.is_some());
}

#[test]
fn a_cidr_with_host_bits_is_the_network_it_lies_in() {
    let assignment = check(|answer| answer.cidr = "10.8.0.1/24".to_owned()).unwrap();
    assert_eq!(assignment.address.trunc().to_string(), "10.8.0.0/24");
}

#[test]
fn a_wild_cidr_is_refused() {
    for cidr in [
        "0.0.0.0/0",
        "8.0.0.0/7",
        "0.0.0.0/8",
        "8.0.0.0/8",
        "10.0.0.0/7",
        "100.0.0.0/8",
        "172.0.0.0/10",
        "192.168.0.0/15",
        "203.0.0.0/15",
        "127.0.0.0/8",
        "224.0.0.0/8",
        "240.0.0.0/8",
    ] {
        let result = check(|answer| answer.cidr = cidr.to_owned());
        assert!(
            matches!(result, Err(AssignmentError::WildCidr(_))),
            "{cidr}: {result:?}"
        );
    }
}

#[test]
fn a_cidr_as_wide_as_a_private_network_is_accepted() {
    for (client, gateway, cidr) in [
        ("10.8.0.2", "10.8.0.1", "10.0.0.0/8"),
        ("172.16.0.2", "172.16.0.1", "172.16.0.0/12"),
        ("192.168.0.2", "192.168.0.1", "192.168.0.0/16"),
        ("100.64.0.2", "100.64.0.1", "100.64.0.0/10"),
        ("203.0.0.2", "203.0.0.1", "203.0.0.0/16"),
    ] {
        let result = check(|answer| {
            answer.client_ip = client.to_owned();
            answer.gateway_ip = gateway.to_owned();
            answer.cidr = cidr.to_owned();
        });
        assert!(result.is_ok(), "{cidr}: {result:?}");
    }
}

#[test]
fn a_cidr_that_is_not_an_ipv4_network_is_refused() {
    for cidr in [
        "",
        "10.8.0.0",
        "10.8.0.0/33",
        "fd00::/64",
        "10.8.0.0/24 dev eth0",
        "--flag",
    ] {
        let result = check(|answer| answer.cidr = cidr.to_owned());
        assert_eq!(result, Err(AssignmentError::Cidr(cidr.to_owned())));
    }
}

#[test]
fn a_gateway_outside_the_pool_is_refused() {
    let result = check(|answer| answer.gateway_ip = "192.168.1.1".to_owned());
    assert!(matches!(
        result,
        Err(AssignmentError::Outside {
            field: "gateway_ip",
            ..
        })
    ));
}

#[test]
fn a_client_address_that_is_not_a_host_of_the_pool_is_refused() {
    for address in [
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "127.0.0.1",
        "10.9.0.2",
    ] {
        let result = check(|answer| answer.client_ip = address.to_owned());
        assert!(
            matches!(
                result,
                Err(AssignmentError::Outside {
                    field: "client_ip",
                    ..
                })
            ),
            "{address}"
        );
    }
    for address in ["10.8.0.0", "10.8.0.255"] {
        let result = check(|answer| answer.client_ip = address.to_owned());
        assert!(
            matches!(result, Err(AssignmentError::NotAHost { .. })),
            "{address}"
        );
    }
    for address in ["", "fe80::1", "10.8.0.2/24", "10.8.0.2\nup rm", "--help"] {
        let result = check(|answer| answer.client_ip = address.to_owned());
        assert_eq!(result, Err(AssignmentError::ClientIp(address.to_owned())));
    }
}

#[test]
fn the_gateways_own_address_is_refused() {
    let result = check(|answer| answer.client_ip = "10.8.0.1".to_owned());
    assert!(matches!(result, Err(AssignmentError::SameAddress(_))));
}

#[test]
fn dns_strings_of_the_server_never_become_command_arguments() {
    let assignment = check(|answer| {
        answer.dns = [
            "--flag",
            "1.1.1.1",
            "1.1.1.1; reboot",
            "2606:4700::1111",
            "~.",
            "",
            "-i",
            " 1.1.1.1",
            "1.1.1.1 8.8.8.8",
            "1.1.1.1\nsearch x",
            "1.1.1.1#53",
            "x.y",
        ]
        .map(str::to_owned)
        .to_vec();
    })
    .unwrap();
    let kept: Vec<String> = assignment.dns.iter().map(ToString::to_string).collect();
    assert_eq!(kept, ["1.1.1.1", "2606:4700::1111"]);
    assert_eq!(assignment.refused_dns.len(), 10);
    let text = assignment.refused_dns[0].to_string();
    assert_eq!(
        text,
        "the server's dns entry \"--flag\" is not an IP address; it was left out"
    );
}

#[test]
fn an_mtu_below_256_is_refused_and_one_above_the_request_is_cut() {
    for mtu in [0, 1, 255, -1] {
        assert_eq!(
            check(|answer| answer.mtu = mtu),
            Err(AssignmentError::Mtu(mtu))
        );
    }
    assert_eq!(check(|answer| answer.mtu = 256).unwrap().tun_mtu(), 218);
    assert_eq!(check(|answer| answer.mtu = i64::MAX).unwrap().mtu, 1350);
}

#[test]
fn a_nonce_of_another_length_is_refused() {
    let result = check(|answer| answer.server_nonce = "AAAA".to_owned());
    assert_eq!(result, Err(AssignmentError::Nonce(NonceError::Length(3))));
}

#[test]
fn the_ticket_does_not_show_in_debug_output() {
    let assignment = check(|_| {}).unwrap();
    assert_eq!(assignment.resume.as_ref().unwrap().as_str(), "ticket-1");
    assert!(!format!("{assignment:?}").contains("ticket-1"));
}

#[test]
fn the_texts_of_a_hostile_server_are_escaped_in_errors() {
    let error = check(|answer| answer.client_ip = "\u{1b}[2J\n".to_owned()).unwrap_err();
    assert!(
        !error.to_string().contains('\u{1b}') && !error.to_string().contains('\n'),
        "{error}"
    );
}

proptest! {
    #[test]
    fn an_accepted_address_is_a_host_other_than_its_gateway_in_a_pool_of_bounded_size(
        client: [u8; 4], gateway: [u8; 4], base: [u8; 4], prefix in 0..=33u8, mtu: i64,
    ) {
        let text = |octets: [u8; 4]| std::net::Ipv4Addr::from(octets).to_string();
        let result = check(|answer| {
            answer.client_ip = text(client);
            answer.gateway_ip = text(gateway);
            answer.cidr = format!("{}/{prefix}", text(base));
            answer.mtu = mtu;
        });
        if let Ok(assignment) = result {
            let pool = assignment.address.trunc();
            prop_assert!(pool.prefix_len() >= 8);
            prop_assert!(pool.contains(&assignment.gateway));
            prop_assert_ne!(assignment.gateway, assignment.address.addr());
            prop_assert!((218..=1312).contains(&assignment.tun_mtu()));
            prop_assert!(!assignment.address.addr().is_multicast());
        }
    }
}
