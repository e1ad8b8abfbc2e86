//! What the guest and the daemon say to each other.
//!
//! The binary of this crate is the one program of ours inside a container. This library is the part of
//! it that the daemon shares: [`frame`], the one encoding for everything that is recorded (the guest's
//! spool, the control connection and the daemon's journal all hold the same frames), and [`wire`], the
//! messages that travel in those frames. [`spool`] is here too, though only the guest runs it: the daemon's
//! tests hold its records against the journal's.

/// Says something on stderr. What the container's engine does with it is its affair: where it goes to a disk
/// that is full, `eprintln!` would panic.
#[macro_export]
macro_rules! complain {
    ($($said:tt)*) => {
        std::io::Write::write_all(&mut std::io::stderr(), format!("{}\n", format_args!($($said)*)).as_bytes())
            .unwrap_or_default()
    };
}

pub mod frame;
pub mod spool;
pub mod wire;
