//! The first document of a YAML text as nodes that know their lines.
//!
//! Nodes live in one vector and name each other by index; an alias is the index of its anchor's
//! node. So the tree is never larger than the text, however often an anchor is used, and it may
//! even contain a cycle: code that walks it must count steps.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, StructureStyle};

use super::YamlError;
use super::scalar::Tag;

/// Index of a node.
pub(super) type NodeId = usize;

/// One node and the line it starts on, from 1.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Scalar { text: String, tag: Tag },
    Sequence(Vec<NodeId>),
    Mapping(Vec<(NodeId, NodeId)>),
}

/// The first document of a text; without a root it is empty.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    pub(super) root: Option<NodeId>,
    /// The line after the first document where something else begins.
    pub(super) ignored_from: Option<usize>,
}

impl Tree {
    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// Parses up to the end of the first document.
    pub(super) fn parse(text: &str) -> Result<Self, YamlError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        refuse_control_characters(text)?;
        let mut builder = Builder::default();
        let mut events = Parser::new_from_str(text);
        for event in events.by_ref() {
            // The parser's own message may quote the text, and a token may be part of it: only its
            // kind is told.
            let (event, span) = event.map_err(|error| {
                YamlError::at(
                    error.marker().line(),
                    "",
                    format!(
                        "not valid YAML: {}; check indentation, colons and quotes around this line",
                        error.info()
                    ),
                )
            })?;
            let line = span.start.line();
            if event.is_node() && !builder.in_flow() {
                refuse_tab_indentation(text, span.start.byte_offset().unwrap_or(0), line)?;
            }
            match event {
                Event::Scalar(text, style, anchor, tag) => {
                    let tag = scalar_tag(style, tag.as_deref());
                    let text = text.into_owned();
                    builder.open(line, Content::Scalar { text, tag }, anchor);
                }
                Event::SequenceStart(style, anchor, _) => {
                    let id = builder.open(line, Content::Sequence(Vec::new()), anchor);
                    builder.enter(id, style);
                }
                Event::MappingStart(style, anchor, _) => {
                    let id = builder.open(line, Content::Mapping(Vec::new()), anchor);
                    builder.enter(id, style);
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    builder.open_collections.pop();
                }
                Event::Alias(anchor) => {
                    let id = *builder.anchors.get(&anchor).ok_or_else(|| {
                        YamlError::at(line, "", "an alias names an anchor that is not defined")
                    })?;
                    builder.attach(id);
                }
                Event::DocumentEnd => break,
                _ => {}
            }
        }
        // Whatever stands there need not even be YAML.
        let ignored_from = events.next().and_then(|event| match event {
            Ok((Event::StreamEnd, _)) => None,
            Ok((_, span)) => Some(span.start.line()),
            Err(error) => Some(error.marker().line()),
        });
        Ok(Self {
            nodes: builder.nodes,
            root: builder.root,
            ignored_from,
        })
    }
}

/// `yaml.v3` refuses them anywhere, and none belongs into a configuration.
fn refuse_control_characters(text: &str) -> Result<(), YamlError> {
    let allowed = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    match text.find(|c: char| !allowed(c)) {
        None => Ok(()),
        Some(at) => {
            let line = 1 + text[..at].matches('\n').count();
            Err(YamlError::at(
                line,
                "",
                "control characters are not allowed; is this a text file?",
            ))
        }
    }
}

/// The parser below takes a tab for white space; `yaml.v3` refuses it as indentation, as YAML
/// always has (section 6.1), because its depth is not visible.
fn refuse_tab_indentation(text: &str, node: usize, line: usize) -> Result<(), YamlError> {
    let before = &text[..node];
    let indentation = &before[before.rfind(['\n', '\r']).map_or(0, |at| at + 1)..];
    if indentation.contains('\t') && indentation.trim().is_empty() {
        return Err(YamlError::at(line, "", "indented with a tab; use spaces"));
    }
    Ok(())
}

fn scalar_tag(style: ScalarStyle, tag: Option<&granit_parser::Tag>) -> Tag {
    let unmarked = if style == ScalarStyle::Plain {
        Tag::Plain
    } else {
        Tag::Str
    };
    let Some(tag) = tag else { return unmarked };
    let (handle, suffix) = tag.parts();
    let full = format!("{handle}{suffix}");
    match full.strip_prefix("tag:yaml.org,2002:") {
        Some("str") => Tag::Str,
        Some("binary") => Tag::Binary,
        Some(name) => Tag::Explicit(format!("!!{name}")),
        None if full == "!" => unmarked,
        None => Tag::Explicit(full),
    }
}

/// Puts nodes into the collection that is open.
#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    root: Option<NodeId>,
    anchors: HashMap<usize, NodeId>,
    /// The collections not yet ended, innermost last.
    open_collections: Vec<OpenCollection>,
}

struct OpenCollection {
    id: NodeId,
    style: StructureStyle,
    /// The key of a mapping whose value is due.
    key: Option<NodeId>,
}

impl Builder {
    fn open(&mut self, line: usize, content: Content, anchor: usize) -> NodeId {
        let id = self.nodes.len();
        self.nodes.push(Node { line, content });
        if anchor != 0 {
            self.anchors.insert(anchor, id);
        }
        self.attach(id);
        id
    }

    fn enter(&mut self, id: NodeId, style: StructureStyle) {
        self.open_collections.push(OpenCollection {
            id,
            style,
            key: None,
        });
    }

    /// Whether brackets or braces are open: indentation means nothing inside.
    fn in_flow(&self) -> bool {
        self.open_collections
            .last()
            .is_some_and(|open| open.style == StructureStyle::Flow)
    }

    fn attach(&mut self, id: NodeId) {
        let Some(OpenCollection {
            id: parent, key, ..
        }) = self.open_collections.last_mut()
        else {
            self.root = Some(id);
            return;
        };
        match &mut self.nodes[*parent].content {
            Content::Sequence(items) => items.push(id),
            Content::Mapping(entries) => match key.take() {
                None => *key = Some(id),
                Some(key) => entries.push((key, id)),
            },
            Content::Scalar { .. } => unreachable!("only collections are opened"),
        }
    }
}
