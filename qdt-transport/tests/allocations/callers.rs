//! The crate that an allocation belongs to: that of the innermost function on the stack outside
//! container libraries, because a vector grows for its caller.

use std::collections::{BTreeMap, HashMap};
use std::ffi::c_void;
use std::path::Path;

use crate::counting::Stack;

/// Crates that allocate on behalf of their callers.
const CONTAINERS: &[&str] = &["bytes", "hashbrown", "slab", "smallvec", "backtrace"];

/// The number of allocations, by crate and by place in it.
pub(crate) type ByCrate = BTreeMap<String, BTreeMap<String, u64>>;

/// Resolves the recorded stacks.
pub(crate) fn by_crate(recorded: &HashMap<Stack, u64>) -> ByCrate {
    let mut allocations = ByCrate::new();
    for (stack, count) in recorded {
        let (owner, site) = owner(stack);
        *allocations
            .entry(owner)
            .or_default()
            .entry(site)
            .or_default() += count;
    }
    allocations
}

/// Returns the crate that allocated, and where.
fn owner(stack: &Stack) -> (String, String) {
    let mut found = None;
    for ip in stack.iter().take_while(|ip| **ip != 0) {
        // A return address is that of the instruction after the call.
        let call = (ip - 1) as *mut c_void;
        backtrace::resolve(call, |symbol| {
            // Inlined functions come first, innermost first.
            if found.is_none()
                && let (Some(file), Some(name)) = (symbol.filename(), symbol.name())
                && let Some(owner) = crate_of(file)
            {
                let file = file.file_name().unwrap_or_default().to_string_lossy();
                let line = symbol.lineno().unwrap_or(0);
                found = Some((owner, format!("{name:#} ({file}:{line})")));
            }
        });
        if found.is_some() {
            break;
        }
    }
    found.unwrap_or_else(|| ("std".into(), "no other crate".into()))
}

/// Returns the crate of a source file; `None` for the standard library, containers, and this test.
fn crate_of(file: &Path) -> Option<String> {
    let parts: Vec<_> = file.iter().map(|part| part.to_string_lossy()).collect();
    if parts.iter().any(|part| part == "rustc" || part == "tests") {
        return None;
    }
    let source = parts.iter().rposition(|part| part == "src")?;
    let folder = parts.get(source.checked_sub(1)?)?;
    // Folders of the registry end with the version.
    let name = match folder.rsplit_once('-') {
        Some((name, version)) if version.starts_with(|first: char| first.is_ascii_digit()) => name,
        _ => folder,
    };
    (!CONTAINERS.contains(&name) && name != "std").then(|| name.to_owned())
}
