//! Comparison of desired routes and rules with those of the kernel.
//!
//! The kernel lists every attribute of a request and adds its own, so a route or rule is present
//! when the listed message contains all parts of the desired one.

use rtnetlink::packet_route::{
    route::{RouteAttribute, RouteMessage},
    rule::RuleMessage,
};

/// Returns whether `listed`, a message of the kernel, is the route `desired`.
pub(super) fn is_route(desired: &RouteMessage, listed: &RouteMessage) -> bool {
    let (ours, theirs) = (&desired.header, &listed.header);
    // `header.table` holds small numbers only; ours is an attribute. The kernel lists no
    // destination of a default route.
    let matters = |attribute: &&RouteAttribute| {
        ours.destination_prefix_length > 0 || !matches!(attribute, RouteAttribute::Destination(_))
    };
    (ours.address_family, ours.destination_prefix_length)
        == (theirs.address_family, theirs.destination_prefix_length)
        && (ours.protocol, ours.scope, ours.kind) == (theirs.protocol, theirs.scope, theirs.kind)
        && desired
            .attributes
            .iter()
            .filter(matters)
            .all(|attribute| listed.attributes.contains(attribute))
}

/// Returns whether `listed`, a message of the kernel, is the rule `desired`.
pub(super) fn is_rule(desired: &RuleMessage, listed: &RuleMessage) -> bool {
    let (ours, theirs) = (&desired.header, &listed.header);
    (ours.family, ours.action, ours.tos) == (theirs.family, theirs.action, theirs.tos)
        && (ours.src_len, ours.dst_len) == (theirs.src_len, theirs.dst_len)
        && ours.flags == theirs.flags
        && desired
            .attributes
            .iter()
            .all(|attribute| listed.attributes.contains(attribute))
}
