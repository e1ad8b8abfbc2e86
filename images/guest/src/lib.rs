//! What the guest and the daemon say to each other.
//!
//! The binary of this crate is the one program of ours inside a container. This library is the part of
//! it that the daemon shares: [`frame`], the one encoding for everything that is recorded (the guest's
//! spool, the control connection and the daemon's journal all hold the same frames), and [`wire`], the
//! messages that travel in those frames. [`spool`] is here too, though only the guest runs it: the daemon's
//! tests hold its records against the journal's.

pub mod frame;
pub mod spool;
pub mod wire;
