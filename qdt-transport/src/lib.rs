//! The packet worker: one thread that drives QUIC, TUN and timers.
