"""A QDT client on aioquic, written from the documented protocol and from nothing of the Rust programs.

It exists to disagree: a second stack for QUIC, HTTP/3, the key schedule and the datagrams, so that a mistake that the
server and its own tests share does not pass for the protocol. What holds in all of it: nothing here touches a network
interface, inner packets are made and read in memory, and whatever is not as the protocol says is an exception.
"""
