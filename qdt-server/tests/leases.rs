//! Leases of inner addresses, and the tickets that claim them.
#![allow(clippy::unwrap_used, reason = "a test ends where an expectation fails")]

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use ipnet::IpNet;
use qdt_server::address::{
    AddressPool, Claim, Leases, MAX_TICKET_KEYS, TICKET_LIFETIME, TicketError, TicketSealer,
};
use qdt_transport::PoolIndex;

const KEEP: Duration = Duration::from_secs(120);

fn leases(cidr: &str) -> Leases {
    let gateway = address(1);
    Leases::new(
        AddressPool::new(cidr.parse::<IpNet>().unwrap(), gateway).unwrap(),
        KEEP,
    )
}

fn at(last: u8) -> PoolIndex {
    PoolIndex(last.into())
}

fn address(last: u8) -> IpAddr {
    [10, 8, 0, last].into()
}

#[test]
fn a_lost_sessions_address_is_held_for_session_timeout_and_no_other_client() {
    let start = Instant::now();
    let mut leases = leases("10.8.0.0/30");
    let grant = leases.grant(1, None, 77).unwrap();
    leases.hold(1, grant.index, start);
    assert!(
        leases.grant(2, None, 78).is_err(),
        "another client got the held address"
    );
    assert!(
        leases
            .expire(start + KEEP - Duration::from_millis(1))
            .is_empty()
    );
    assert!(leases.grant(2, None, 78).is_err());
    let claim = Claim {
        index: grant.index,
        lineage: 77,
    };
    let again = leases.grant(3, Some(claim), 79).unwrap();
    assert_eq!(
        (again.index, again.lineage, again.replaces),
        (grant.index, 77, None)
    );
}

#[test]
fn an_expired_address_is_free_only_after_its_flows_are_deleted() {
    let start = Instant::now();
    let mut leases = leases("10.8.0.0/30");
    leases.grant(1, None, 77).unwrap();
    leases.hold(1, at(2), start);
    assert_eq!(leases.expire(start + KEEP), [at(2)]);
    assert!(
        leases.grant(2, None, 78).is_err(),
        "granted before it was clean"
    );
    leases.release(at(2));
    assert_eq!(leases.grant(2, None, 78).unwrap().index, at(2));
}

#[test]
fn an_address_whose_flows_could_not_be_deleted_is_granted_last_and_cleaned_again() {
    let start = Instant::now();
    let mut leases = leases("10.8.0.0/29");
    let claim = |last| Claim {
        index: at(last),
        lineage: u64::from(last),
    };
    for last in 2..=3 {
        leases
            .grant(u64::from(last), None, u64::from(last))
            .unwrap();
        leases.hold(u64::from(last), at(last), start);
    }
    leases.take_dirty();
    let expired = leases.expire(start + KEEP);
    assert_eq!(expired, [at(2), at(3)]);
    expired.iter().for_each(|address| leases.defer(*address));
    assert_eq!(leases.expire(start + KEEP), expired, "repeated");
    for last in 4..=6 {
        let grant = leases.grant(u64::from(last), None, 1).unwrap();
        assert_eq!(grant.index, at(last), "others first");
    }
    leases.take_dirty();
    assert!(leases.can_grant(None));
    assert_eq!(leases.grant(7, None, 1).unwrap().index, at(2));
    assert_eq!(leases.take_dirty(), [at(2)], "and cleaned at once");
    // Its bearer resumes: no other client gets it.
    let back = leases.grant(8, Some(claim(3)), 1).unwrap();
    assert_eq!(back.index, at(3));
    assert!(!leases.can_grant(None) && leases.grant(9, None, 1).is_err());
    // At last the deletion succeeds.
    leases.hold(8, at(3), start);
    assert_eq!(leases.expire(start + KEEP), [at(3)]);
    leases.defer(at(3));
    leases.release(at(3));
    assert_eq!(leases.grant(9, None, 1).unwrap().index, at(3));
    assert!(leases.take_dirty().is_empty());
    assert!(leases.grant(10, None, 1).is_err());
}

