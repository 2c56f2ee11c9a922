//! The MSS clamp.

use qdt_proto::packet::clamp_mss;

use crate::build::Build;
use crate::reference::checksum_of;

const SYN: u8 = 0x02;

fn syn(v6: bool, options: &[u8]) -> Build {
    Build {
        v6,
        flags: SYN,
        options: options.to_vec(),
        payload: vec![],
        ..Build::tcp()
    }
}

#[test]
fn a_syn_that_offers_more_than_fits_offers_what_fits_and_stays_valid() {
    for (v6, header) in [(false, 40), (true, 60)] {
        for flags in [SYN, SYN | 0x10] {
            let build = Build {
                flags,
                ..syn(v6, &[2, 4, 0x05, 0xb4])
            };
            let mut packet = build.packet();
            assert!(clamp_mss(&mut packet, 1312));
            let at = build.upper_at() + 22;
            assert_eq!(packet[at..at + 2], (1312u16 - header).to_be_bytes());
            assert_eq!(checksum_of(&packet, build.upper_at(), 6), 0);
        }
    }
}

#[test]
fn an_option_at_an_odd_place_is_clamped_with_a_right_checksum() {
    let mut packet = syn(false, &[1, 2, 4, 0x05, 0xb4, 1, 1, 1]).packet();
    assert!(clamp_mss(&mut packet, 1000));
    assert_eq!(packet[43..45], 960u16.to_be_bytes());
    assert_eq!(checksum_of(&packet, 20, 6), 0);
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    let mut packet = syn(false, &[2, 4, 0x05, 0xb4]).packet();
    packet[36] ^= 0x40;
    let before = checksum_of(&packet, 20, 6);
    assert!(clamp_mss(&mut packet, 1000));
    assert_eq!(checksum_of(&packet, 20, 6), before);
}

#[test]
fn what_needs_no_clamp_is_left_alone() {
    let fits = syn(false, &[2, 4, 0x02, 0x18]);
    let no_option = syn(false, &[1, 1, 4, 2]);
    let behind_the_end = syn(false, &[0, 2, 4, 0x05, 0xb4, 0, 0, 0]);
    let option_too_long = syn(false, &[1, 1, 2, 9]);
    let option_of_no_length = syn(false, &[3, 0, 2, 4, 5, 0xb4, 0, 0]);
    let not_syn = Build {
        flags: 0x10,
        ..syn(false, &[2, 4, 0x05, 0xb4])
    };
    let continuation = Build {
        fragment: 5,
        ..syn(false, &[2, 4, 0x05, 0xb4])
    };
    for build in [
        fits,
        no_option,
        behind_the_end,
        option_too_long,
        option_of_no_length,
        not_syn,
        continuation,
    ] {
        let packet = build.packet();
        let mut same = packet.clone();
        assert!(!clamp_mss(&mut same, 1312), "{build:?}");
        assert_eq!(same, packet);
    }
}

#[test]
fn a_limit_below_the_headers_changes_nothing() {
    let packet = syn(false, &[2, 4, 0x05, 0xb4]).packet();
    for limit in 0..=40 {
        let mut same = packet.clone();
        assert!(!clamp_mss(&mut same, limit));
        assert_eq!(same, packet);
    }
}
