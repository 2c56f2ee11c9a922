//! One log record, from a `tracing` event to a line.

use std::fmt;

use jiff::Zoned;
use tracing::Event;
use tracing::field::{Field, Visit};

use super::level::LogLevel;
use super::{json, text};

/// One log record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// When, in the zone that the line shows.
    pub time: Zoned,
    /// How severe.
    pub level: LogLevel,
    /// What pipelines match on.
    pub message: String,
    /// Everything else, in the order in which it is written.
    pub fields: Vec<(String, FieldValue)>,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldValue {
    /// Text.
    Str(String),
    /// A number that may be negative.
    Signed(i128),
    /// A number that is not.
    Unsigned(u128),
    /// A fraction.
    Float(f64),
    /// A truth value.
    Bool(bool),
}

impl Record {
    /// The record of `event`, now.
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut record = Self {
            time: Zoned::now(),
            level: match *event.metadata().level() {
                tracing::Level::ERROR => LogLevel::Error,
                tracing::Level::WARN => LogLevel::Warn,
                tracing::Level::INFO => LogLevel::Info,
                _ => LogLevel::Debug,
            },
            message: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut record);
        record
    }

    /// As `slog.TextHandler` writes it, with the line feed.
    pub fn to_text(&self) -> String {
        text::line(self)
    }

    /// As `slog.JSONHandler` writes it, with the line feed.
    pub fn to_json(&self) -> String {
        json::line(self)
    }

    fn push(&mut self, field: &Field, value: FieldValue) {
        self.fields.push((field.name().to_owned(), value));
    }
}

impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.push(field, FieldValue::Str(value.to_owned()));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_str(field, &value.to_string());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, FieldValue::Signed(value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, FieldValue::Unsigned(value.into()));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.push(field, FieldValue::Signed(value));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.push(field, FieldValue::Unsigned(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, FieldValue::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, FieldValue::Bool(value));
    }
}