#[test]
fn a_bearer_that_resumes_during_the_cleaning_keeps_the_address() {
    let start = Instant::now();
    let mut leases = leases("10.8.0.0/30");
    leases.grant(1, None, 77).unwrap();
    leases.hold(1, at(2), start);
    assert_eq!(leases.expire(start + KEEP), [at(2)]);
    let claim = Claim {
        index: at(2),
        lineage: 77,
    };
    assert_eq!(leases.grant(2, Some(claim), 78).unwrap().index, at(2));
    leases.release(at(2));
    assert!(
        leases.grant(3, None, 79).is_err(),
        "a live session lost its address"
    );
}

#[test]
fn a_ticket_shown_while_the_old_session_is_live_moves_the_address() {
    let mut leases = leases("10.8.0.0/24");
    let first = leases.grant(1, None, 77).unwrap();
    let claim = Claim {
        index: first.index,
        lineage: 77,
    };
    assert!(leases.replaces_live(claim));
    let second = leases.grant(2, Some(claim), 78).unwrap();
    assert_eq!((second.index, second.replaces), (first.index, Some(1)));
    // The later end of the old session must not affect the address of the new one.
    leases.hold(1, first.index, Instant::now());
    assert_eq!(leases.held(), 0);
}

#[test]
fn an_old_ticket_takes_nothing_from_the_current_owner() {
    let start = Instant::now();
    let mut leases = leases("10.8.0.0/29");
    leases.grant(1, None, 77).unwrap();
    leases.hold(1, at(2), start);
    leases.expire(start + KEEP);
    leases.release(at(2));
    for session in 2..=6 {
        leases.grant(session, None, 100 + session).unwrap();
    }
    let stale = Claim {
        index: at(2),
        lineage: 77,
    };
    assert!(!leases.replaces_live(stale));
    assert!(
        leases.grant(9, Some(stale), 200).is_err(),
        "took the address of a live session"
    );
}

#[test]
fn after_a_restart_a_ticket_gets_its_address_and_new_clients_get_later_ones() {
    let mut leases = leases("10.8.0.0/24");
    let returning = Claim {
        index: at(40),
        lineage: 5,
    };
    assert_eq!(leases.grant(1, Some(returning), 1).unwrap().index, at(40));
    // Addresses below 40 may belong to clients that have not returned yet.
    assert_eq!(leases.grant(2, None, 2).unwrap().index, at(41));
    let other = Claim {
        index: at(7),
        lineage: 6,
    };
    assert_eq!(leases.grant(3, Some(other), 3).unwrap().index, at(7));
    assert_eq!(leases.grant(4, None, 4).unwrap().index, at(42));
}

#[test]
fn after_a_restart_two_tickets_for_one_address_have_its_flows_deleted_once() {
    let mut leases = leases("10.8.0.0/24");
    let of_lineage = |lineage| Claim {
        index: at(40),
        lineage,
    };
    // A returning client keeps its flows...
    leases.grant(1, Some(of_lineage(5)), 1).unwrap();
    assert!(leases.take_dirty().is_empty());
    leases.grant(2, Some(of_lineage(5)), 2).unwrap();
    assert!(leases.take_dirty().is_empty());
    // ...until a ticket of another client shows that they may be that client's.
    let other = leases.grant(3, Some(of_lineage(6)), 3).unwrap();
    assert_eq!(leases.take_dirty(), [at(40), other.index]);
    leases.grant(4, Some(of_lineage(7)), 4).unwrap();
    assert!(!leases.take_dirty().contains(&at(40)), "returned once");
}

#[test]
fn within_one_run_an_old_ticket_has_no_flows_deleted() {
    let start = Instant::now();
    let mut leases = leases("10.8.0.0/29");
    let first = leases.grant(1, None, 77).unwrap();
    leases.hold(1, first.index, start);
    leases.expire(start + KEEP);
    leases.release(first.index);
    for session in 2..=6 {
        leases.grant(session, None, 100 + session).unwrap();
    }
    leases.take_dirty();
    let stale = Claim {
        index: first.index,
        lineage: 77,
    };
    assert!(leases.grant(9, Some(stale), 200).is_err());
    assert!(leases.take_dirty().is_empty());
}

