//! Log lines: the recorded lines of the Go programs, and the way from a `tracing` event to a line.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use qdt_program::{FieldValue, LogConfig, LogLevel, Logger, Record, startup_line};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

/// Stands for one of our crates, which are the ones that are heard.
const OURS: &str = "qdt_server::sessions";

#[test]
fn the_log_line_vector_in_text_is_written_byte_for_byte() {
    for line in recorded_lines()
        .lines()
        .filter(|line| line.starts_with("time="))
    {
        let mut fields = unquoted_fields(line);
        let mut next = |key: &str| {
            let (name, value) = fields.remove(0);
            assert_eq!(name, key, "{line}");
            value
        };
        let time = zoned(&next("time"));
        let level = next("level").parse().expect("a level");
        let message = next("msg");
        let fields = fields
            .into_iter()
            .map(|(k, v)| (k, FieldValue::Str(v)))
            .collect();
        assert_eq!(
            Record {
                time,
                level,
                message,
                fields
            }
            .to_text(),
            format!("{line}\n")
        );
    }
}

#[test]
fn the_log_line_vector_in_json_is_written_byte_for_byte() {
    for line in recorded_lines()
        .lines()
        .filter(|line| line.starts_with('{'))
    {
        let Ordered(mut fields) = serde_json::from_str(line).expect("JSON");
        let mut next = |key: &str| match fields.remove(0) {
            (name, FieldValue::Str(text)) if name == key => text,
            other => panic!("{other:?} where {key} belongs"),
        };
        let time = zoned(&next("time"));
        let level = next("level").parse().expect("a level");
        let message = next("msg");
        assert_eq!(
            Record {
                time,
                level,
                message,
                fields
            }
            .to_json(),
            format!("{line}\n")
        );
    }
}

#[test]
fn an_event_becomes_the_line_that_pipelines_match_on() {
    let id = u64::MAX;
    let ip = std::net::Ipv4Addr::new(10, 8, 0, 2);
    let error = std::io::Error::other("receive datagram: timeout");
    let lines = logged(LogConfig::default(), || {
        tracing::info!(target: OURS, id, %ip, err = %error, n = 5, ok = true, "session closed");
    });
    let (time, rest) = lines[0].split_once(' ').expect("a time and a rest");
    assert_eq!(
        rest,
        "level=INFO msg=\"session closed\" id=18446744073709551615 ip=10.8.0.2 \
         err=\"receive datagram: timeout\" n=5 ok=true\n"
    );
    let time = time.strip_prefix("time=").expect("the time first");
    assert_eq!(
        zoned(time).strftime("%Y-%m-%d").to_string(),
        Zoned::now().strftime("%Y-%m-%d").to_string()
    );

    let json = LogConfig {
        json: true,
        ..LogConfig::default()
    };
    let lines = logged(
        json,
        || tracing::warn!(target: OURS, id, %ip, "session closed"),
    );
    let (_, rest) = lines[0].split_once("\",").expect("a time and a rest");
    assert_eq!(
        rest,
        "\"level\":\"WARN\",\"msg\":\"session closed\",\"id\":18446744073709551615,\"ip\":\"10.8.0.2\"}\n"
    );
}

#[test]
fn the_level_hides_what_is_less_severe_and_can_change_while_running() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let logger = logger(
        LogConfig {
            level: LogLevel::Warn,
            json: false,
        },
        &lines,
    );
    let handle = logger.handle();
    let speak = || {
        tracing::debug!(target: OURS, "d");
        tracing::info!(target: OURS, "i");
        tracing::warn!(target: OURS, "w");
        tracing::error!(target: OURS, "e");
    };
    let messages = || -> Vec<String> {
        let lines = std::mem::take(&mut *lines.lock().unwrap());
        lines
            .iter()
            .map(|l: &String| l.trim_end().rsplit_once("msg=").unwrap().1.to_owned())
            .collect()
    };
    tracing::subscriber::with_default(logger, || {
        speak();
        assert_eq!(messages(), ["w", "e"]);
        handle.set_level(LogLevel::Debug);
        speak();
        assert_eq!(messages(), ["d", "i", "w", "e"]);
        handle.set_level(LogLevel::Error);
        speak();
        assert_eq!(messages(), ["e"]);
        assert_eq!(handle.level(), LogLevel::Error);
    });
}

