//! The serde deserializer over YAML nodes.

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
    value::StrDeserializer,
};
use serde::forward_to_deserialize_any;

use super::mapping::{Entry, Reading, joined};
use super::scalar::{self, Value};
use super::tree::{Content, NodeId, Tree};
use super::{Warning, YamlError};
use crate::duration;

/// Reads the whole tree into `T`.
pub(super) fn deserialize<T: DeserializeOwned>(
    tree: &Tree,
) -> Result<(T, Vec<Warning>), YamlError> {
    let reading = Reading::new(tree);
    let root = NodeReader {
        reading: &reading,
        node: tree.root,
        key: String::new(),
    };
    let value = T::deserialize(root)?;
    Ok((value, reading.into_warnings()))
}

/// One node as a serde deserializer. No node at all is an empty document.
struct NodeReader<'r, 't> {
    reading: &'r Reading<'t>,
    node: Option<NodeId>,
    key: String,
}

impl<'t> NodeReader<'_, 't> {
    fn line(&self) -> usize {
        self.node.map_or(1, |id| self.reading.tree.node(id).line)
    }

    fn error(&self, problem: impl Into<String>) -> YamlError {
        YamlError::at(self.line(), &self.key, problem)
    }

    /// Says what stands there instead of `wanted`. A value is quoted only where the key takes no
    /// text.
    fn mismatch(&self, wanted: &str) -> YamlError {
        let found = match self.node.map(|id| &self.reading.tree.node(id).content) {
            None => "nothing".to_owned(),
            Some(Content::Sequence(_)) => "a list".to_owned(),
            Some(Content::Mapping(_)) => "a mapping".to_owned(),
            Some(Content::Scalar { text, tag }) if !self.key.is_empty() => {
                let kind = scalar::resolve(text, tag).map_or("!!str", |value| value.kind());
                let mut shown: String = text.chars().take(24).collect();
                if shown.len() < text.len() {
                    shown.push_str("...");
                }
                format!("{kind} `{}`", shown.escape_debug())
            }
            Some(Content::Scalar { .. }) => "a single word".to_owned(),
        };
        self.error(format!("found {found} where {wanted} is needed"))
    }

    fn scalar(&self, wanted: &str) -> Result<(&'t str, Value), YamlError> {
        match self.node.map(|id| &self.reading.tree.node(id).content) {
            Some(Content::Scalar { text, tag }) => {
                let value = scalar::resolve(text, tag).map_err(|problem| self.error(problem))?;
                Ok((text, value))
            }
            _ => Err(self.mismatch(wanted)),
        }
    }

    fn integer(&self) -> Result<i64, YamlError> {
        let wanted = "a whole number without quotes";
        let (_, value) = self.scalar(wanted)?;
        scalar::as_integer(&value).ok_or_else(|| self.mismatch(wanted))
    }

    /// Adds line and key to an error of a visitor, which knows neither.
    fn located<V>(&self, result: Result<V, YamlError>) -> Result<V, YamlError> {
        result.map_err(|error| match error.line {
            Some(_) => error,
            None => self.error(error.problem),
        })
    }
}

const A_LIST: &str = "a list, such as [1.1.1.1, 9.9.9.9],";
const A_MAPPING: &str = "a mapping of keys to values";
const A_TEXT: &str = "a text";

impl<'de> Deserializer<'de> for NodeReader<'_, '_> {
    type Error = YamlError;

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        let wanted = "true or false without quotes";
        let (text, value) = self.scalar(wanted)?;
        let truth = scalar::as_boolean(&value, text).ok_or_else(|| self.mismatch(wanted))?;
        visitor.visit_bool(truth)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        let number = self.integer()?;
        self.located(visitor.visit_i64(number))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        let (text, value) = self.scalar(A_TEXT)?;
        match value {
            Value::Null => self.located(visitor.visit_str("")),
            Value::Bytes(bytes) => {
                let text = String::from_utf8(bytes).map_err(|_| {
                    self.error("the bytes of this !!binary value are not UTF-8 text")
                })?;
                self.located(visitor.visit_string(text))
            }
            _ => self.located(visitor.visit_str(text)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        let (text, value) = self.scalar(A_TEXT)?;
        match value {
            Value::Null => self.located(visitor.visit_bytes(b"")),
            Value::Bytes(bytes) => self.located(visitor.visit_bytes(&bytes)),
            _ => self.located(visitor.visit_bytes(text.as_bytes())),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, YamlError> {
        if name != duration::YAML_TYPE {
            return visitor.visit_newtype_struct(self);
        }
        // A bare number is refused although `0` would be a duration: its unit is unknown.
        let wanted = "a duration with a unit, such as 90s, 2m or 1h30m,";
        match self.scalar(wanted)? {
            (text, Value::Str) => self.located(visitor.visit_str(text)),
            _ => Err(self.mismatch(wanted)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        match self.node {
            Some(id) if !self.reading.is_null(id) => visitor.visit_some(self),
            _ => visitor.visit_none(),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        match self.node.map(|id| &self.reading.tree.node(id).content) {
            Some(Content::Sequence(items)) => {
                let items = items.iter();
                visitor.visit_seq(Items {
                    reading: self.reading,
                    items,
                    key: &self.key,
                })
            }
            _ => Err(self.mismatch(A_LIST)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, YamlError> {
        let entries = match self.node {
            None => Vec::new(),
            Some(id) if self.reading.is_null(id) => Vec::new(),
            Some(id) => match self.reading.tree.node(id).content {
                Content::Mapping(_) => self.reading.entries(id, &self.key)?,
                _ => return Err(self.mismatch(A_MAPPING)),
            },
        };
        let (known, unknown): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .partition(|entry| fields.contains(&entry.key.as_str()));
        for entry in &unknown {
            self.reading.warn_unknown(&self.key, entry, fields);
        }
        let known: Vec<_> = known
            .into_iter()
            .filter(|e| !self.reading.is_null(e.value))
            .collect();
        visitor.visit_map(Fields {
            reading: self.reading,
            entries: known.into_iter(),
            value: None,
            path: &self.key,
        })
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, YamlError> {
        Err(YamlError::custom(
            "a configuration field of an unsupported type",
        ))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u32 u64 u128 f32 f64 char byte_buf unit unit_struct tuple
        tuple_struct map enum identifier
    }
}

/// The fields of a struct that are present and not null.
struct Fields<'r, 't> {
    reading: &'r Reading<'t>,
    entries: std::vec::IntoIter<Entry>,
    value: Option<Entry>,
    path: &'r str,
}

impl<'de> MapAccess<'de> for Fields<'_, '_> {
    type Error = YamlError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, YamlError> {
        self.value = self.entries.next();
        let Some(entry) = &self.value else {
            return Ok(None);
        };
        seed.deserialize(StrDeserializer::<YamlError>::new(&entry.key))
            .map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, YamlError> {
        let entry = self
            .value
            .take()
            .expect("serde asks for a value after its key");
        let key = joined(self.path, &entry.key);
        seed.deserialize(NodeReader {
            reading: self.reading,
            node: Some(entry.value),
            key,
        })
    }
}

/// The items of a list.
struct Items<'r, 't> {
    reading: &'r Reading<'t>,
    items: std::slice::Iter<'r, NodeId>,
    key: &'r str,
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = YamlError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, YamlError> {
        // A null is not an item, as in Go.
        let Some(id) = self.items.find(|id| !self.reading.is_null(**id)) else {
            return Ok(None);
        };
        let key = self.key.to_owned();
        seed.deserialize(NodeReader {
            reading: self.reading,
            node: Some(*id),
            key,
        })
        .map(Some)
    }
}
