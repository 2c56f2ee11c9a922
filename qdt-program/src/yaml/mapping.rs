//! The entries of a mapping: merge keys, duplicate keys and unknown keys.
//!
//! Anchors can be merged into each other again and again, also into themselves; the number of
//! merges that one reading follows is bounded, and so is what it costs.

use std::cell::{Cell, RefCell};

use super::nearest::nearest;
use super::scalar::{self, Tag, Value};
use super::tree::{Content, NodeId, Tree};
use super::{Warning, YamlError};

/// Merges followed at most. Real files have a handful; aliases of aliases could ask for billions.
const MAX_MERGES: usize = 1_000;

/// How deep merges may nest before they count as a cycle.
const MAX_MERGE_DEPTH: usize = 32;

/// What one pass over a tree shares.
pub(super) struct Reading<'t> {
    pub(super) tree: &'t Tree,
    warnings: RefCell<Vec<Warning>>,
    merges: Cell<usize>,
}

/// One field of one struct: a key, its line, its value.
pub(super) struct Entry {
    pub(super) key: String,
    line: usize,
    pub(super) value: NodeId,
}

impl<'t> Reading<'t> {
    pub(super) fn new(tree: &'t Tree) -> Self {
        let ignored = tree.ignored_from.map(|line| Warning {
            line: Some(line),
            key: String::new(),
            text: "everything from here on is ignored: the first document ends above; if that is not meant, look \
                   for a wrong indentation or a stray `---`"
                .to_owned(),
        });
        Self {
            tree,
            warnings: RefCell::new(ignored.into_iter().collect()),
            merges: Cell::new(0),
        }
    }

    /// What was ignored, in the order of the lines.
    pub(super) fn into_warnings(self) -> Vec<Warning> {
        let mut warnings = self.warnings.into_inner();
        warnings.sort_by_key(|warning| warning.line);
        warnings
    }

    pub(super) fn is_null(&self, id: NodeId) -> bool {
        match &self.tree.node(id).content {
            Content::Scalar { text, tag } => scalar::resolve(text, tag) == Ok(Value::Null),
            _ => false,
        }
    }

    /// The entries of a mapping with its merges resolved: its own come first and win, then those of
    /// the mapping or mappings under `<<`, earlier ones before later ones.
    pub(super) fn entries(&self, id: NodeId, path: &str) -> Result<Vec<Entry>, YamlError> {
        let mut entries = Vec::new();
        self.collect(id, path, 0, &mut entries)?;
        Ok(entries)
    }

    fn collect(
        &self,
        id: NodeId,
        path: &str,
        depth: usize,
        entries: &mut Vec<Entry>,
    ) -> Result<(), YamlError> {
        let node = self.tree.node(id);
        let Content::Mapping(pairs) = &node.content else {
            return Err(YamlError::at(
                node.line,
                path,
                "`<<` takes a mapping or a list of mappings",
            ));
        };
        self.merges.set(self.merges.get() + 1);
        if self.merges.get() > MAX_MERGES || depth > MAX_MERGE_DEPTH {
            return Err(YamlError::at(
                node.line,
                path,
                "too many merges, or an anchor that contains itself",
            ));
        }
        let mut own: Vec<(&str, usize)> = Vec::new();
        let mut merged = None;
        for (key, value) in pairs {
            let key_node = self.tree.node(*key);
            let (name, is_merge) = match &key_node.content {
                Content::Scalar { text, tag } => {
                    (text.as_str(), text == "<<" && *tag == Tag::Plain)
                }
                _ => {
                    let problem = "a key must be a single word, not a list or a mapping";
                    return Err(YamlError::at(key_node.line, path, problem));
                }
            };
            if let Some((_, first)) = own.iter().find(|(other, _)| *other == name) {
                let problem = format!("given twice, first on line {first}; remove one of the two");
                return Err(YamlError::at(key_node.line, &joined(path, name), problem));
            }
            own.push((name, key_node.line));
            if is_merge {
                merged = Some(*value);
            } else if !entries.iter().any(|entry| entry.key == name) {
                entries.push(Entry {
                    key: name.to_owned(),
                    line: key_node.line,
                    value: *value,
                });
            }
        }
        let Some(merged) = merged else { return Ok(()) };
        match &self.tree.node(merged).content {
            Content::Sequence(items) => items
                .iter()
                .try_for_each(|item| self.collect(*item, path, depth + 1, entries)),
            _ => self.collect(merged, path, depth + 1, entries),
        }
    }

    pub(super) fn warn_unknown(&self, path: &str, entry: &Entry, fields: &[&str]) {
        let text = match nearest(&entry.key, fields) {
            Some(meant) => format!(
                "unknown key, ignored; did you mean {}?",
                joined(path, meant)
            ),
            None => "unknown key, ignored; remove it or see the configuration reference".to_owned(),
        };
        let key = joined(path, &entry.key);
        self.warnings.borrow_mut().push(Warning {
            line: Some(entry.line),
            key,
            text,
        });
    }
}

/// `key` below `path`, with a dot between.
pub(super) fn joined(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
