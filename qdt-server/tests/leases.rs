//! For whom an inner address is held, and the tickets that claim one.
#![allow(clippy::unwrap_used, reason = "a test ends where an expectation fails")]

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use ipnet::IpNet;
use qdt_server::address::{
    AddressPool, Claim, Leases, TICKET_KEYS, TICKET_LIFETIME, TicketError, TicketSealer,
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
fn a_lost_sessions_address_is_kept_for_session_timeout_and_for_nobody_else() {
    let start = Instant::now();
    let mut leases = leases("10.8.0.0/30");
    let grant = leases.grant(1, None, 77).unwrap();
    leases.park(1, grant.index, start);
    assert!(
        leases.grant(2, None, 78).is_err(),
        "somebody else got the parked address"
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
fn an_expired_address_is_free_only_after_the_kernel_forgot_its_owner() {
    let start = Instant::now();
    let mut leases = leases("10.8.0.0/30");
    leases.grant(1, None, 77).unwrap();
    leases.park(1, at(2), start);
    assert_eq!(leases.expire(start + KEEP), [at(2)]);
    assert!(
        leases.grant(2, None, 78).is_err(),
        "given out before it was clean"
    );
    leases.release(at(2));
    assert_eq!(leases.grant(2, None, 78).unwrap().index, at(2));
}

#[test]
fn an_address_whose_flows_stayed_is_given_out_after_all_others_and_named_for_cleaning_again() {
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
        leases.park(u64::from(last), at(last), start);
    }
    leases.take_unclean();
    let expired = leases.expire(start + KEEP);
    assert_eq!(expired, [at(2), at(3)]);
    expired
        .iter()
        .for_each(|address| leases.keep_uncleaned(*address));
    assert_eq!(leases.expire(start + KEEP), expired, "tried again");
    for last in 4..=6 {
        let grant = leases.grant(u64::from(last), None, 1).unwrap();
        assert_eq!(grant.index, at(last), "others first");
    }
    leases.take_unclean();
    assert!(leases.can_grant(None));
    assert_eq!(leases.grant(7, None, 1).unwrap().index, at(2));
    assert_eq!(leases.take_unclean(), [at(2)], "and cleaned at once");
    // Its bearer comes back: nobody else gets it.
    let back = leases.grant(8, Some(claim(3)), 1).unwrap();
    assert_eq!(back.index, at(3));
    assert!(!leases.can_grant(None) && leases.grant(9, None, 1).is_err());
    // In the end the kernel forgets.
    leases.park(8, at(3), start);
    assert_eq!(leases.expire(start + KEEP), [at(3)]);
    leases.keep_uncleaned(at(3));
    leases.release(at(3));
    assert_eq!(leases.grant(9, None, 1).unwrap().index, at(3));
    assert!(leases.take_unclean().is_empty());
    assert!(leases.grant(10, None, 1).is_err());
}

#[test]
fn a_bearer_who_returns_during_the_clean_up_keeps_the_address() {
    let start = Instant::now();
    let mut leases = leases("10.8.0.0/30");
    leases.grant(1, None, 77).unwrap();
    leases.park(1, at(2), start);
    assert_eq!(leases.expire(start + KEEP), [at(2)]);
    let claim = Claim {
        index: at(2),
        lineage: 77,
    };
    assert_eq!(leases.grant(2, Some(claim), 78).unwrap().index, at(2));
    leases.release(at(2));
    assert!(
        leases.grant(3, None, 79).is_err(),
        "a living session lost its address"
    );
}

#[test]
fn a_ticket_presented_while_the_old_session_lives_moves_the_address() {
    let mut leases = leases("10.8.0.0/24");
    let first = leases.grant(1, None, 77).unwrap();
    let claim = Claim {
        index: first.index,
        lineage: 77,
    };
    assert!(leases.replaces_live(claim));
    let second = leases.grant(2, Some(claim), 78).unwrap();
    assert_eq!((second.index, second.replaces), (first.index, Some(1)));
    // The end of the old session comes later and must not park the address of the new one.
    leases.park(1, first.index, Instant::now());
    assert_eq!(leases.parked(), 0);
}

#[test]
fn an_old_ticket_takes_nothing_from_the_present_owner() {
    let start = Instant::now();
    let mut leases = leases("10.8.0.0/29");
    leases.grant(1, None, 77).unwrap();
    leases.park(1, at(2), start);
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
        "took the address of a living session"
    );
}

#[test]
fn after_a_restart_a_ticket_gets_its_address_and_newcomers_keep_clear() {
    let mut leases = leases("10.8.0.0/24");
    let returning = Claim {
        index: at(40),
        lineage: 5,
    };
    assert_eq!(leases.grant(1, Some(returning), 1).unwrap().index, at(40));
    // Addresses below 40 may belong to others who are still on their way back.
    assert_eq!(leases.grant(2, None, 2).unwrap().index, at(41));
    let other = Claim {
        index: at(7),
        lineage: 6,
    };
    assert_eq!(leases.grant(3, Some(other), 3).unwrap().index, at(7));
    assert_eq!(leases.grant(4, None, 4).unwrap().index, at(42));
}

#[test]
fn after_a_restart_two_tickets_for_one_address_have_its_flows_forgotten_once() {
    let mut leases = leases("10.8.0.0/24");
    let of_lineage = |lineage| Claim {
        index: at(40),
        lineage,
    };
    // Whoever comes back keeps its flows...
    leases.grant(1, Some(of_lineage(5)), 1).unwrap();
    assert!(leases.take_unclean().is_empty());
    leases.grant(2, Some(of_lineage(5)), 2).unwrap();
    assert!(leases.take_unclean().is_empty());
    // ...until another client shows that they may be its own.
    let other = leases.grant(3, Some(of_lineage(6)), 3).unwrap();
    assert_eq!(leases.take_unclean(), [at(40), other.index]);
    leases.grant(4, Some(of_lineage(7)), 4).unwrap();
    assert!(!leases.take_unclean().contains(&at(40)), "said once");
}

#[test]
fn in_one_run_an_old_ticket_has_nobodys_flows_forgotten() {
    let start = Instant::now();
    let mut leases = leases("10.8.0.0/29");
    let first = leases.grant(1, None, 77).unwrap();
    leases.park(1, first.index, start);
    leases.expire(start + KEEP);
    leases.release(first.index);
    for session in 2..=6 {
        leases.grant(session, None, 100 + session).unwrap();
    }
    leases.take_unclean();
    let stale = Claim {
        index: first.index,
        lineage: 77,
    };
    assert!(leases.grant(9, Some(stale), 200).is_err());
    assert!(leases.take_unclean().is_empty());
}

#[test]
fn of_two_sessions_of_one_ticket_the_later_grant_has_the_higher_number() {
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
fn a_ticket_opens_under_the_same_tls_key_also_in_another_process() {
    let now = SystemTime::now();
    let text = TicketSealer::new(&[1; 32], None)
        .seal(address(9), u64::MAX, now)
        .unwrap();
    let opened = TicketSealer::new(&[1; 32], None).open(&text, now).unwrap();
    assert_eq!((opened.address, opened.lineage), (address(9), u64::MAX));
    let other = TicketSealer::new(&[2; 32], None);
    assert_eq!(other.open(&text, now), Err(TicketError::NotOurs));
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
fn a_ticket_outlives_many_changes_of_the_tls_key_and_a_key_that_comes_back_is_no_new_one() {
    let now = SystemTime::now();
    let mut sealer = TicketSealer::new(&[0; 32], None);
    let first = sealer.seal(address(7), 7, now).unwrap();
    // Reloads without a change, and between two keys and back, use up nothing.
    for key in [0, 0, 1, 0, 1, 0, 1, 1].into_iter().cycle().take(100) {
        sealer = sealer.changed_to(&[key; 32]);
        assert_eq!(
            sealer
                .open(&first, now)
                .map(|ticket| (ticket.address, ticket.lineage)),
            Ok((address(7), 7))
        );
    }
    for key in 2..TICKET_KEYS as u8 {
        sealer = sealer.changed_to(&[key; 32]);
        assert!(sealer.open(&first, now).is_ok(), "{key} keys later");
    }
    let later = sealer.changed_to(&[200; 32]).changed_to(&[201; 32]);
    assert!(later.open(&first, now).is_err(), "there is a bound");
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
