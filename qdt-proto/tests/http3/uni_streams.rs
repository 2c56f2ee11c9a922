//! Unidirectional streams: SETTINGS, frames about the connection, QPACK, push, unknown types.

use qdt_proto::http3::{
    CriticalStreams, Http3Error, Scope, Settings, Side, UniStream, code, control_stream_preface,
};

use crate::support::{GREASE, frame, varint};

const SETTINGS: u64 = 0x4;

/// Feeds a fresh stream on a fresh connection.
fn read(side: Side, bytes: &[u8], fin: bool) -> Result<Option<Settings>, Http3Error> {
    UniStream::new(side).handle(&mut CriticalStreams::default(), bytes, fin)
}

fn code_of(side: Side, bytes: &[u8]) -> u64 {
    let error = read(side, bytes, false).expect_err("this stream is wrong");
    assert_eq!(error.scope, Scope::Connection);
    error.code
}

fn settings_frame(settings: &[(u64, u64)]) -> Vec<u8> {
    let payload: Vec<u8> = settings
        .iter()
        .flat_map(|s| [varint(s.0), varint(s.1)])
        .flatten()
        .collect();
    frame(SETTINGS, &payload)
}

/// A control stream: its type, the frames given.
fn control(frames: &[Vec<u8>]) -> Vec<u8> {
    [vec![0], frames.concat()].concat()
}

#[test]
fn our_own_preface_announces_datagrams_and_no_dynamic_table() {
    let preface = control_stream_preface();
    // Type 0; SETTINGS of 9 bytes: 1 = 0, 6 = 8192, 7 = 0, 0x33 = 1.
    assert_eq!(preface, [0, 4, 9, 1, 0, 6, 0x60, 0, 7, 0, 0x33, 1]);
    for side in [Side::Client, Side::Server] {
        let settings = read(side, &preface, false).unwrap();
        let expected = Settings {
            datagrams: true,
            extended_connect: false,
            max_field_section_size: Some(8192),
        };
        assert_eq!(settings, Some(expected));
    }
}

#[test]
fn empty_settings_mean_no_datagrams() {
    assert_eq!(
        read(Side::Server, &control(&[settings_frame(&[])]), false),
        Ok(Some(Settings::default()))
    );
}

#[test]
fn settings_that_nobody_knows_are_ignored() {
    let bytes = control(&[settings_frame(&[
        (0x33, 1),
        (GREASE, 7),
        (0xffd277, 1),
        (0x8, 1),
    ])]);
    let settings = read(Side::Server, &bytes, false).unwrap().unwrap();
    assert!(settings.datagrams && settings.extended_connect);
}

#[test]
fn settings_of_http_2_doubled_ones_and_switches_beyond_one_are_errors() {
    for settings in [
        &[(0x0, 0)][..],
        &[(0x2, 0)],
        &[(0x3, 100)],
        &[(0x4, 65_535)],
        &[(0x5, 16_384)],
        &[(0x33, 2)],
        &[(0x33, u64::MAX >> 2)],
        &[(0x8, 2)],
        &[(0x33, 1), (0x33, 1)],
        &[(GREASE, 1), (0x33, 1), (GREASE, 2)],
    ] {
        let bytes = control(&[settings_frame(settings)]);
        assert_eq!(
            code_of(Side::Server, &bytes),
            code::H3_SETTINGS_ERROR,
            "{settings:?}"
        );
    }
}

#[test]
fn a_settings_frame_that_ends_within_a_setting_is_a_frame_error() {
    for payload in [&[0x33][..], &[0x40], &[0x33, 0x40], &[0x33, 1, 0x06]] {
        let bytes = control(&[frame(SETTINGS, payload)]);
        assert_eq!(code_of(Side::Server, &bytes), code::H3_FRAME_ERROR);
    }
}

#[test]
fn settings_come_first() {
    for frame_type in [0x0, 0x1, 0x2, 0x3, 0x7, 0xd, GREASE] {
        let bytes = control(&[frame(frame_type, b"\0")]);
        assert_eq!(code_of(Side::Server, &bytes), code::H3_MISSING_SETTINGS);
    }
}