#[test]
fn later_grants_have_higher_numbers() {
    let mut leases = leases("10.8.0.0/24");
    let first = leases.grant(1, None, 77).unwrap();
    let claim = Claim {
        index: first.index,
        lineage: first.lineage,
    };
    let numbers: Vec<_> = (2..10)
        .map(|session| leases.grant(session, Some(claim), session).unwrap().number)
        .collect();
    assert!(first.number < numbers[0] && numbers.is_sorted_by(|a, b| a < b));
}

#[test]
fn a_ticket_for_an_address_outside_the_pool_gets_another_one() {
    let mut leases = leases("10.8.0.0/24");
    for outside in [PoolIndex(0x1_0002), at(1), at(0), at(255)] {
        let claim = Claim {
            index: outside,
            lineage: 5,
        };
        assert_ne!(leases.grant(1, Some(claim), 1).unwrap().index, outside);
    }
}

#[test]
fn a_ticket_opens_in_another_process_with_the_same_tls_key() {
    let now = SystemTime::now();
    let text = TicketSealer::new(&[1; 32], None)
        .seal(address(9), u64::MAX, now)
        .unwrap();
    let opened = TicketSealer::new(&[1; 32], None).open(&text, now).unwrap();
    assert_eq!((opened.address, opened.lineage), (address(9), u64::MAX));
    let other = TicketSealer::new(&[2; 32], None);
    assert_eq!(other.open(&text, now), Err(TicketError::WrongKey));
    let reloaded = TicketSealer::new(&[2; 32], Some(&[1; 32]));
    assert_eq!(reloaded.open(&text, now), Ok(opened));
}

#[test]
fn an_ipv6_address_gets_no_ticket() {
    let sealer = TicketSealer::new(&[1; 32], None);
    let address = "fd00::9".parse().unwrap();
    assert_eq!(sealer.seal(address, 1, SystemTime::now()), None);
}

#[test]
fn a_ticket_outlives_many_changes_of_the_tls_key_and_a_reused_key_is_not_new() {
    let now = SystemTime::now();
    let mut sealer = TicketSealer::new(&[0; 32], None);
    let first = sealer.seal(address(7), 7, now).unwrap();
    // Reloads without a change, or between the same keys, use up nothing.
    for key in [0, 0, 1, 0, 1, 0, 1, 1].into_iter().cycle().take(100) {
        sealer = sealer.rotated_to(&[key; 32]);
        assert_eq!(
            sealer
                .open(&first, now)
                .map(|ticket| (ticket.address, ticket.lineage)),
            Ok((address(7), 7))
        );
    }
    for key in 2..MAX_TICKET_KEYS as u8 {
        sealer = sealer.rotated_to(&[key; 32]);
        assert!(sealer.open(&first, now).is_ok(), "{key} keys later");
    }
    let later = sealer.rotated_to(&[200; 32]).rotated_to(&[201; 32]);
    assert!(
        later.open(&first, now).is_err(),
        "the number of keys is bounded"
    );
}

#[test]
fn a_ticket_survives_a_clock_a_day_off_and_ends_with_its_expiry() {
    let now = SystemTime::now();
    let day = Duration::from_secs(86_400);
    let sealer = TicketSealer::new(&[1; 32], None);
    let text = sealer.seal(address(9), 1, now).unwrap();
    assert!(sealer.open(&text, now - day).is_ok());
    assert!(sealer.open(&text, now + day).is_ok());
    let late = now + TICKET_LIFETIME + Duration::from_secs(1);
    assert_eq!(sealer.open(&text, late), Err(TicketError::Expired));
}

#[test]
fn an_altered_ticket_is_refused_at_every_position() {
    let now = SystemTime::now();
    let sealer = TicketSealer::new(&[1; 32], None);
    let text = sealer.seal(address(9), 1, now).unwrap();
    for position in 0..text.len() {
        let mut altered = text.clone().into_bytes();
        altered[position] = if altered[position] == b'A' {
            b'B'
        } else {
            b'A'
        };
        let altered = String::from_utf8(altered).unwrap();
        assert!(sealer.open(&altered, now).is_err(), "position {position}");
    }
    for junk in [
        "",
        "A",
        "not base64!",
        &"A".repeat(4096),
        &text[..text.len() - 1],
    ] {
        assert_eq!(
            sealer.open(junk, now),
            Err(TicketError::Malformed),
            "{junk}"
        );
    }
}
