//! Finds the selectors in a PromQL expression: enough of the grammar for
//! dashboards and alert rules. Whether an expression is valid at all, the
//! running Prometheus says.

/// Words that are neither series nor functions.
const WORDS: [&str; 12] = [
    "and",
    "or",
    "unless",
    "bool",
    "offset",
    "group_left",
    "group_right",
    "by",
    "without",
    "on",
    "ignoring",
    "atan2",
];
/// Words that are followed by names of labels in parentheses.
const BEFORE_LABELS: [&str; 6] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];

/// A vector selector: `name` or `name{matchers}`, without range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selector {
    /// The series.
    pub(super) name: String,
    /// The whole selector as written.
    pub(super) text: String,
    /// The labels that its matchers name.
    pub(super) labels: Vec<String>,
}

/// Selectors and grouping labels of an expression.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// Selectors in their order.
    pub(super) selectors: Vec<Selector>,
    /// Labels in `by (...)` and the like.
    pub(super) grouping: Vec<String>,
}

/// Takes an expression apart.
pub(super) fn parts(expression: &str) -> Parts {
    let mut parts = Parts::default();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        if let '"' | '\'' | '`' = first {
            rest = after_string(rest);
        } else if first == '[' {
            rest = rest.split_once(']').map_or("", |(_, after)| after);
        } else if first.is_ascii_digit() {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
        } else if is_name(first) {
            let (name, after) = rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len()));
            let after = after.trim_start();
            if BEFORE_LABELS.contains(&name) && after.starts_with('(') {
                let (labels, behind) = after[1..].split_once(')').unwrap_or((&after[1..], ""));
                let labels = labels
                    .split(',')
                    .map(str::trim)
                    .filter(|label| !label.is_empty());
                parts.grouping.extend(labels.map(str::to_owned));
                rest = behind;
            } else {
                rest = after;
                if !WORDS.contains(&name) && !after.starts_with('(') && !groups(after) {
                    let (selector, behind) = selector(name, after);
                    parts.selectors.push(selector);
                    rest = behind;
                }
            }
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    parts
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// Whether a grouping stands here, as behind the `sum` of `sum by (label) (...)`.
fn groups(text: &str) -> bool {
    ["by", "without"].iter().any(|word| {
        let behind = text.strip_prefix(word);
        behind.is_some_and(|behind| behind.trim_start().starts_with('('))
    })
}

/// The selector that begins with `name`, and the text after it.
fn selector<'text>(name: &str, after: &'text str) -> (Selector, &'text str) {
    let mut selector = Selector {
        name: name.to_owned(),
        text: name.to_owned(),
        labels: Vec::new(),
    };
    let Some(inside) = after.strip_prefix('{') else {
        return (selector, after);
    };
    let mut rest = inside;
    let mut label = String::new();
    while let Some(first) = rest.chars().next() {
        if first == '}' {
            break;
        }
        if let '"' | '\'' | '`' = first {
            selector.labels.push(std::mem::take(&mut label));
            rest = after_string(rest);
            continue;
        }
        if is_name(first) {
            label.push(first);
        }
        rest = &rest[first.len_utf8()..];
    }
    let matchers = &inside[..inside.len() - rest.len()];
    selector.text = format!("{name}{{{matchers}}}");
    (selector, rest.strip_prefix('}').unwrap_or(rest))
}

/// The text after the string that `text` begins with.
fn after_string(text: &str) -> &str {
    let quote = text.chars().next().unwrap_or('"');
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            c if c == quote => return &text[at + 1..],
            _ => {}
        }
    }
    ""
}