#[test]
fn settings_come_once() {
    let bytes = control(&[settings_frame(&[]), settings_frame(&[])]);
    assert_eq!(code_of(Side::Client, &bytes), code::H3_FRAME_UNEXPECTED);
}

#[test]
fn a_settings_frame_of_more_than_a_kibibyte_is_refused_before_it_comes() {
    let bytes = [vec![0], varint(SETTINGS), varint(1025)].concat();
    assert_eq!(code_of(Side::Server, &bytes), code::H3_EXCESSIVE_LOAD);
}

#[test]
fn message_frames_and_reserved_ones_have_no_place_on_the_control_stream() {
    for frame_type in [0x0, 0x1, 0x2, 0x5, 0x6, 0x8, 0x9] {
        let bytes = control(&[settings_frame(&[]), frame(frame_type, b"\0")]);
        assert_eq!(code_of(Side::Client, &bytes), code::H3_FRAME_UNEXPECTED);
        assert_eq!(code_of(Side::Server, &bytes), code::H3_FRAME_UNEXPECTED);
    }
}

#[test]
fn unknown_frames_on_the_control_stream_are_skipped_without_end() {
    let mut stream = UniStream::new(Side::Server);
    let mut critical = CriticalStreams::default();
    let bytes = control(&[
        settings_frame(&[(0x33, 1)]),
        varint(GREASE),
        varint(1 << 40),
    ]);
    assert!(
        stream
            .handle(&mut critical, &bytes, false)
            .unwrap()
            .is_some()
    );
    for _ in 0..100 {
        assert_eq!(stream.handle(&mut critical, &[0; 1000], false), Ok(None));
    }
}

#[test]
fn goaway_is_remembered_and_must_not_grow() {
    let mut stream = UniStream::new(Side::Client);
    let mut critical = CriticalStreams::default();
    stream
        .handle(&mut critical, &control(&[settings_frame(&[])]), false)
        .unwrap();
    assert_eq!(stream.goaway(), None);
    for id in [8u64, 8, 4] {
        stream
            .handle(&mut critical, &frame(0x7, &varint(id)), false)
            .unwrap();
        assert_eq!(stream.goaway(), Some(id));
    }
    let error = stream
        .handle(&mut critical, &frame(0x7, &varint(8)), false)
        .unwrap_err();
    assert_eq!(error.code, code::H3_ID_ERROR);
}

#[test]
fn goaway_of_a_server_names_a_request_stream() {
    let bytes = control(&[settings_frame(&[]), frame(0x7, &varint(5))]);
    assert_eq!(code_of(Side::Client, &bytes), code::H3_ID_ERROR);
    assert_eq!(
        read(Side::Server, &bytes, false),
        Ok(Some(Settings::default()))
    );
}

#[test]
fn frames_with_one_identifier_hold_exactly_that() {
    for payload in [&[][..], &[0, 0], &[0x40], &[0; 9]] {
        let bytes = control(&[settings_frame(&[]), frame(0x7, payload)]);
        assert_eq!(code_of(Side::Client, &bytes), code::H3_FRAME_ERROR);
    }
}

#[test]
fn frames_about_pushes_are_checked() {
    let with = |frames: &[Vec<u8>]| control(&[&[settings_frame(&[])], frames].concat());
    let max_push_id = |id| frame(0xd, &varint(id));
    assert!(
        read(
            Side::Server,
            &with(&[max_push_id(1), max_push_id(5)]),
            false
        )
        .is_ok()
    );
    assert_eq!(
        code_of(Side::Server, &with(&[max_push_id(5), max_push_id(1)])),
        code::H3_ID_ERROR
    );
    assert_eq!(
        code_of(Side::Client, &with(&[max_push_id(1)])),
        code::H3_FRAME_UNEXPECTED
    );
    assert_eq!(
        code_of(Side::Server, &with(&[frame(0x3, b"\0")])),
        code::H3_ID_ERROR
    );
    assert_eq!(
        code_of(Side::Server, &[1, 0]),
        code::H3_STREAM_CREATION_ERROR
    );
    assert_eq!(code_of(Side::Client, &[1, 0]), code::H3_ID_ERROR);
}

