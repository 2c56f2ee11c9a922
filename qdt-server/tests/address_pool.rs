//! The order in which inner addresses are allocated.
#![allow(clippy::unwrap_used, reason = "a test ends where an expectation fails")]

use std::fs;
use std::path::Path;

use ipnet::IpNet;
use qdt_server::address::{AddressPool, Exhausted, PoolError};
use qdt_transport::PoolIndex;
use serde_json::Value;

fn pool(cidr: &str, gateway: &str) -> Result<AddressPool, PoolError> {
    AddressPool::new(cidr.parse::<IpNet>().unwrap(), gateway.parse().unwrap())
}

fn index(pool: &AddressPool, address: &str) -> PoolIndex {
    pool.pool().index(address.parse().unwrap()).unwrap()
}

fn acquire(pool: &mut AddressPool) -> String {
    pool.acquire().map_or_else(
        |_| "exhausted".into(),
        |index| pool.pool().address(index).to_string(),
    )
}

#[test]
fn every_recorded_vector_of_the_address_pool_is_reproduced() {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/vectors/address_pool.json");
    let vectors: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    for case in vectors["cases"].as_array().unwrap() {
        let made = pool(
            case["cidr"].as_str().unwrap(),
            case["gateway"].as_str().unwrap(),
        );
        let mut pool = match (made, case["error"].as_str()) {
            (Err(error), Some(expected)) => {
                assert_eq!(error.to_string(), expected, "{case}");
                continue;
            }
            (made, _) => made.unwrap(),
        };
        let expected: Vec<_> = case["acquired"]
            .as_array()
            .unwrap()
            .iter()
            .map(|a| a.as_str().unwrap())
            .collect();
        let acquired: Vec<_> = expected.iter().map(|_| acquire(&mut pool)).collect();
        assert_eq!(acquired, expected, "{case}");
        pool.release(index(&pool, &acquired[0]));
        assert_eq!(
            acquire(&mut pool),
            case["after_releasing_first"].as_str().unwrap(),
            "{case}"
        );
    }
}

#[test]
fn a_slash_24_serves_253_clients_with_unique_addresses_and_not_one_more() {
    let mut pool = pool("10.8.0.0/24", "10.8.0.1").unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..253 {
        assert!(seen.insert(pool.acquire().unwrap()));
    }
    assert_eq!(pool.acquire(), Err(Exhausted));
    for never in ["10.8.0.0", "10.8.0.1", "10.8.0.255"] {
        assert!(
            !seen.contains(&index(&pool, never)),
            "{never} was allocated"
        );
    }
}

#[test]
fn a_single_free_address_is_found_wherever_the_cursor_stands() {
    let mut pool = pool("10.0.0.0/16", "10.0.0.1").unwrap();
    while pool.acquire().is_ok() {}
    for address in [
        "10.0.0.2",
        "10.0.255.254",
        "10.0.0.64",
        "10.0.127.255",
        "10.0.128.0",
    ] {
        let index = index(&pool, address);
        pool.release(index);
        assert_eq!(pool.acquire(), Ok(index));
        assert_eq!(pool.acquire(), Err(Exhausted));
    }
}

#[test]
fn an_index_that_is_not_a_host_is_neither_taken_nor_released() {
    let mut pool = pool("10.8.0.0/29", "10.8.0.1").unwrap();
    for outside in ["10.9.0.2", "0.0.0.0"] {
        assert_eq!(pool.pool().index(outside.parse().unwrap()), None);
    }
    for index in [0, 7, 1, 8, u32::MAX] {
        assert!(!pool.take(PoolIndex(index)), "{index}");
    }
    let free = pool.free();
    pool.release(PoolIndex(u32::MAX));
    pool.release(index(&pool, "10.8.0.3"));
    assert_eq!(pool.free(), free);
}
