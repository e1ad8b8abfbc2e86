//! Brings `lo` up: Docker has done it, a fresh network namespace of the local engine has not.

use std::{io, net::UdpSocket, os::fd::AsRawFd};

use nix::libc;

/// Sets `IFF_UP` on `lo`, if it is not set. Fails without the right to, which matters only if it was down.
#[expect(unsafe_code, reason = "interface flags are reached by ioctl alone")]
pub fn up() -> io::Result<()> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    // SAFETY: all-zero is a value of this plain C structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    // SAFETY: both calls take a pointer to an ifreq that outlives them; the first writes the flags that
    // are then read from the union.
    unsafe {
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &mut request) < 0 {
            return Err(io::Error::last_os_error());
        }
        let up = libc::IFF_UP as libc::c_short;
        if request.ifr_ifru.ifru_flags & up != 0 {
            return Ok(());
        }
        request.ifr_ifru.ifru_flags |= up;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