#[test]
fn libraries_underneath_are_heard_at_level_debug_only() {
    let speak = || {
        tracing::error!(target: "rustls::conn", "library error");
        tracing::debug!(target: "quinn_proto", "library detail");
    };
    assert_eq!(logged(LogConfig::default(), speak).len(), 0);
    assert_eq!(
        logged(
            LogConfig {
                level: LogLevel::Debug,
                json: false
            },
            speak
        )
        .len(),
        2
    );
}

#[test]
fn rust_log_has_no_say() {
    // The variable is read nowhere; a logger made while it asks for everything still keeps its
    // level.
    let lines = logged(
        LogConfig {
            level: LogLevel::Error,
            json: false,
        },
        || tracing::info!(target: OURS, "i"),
    );
    assert_eq!(lines.len(), 0);
    for file in ["logger.rs", "level.rs", "mod.rs", "record.rs"] {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/log")
            .join(file);
        assert!(
            !fs::read_to_string(source)
                .expect("our source")
                .contains("RUST_LOG")
        );
    }
}

#[test]
fn a_text_is_quoted_exactly_where_slog_quotes_it() {
    let cases = [
        ("plain", "plain"),
        ("back\\slash", "back\\slash"),
        ("", "\"\""),
        ("a b", "\"a b\""),
        ("a=b", "\"a=b\""),
        ("a\"b", "\"a\\\"b\""),
        ("tab\there", "\"tab\\there\""),
        ("bell\u{7}", "\"bell\\a\""),
        ("esc\u{1b}[0m", "\"esc\\x1b[0m\""),
        ("del\u{7f}", "del\u{7f}"),
        ("del \u{7f}", "\"del \\x7f\""),
        ("é", "é"),
        ("日本", "日本"),
        ("e\u{301}", "e\u{301}"),
        ("no\u{a0}break", "\"no\\u00a0break\""),
        ("zero\u{200b}width", "\"zero\\u200bwidth\""),
        ("\u{fffd}", "\"\u{fffd}\""),
        ("\u{e0001}", "\"\\U000e0001\""),
        ("😀", "😀"),
    ];
    for (text, expected) in cases {
        let line = record(text).to_text();
        let (_, written) = line
            .trim_end_matches('\n')
            .split_once(" k=")
            .expect("the field");
        assert_eq!(written, expected, "{text:?}");
    }
}

#[test]
fn json_strings_escape_control_characters_and_keep_html() {
    let line = record("<&>\u{1}\u{8}\n\u{2028}\u{7f}\\").to_json();
    let expected = "\"k\":\"<&>\\u0001\\u0008\\n\\u2028\u{7f}\\\\\"}\n";
    assert!(line.ends_with(expected), "{line}");
}

#[test]
fn times_show_milliseconds_in_text_and_nanoseconds_without_trailing_zeros_in_json() {
    let at = |text: &str| Record {
        time: zoned(text),
        ..record("v")
    };
    let cases = [
        (
            "2026-11-21T01:11:25.999999999+01:00",
            "25.999+01:00",
            "25.999999999+01:00",
        ),
        ("2026-11-21T01:11:25Z", "25.000Z", "25Z"),
        (
            "2026-11-21T01:11:25.25-03:30",
            "25.250-03:30",
            "25.25-03:30",
        ),
    ];
    for (time, text, json) in cases {
        let line = at(time).to_text();
        assert!(
            line.starts_with(&format!("time=2026-11-21T01:11:{text} level=")),
            "{line}"
        );
        let line = at(time).to_json();
        assert!(
            line.starts_with(&format!("{{\"time\":\"2026-11-21T01:11:{json}\",")),
            "{line}"
        );
    }
}

