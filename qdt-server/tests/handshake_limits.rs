//! Limits on handshakes and wrong tokens, under a clock that the test moves.
#![allow(clippy::unwrap_used, reason = "a test ends where an expectation fails")]

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use qdt_server::admission::{GuessLimiter, Limiter};
use qdt_server::config::Rate;
use qdt_transport::LimitKey;

const TTL: Duration = Duration::from_secs(60);

const fn rate(pps: u32, burst: u32) -> Rate {
    Rate { pps, burst }
}

fn limiter(rate: Rate, cap: usize, start: Instant) -> Limiter<LimitKey> {
    Limiter::new(rate, TTL, cap, start)
}

fn take(limiter: &Limiter<LimitKey>, address: &str, now: Instant) -> bool {
    limiter.take(&LimitKey::from(address.parse::<IpAddr>().unwrap()), now)
}

#[test]
fn a_burst_passes_at_once_and_then_as_many_per_second_as_configured() {
    let start = Instant::now();
    let limiter = limiter(rate(20, 40), 100, start);
    assert_eq!(
        (0..1000)
            .filter(|_| take(&limiter, "192.0.2.1", start))
            .count(),
        40
    );
    let later = start + Duration::from_secs(1);
    assert_eq!(
        (0..1000)
            .filter(|_| take(&limiter, "192.0.2.1", later))
            .count(),
        20
    );
}

#[test]
fn u5_a_slash_64_is_one_guesser_and_a_mapped_ipv4_address_is_an_ipv4_one() {
    let start = Instant::now();
    let limiter = limiter(rate(1, 5), 100, start);
    let passed = (0..10_000u128)
        .filter(|host| {
            let base: Ipv6Addr = "2001:db8:1:2::".parse().unwrap();
            let address = IpAddr::from(Ipv6Addr::from_bits(base.to_bits() | (host << 20)));
            limiter.take(&address.into(), start)
        })
        .count();
    assert_eq!(passed, 5, "10,000 addresses of one /64");
    assert_eq!(limiter.len(), 1);
    assert!(take(&limiter, "2001:db8:1:3::1", start), "another /64");
    for _ in 0..5 {
        assert!(take(&limiter, "192.0.2.1", start));
    }
    assert!(!take(&limiter, "::ffff:192.0.2.1", start));
    assert!(take(&limiter, "192.0.2.2", start), "another /32");
}

#[test]
fn u5_the_table_is_capped_and_forgets_the_least_recently_seen() {
    let start = Instant::now();
    let limiter = limiter(rate(1, 2), 100, start);
    let stranger = |i: u32| IpAddr::from((0x0a00_0000 + i).to_be_bytes()).to_string();
    for i in 0..50_000 {
        assert!(
            take(&limiter, &stranger(i), start),
            "an honest new address is admitted"
        );
        let guesser = take(&limiter, "198.51.100.7", start);
        assert_eq!(guesser, i < 2, "an active address keeps its bucket, {i}");
        assert!(limiter.len() <= 100, "{} entries", limiter.len());
    }
}

#[test]
fn an_address_idle_for_the_ttl_has_a_new_bucket() {
    let start = Instant::now();
    let limiter: Limiter<LimitKey> =
        Limiter::new(rate(1, 1000), Duration::from_secs(10), 10, start);
    let all = |now| {
        (0..2000)
            .filter(|_| take(&limiter, "192.0.2.1", now))
            .count()
    };
    assert_eq!(all(start), 1000);
    assert_eq!(
        all(start + Duration::from_secs(9)),
        9,
        "not idle long enough"
    );
    assert_eq!(all(start + Duration::from_secs(19)), 1000);
}

#[test]
fn a_refund_restores_exactly_one_permission() {
    let start = Instant::now();
    let limiter = limiter(rate(1, 3), 10, start);
    let key = LimitKey::from("192.0.2.1".parse::<IpAddr>().unwrap());
    for _ in 0..100 {
        assert!(limiter.take(&key, start));
        limiter.refund(&key);
    }
    assert_eq!((0..100).filter(|_| limiter.take(&key, start)).count(), 3);
    limiter.refund(&key);
    assert_eq!((0..100).filter(|_| limiter.take(&key, start)).count(), 1);
}

/// How many guesses pass, one from each address in turn.
fn passed(guesses: &GuessLimiter, now: Instant, addresses: impl Iterator<Item = String>) -> usize {
    addresses
        .filter(|address| guesses.take(address.parse().unwrap(), now))
        .count()
}

#[test]
fn u5_a_slash_48_has_the_limit_of_sixteen_addresses_and_cannot_overrun_its_entry() {
    let start = Instant::now();
    let guesses = GuessLimiter::new(rate(20, 40), TTL, start);
    let all = || (0..=u16::MAX).map(|n| format!("2001:db8:1:{n:x}::1"));
    assert_eq!(passed(&guesses, start, all()), 16 * 40);
    assert_eq!(passed(&guesses, start, all()), 0);
    let later = start + Duration::from_secs(1);
    assert_eq!(passed(&guesses, later, all()), 16 * 20);
    assert!(
        guesses.take("2001:db8:2::1".parse().unwrap(), later),
        "another /48"
    );
}

#[test]
fn u5_a_slash_56_has_the_limit_of_four_addresses_and_its_neighbours_keep_theirs() {
    let start = Instant::now();
    let guesses = GuessLimiter::new(rate(20, 40), TTL, start);
    let all = || (0..=255).map(|n| format!("2001:db8:1:42{n:02x}::1"));
    assert_eq!(passed(&guesses, start, all().chain(all())), 4 * 40);
    let neighbour = std::iter::repeat_n("2001:db8:1:4300::1".to_owned(), 100);
    assert_eq!(passed(&guesses, start, neighbour), 40);
}

#[test]
fn u5_right_tokens_from_a_busy_network_use_up_nothing() {
    let start = Instant::now();
    let guesses = GuessLimiter::new(rate(20, 40), TTL, start);
    for n in 0..20_000_u32 {
        let address = IpAddr::from([100, 64, 7, n as u8]);
        assert!(guesses.take(address, start));
        guesses.refund(address);
    }
    // A guesser among them uses up only its own bucket.
    let guesser = std::iter::repeat_n("100.64.7.1".to_owned(), 10_000);
    assert_eq!(passed(&guesses, start, guesser), 40);
    assert!(guesses.take("100.64.7.2".parse().unwrap(), start));
}

#[test]
fn u5_guessers_in_an_ipv4_network_do_not_lock_out_their_neighbours() {
    let start = Instant::now();
    let guesses = GuessLimiter::new(rate(20, 40), TTL, start);
    let guessers = || (0..100).map(|host| format!("100.64.7.{host}"));
    for _ in 0..40 {
        assert_eq!(passed(&guesses, start, guessers()), 100);
    }
    assert_eq!(passed(&guesses, start, guessers()), 0);
    assert!(guesses.take("100.64.7.200".parse().unwrap(), start));
}