#[test]
fn critical_streams_exist_once_and_live_as_long_as_the_connection() {
    for stream_type in [0u8, 2, 3] {
        let mut critical = CriticalStreams::default();
        let mut first = UniStream::new(Side::Server);
        assert_eq!(first.reset(), Ok(()));
        assert_eq!(first.handle(&mut critical, &[stream_type], false), Ok(None));
        assert_eq!(
            first.reset().unwrap_err().code,
            code::H3_CLOSED_CRITICAL_STREAM
        );
        let mut second = UniStream::new(Side::Server);
        let error = second
            .handle(&mut critical, &[stream_type], false)
            .unwrap_err();
        assert_eq!(error.code, code::H3_STREAM_CREATION_ERROR);
        let error = first.handle(&mut critical, &[], true).unwrap_err();
        assert_eq!(error.code, code::H3_CLOSED_CRITICAL_STREAM);
    }
}

#[test]
fn a_stream_may_end_before_its_type_came() {
    assert_eq!(read(Side::Server, &[], true), Ok(None));
    assert_eq!(read(Side::Server, &[0x40], true), Ok(None));
}

#[test]
fn a_stream_of_unknown_type_is_ignored_whatever_comes() {
    let mut stream = UniStream::new(Side::Server);
    let mut critical = CriticalStreams::default();
    assert!(!stream.is_ignored());
    let bytes = [varint(GREASE), vec![0; 100]].concat();
    assert_eq!(stream.handle(&mut critical, &bytes, false), Ok(None));
    assert!(stream.is_ignored());
    assert_eq!(stream.handle(&mut critical, &[0xff; 1000], true), Ok(None));
}

#[test]
fn the_encoder_stream_may_only_set_the_capacity_to_zero() {
    assert_eq!(read(Side::Server, &[2, 0x20, 0x20], false), Ok(None));
    // Capacity 1 and 31+, insert with name reference, insert with literal name, duplicate.
    for instruction in [0x21, 0x3f, 0xc0, 0x41, 0x00] {
        assert_eq!(
            code_of(Side::Server, &[2, instruction]),
            code::QPACK_ENCODER_STREAM_ERROR
        );
    }
}

#[test]
fn the_decoder_stream_may_only_cancel_streams() {
    assert_eq!(
        read(
            Side::Client,
            &[3, 0x40, 0x7e, 0x7f, 0x80, 0x01, 0x44],
            false
        ),
        Ok(None)
    );
    // Section Acknowledgment, Insert Count Increment, an integer that never ends.
    for bytes in [
        &[3, 0x80][..],
        &[3, 0x01],
        &[3, 0x00],
        &[[3].as_slice(), &[0xff; 12]].concat(),
    ] {
        assert_eq!(
            code_of(Side::Client, bytes),
            code::QPACK_DECODER_STREAM_ERROR
        );
    }
    let endless = [&[3, 0x7f][..], &[0x80; 10]].concat();
    assert_eq!(
        code_of(Side::Client, &endless),
        code::QPACK_DECODER_STREAM_ERROR
    );
}

#[test]
fn after_an_error_a_stream_gives_the_same_error_again() {
    for bytes in [&[1, 0][..], &[0, 0, 0], &[2, 0xff], &[3, 0xff]] {
        let mut stream = UniStream::new(Side::Server);
        let mut critical = CriticalStreams::default();
        let error = stream.handle(&mut critical, bytes, false).unwrap_err();
        for more in [&[][..], &[0x20], &[0; 100]] {
            assert_eq!(stream.handle(&mut critical, more, true), Err(error.clone()));
        }
    }
}