#[test]
fn before_the_logger_there_is_one_line_in_the_form_of_gos_default_logger() {
    let line = startup_line("config error", &"server.yaml: no such file");
    let (time, rest) = line.split_at("2006/01/02 15:04:05".len());
    assert_eq!(
        rest,
        " ERROR config error err=\"server.yaml: no such file\"\n"
    );
    let shape: String = time
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "0000/00/00 00:00:00");
}

// Below: how the recordings are taken apart, and a logger whose lines are kept.

fn recorded_lines() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/vectors/log_lines.json");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let recorded: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let lines = recorded["cases"].as_str().expect("a text").to_owned();
    assert!(
        lines.contains("time=") && lines.contains("{\"time\""),
        "both forms are recorded"
    );
    lines
}

/// `key=value` pairs with Go's quotes undone.
fn unquoted_fields(line: &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').expect("key=value");
        let end = if after.starts_with('"') {
            let bytes = after.as_bytes();
            let mut at = 1;
            while bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            at + 1
        } else {
            after.find(' ').unwrap_or(after.len())
        };
        let (value, after) = after.split_at(end);
        // The escapes of the recordings are those that JSON has, too.
        let value = match value.starts_with('"') {
            true => serde_json::from_str(value).expect("a quoted text"),
            false => value.to_owned(),
        };
        fields.push((key.to_owned(), value));
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
    fields
}

fn zoned(text: &str) -> Zoned {
    let time: Timestamp = text.parse().expect("a time");
    let offset = match text.strip_suffix('Z') {
        Some(_) => jiff::tz::Offset::UTC,
        None => {
            let (hours, minutes) = text[text.len() - 6..].split_once(':').expect("hh:mm");
            let (hours, minutes) = (number(hours), number(minutes));
            let sign = if text.as_bytes()[text.len() - 6] == b'-' {
                -1
            } else {
                1
            };
            jiff::tz::Offset::from_seconds(hours * 3600 + sign * minutes * 60).expect("an offset")
        }
    };
    time.to_zoned(TimeZone::fixed(offset))
}

fn number(digits: &str) -> i32 {
    digits.parse().expect("a number")
}

fn record(value: &str) -> Record {
    Record {
        time: zoned("2026-11-21T01:11:25.256Z"),
        level: LogLevel::Info,
        message: "m".to_owned(),
        fields: vec![("k".to_owned(), FieldValue::Str(value.to_owned()))],
    }
}

fn logger(
    config: LogConfig,
    lines: &Arc<Mutex<Vec<String>>>,
) -> Logger<impl Fn(&str) + Send + Sync + 'static> {
    let lines = Arc::clone(lines);
    Logger::new(config, move |line: &str| {
        lines
            .lock()
            .expect("no test panics while it logs")
            .push(line.to_owned())
    })
}

fn logged(config: LogConfig, speak: impl FnOnce()) -> Vec<String> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    tracing::subscriber::with_default(logger(config, &lines), speak);
    let mut lines = lines.lock().expect("no test panics while it logs");
    std::mem::take(&mut *lines)
}

/// A JSON object in the order in which it was written.
struct Ordered(Vec<(String, FieldValue)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Ordered;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut pairs = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, serde_json::Value>()? {
                    let value = match value {
                        serde_json::Value::String(text) => FieldValue::Str(text),
                        serde_json::Value::Bool(truth) => FieldValue::Bool(truth),
                        serde_json::Value::Number(number) => match number.as_u64() {
                            Some(number) => FieldValue::Unsigned(number.into()),
                            None => {
                                FieldValue::Signed(number.as_i64().expect("a whole number").into())
                            }
                        },
                        other => panic!("{other} is not a field"),
                    };
                    pairs.push((key, value));
                }
                Ok(Ordered(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}
