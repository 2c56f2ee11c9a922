//! Whether the kernel has a route or a rule as it was written.
//!
//! The kernel gives back everything it was told and adds what it knows besides, so a message is
//! there when every part of it is found again.

use rtnetlink::packet_route::{
    route::{RouteAttribute, RouteMessage},
    rule::RuleMessage,
};

/// Whether `present`, as the kernel lists it, is the route `wanted`.
pub(super) fn is_there(wanted: &RouteMessage, present: &RouteMessage) -> bool {
    let (ours, theirs) = (&wanted.header, &present.header);
    // The table's number is an attribute; the header has room for the small ones only. The
    // destination of a default route is not given back.
    let matters = |attribute: &&RouteAttribute| {
        ours.destination_prefix_length > 0 || !matches!(attribute, RouteAttribute::Destination(_))
    };
    (ours.address_family, ours.destination_prefix_length)
        == (theirs.address_family, theirs.destination_prefix_length)
        && (ours.protocol, ours.scope, ours.kind) == (theirs.protocol, theirs.scope, theirs.kind)
        && wanted
            .attributes
            .iter()
            .filter(matters)
            .all(|attribute| present.attributes.contains(attribute))
}

/// Whether `present`, as the kernel lists it, is the rule `wanted`.
pub(super) fn rule_is_there(wanted: &RuleMessage, present: &RuleMessage) -> bool {
    let (ours, theirs) = (&wanted.header, &present.header);
    (ours.family, ours.action, ours.tos) == (theirs.family, theirs.action, theirs.tos)
        && (ours.src_len, ours.dst_len) == (theirs.src_len, theirs.dst_len)
        && ours.flags == theirs.flags
        && wanted
            .attributes
            .iter()
            .all(|attribute| present.attributes.contains(attribute))
}
