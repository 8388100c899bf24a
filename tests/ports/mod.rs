//! Ports for servers under test.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the ports that the system itself hands out (from 32768 on Linux, by default): what asks for
/// any port, as each client does, does not get one that a server is about to use, or will use again.
const PORTS: std::ops::Range<u32> = 10_000..32_000;

/// A port that nobody uses at this moment, for TCP and for UDP; each time another one.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Test programs that run at the same time begin at different places.
    let begin = std::process::id().wrapping_mul(61);
    let is_free = |port: &u16| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()
            && UdpSocket::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()
    };
    PORTS
        .map(|_| begin.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)))
        .map(|number| PORTS.start + number % (PORTS.end - PORTS.start))
        .map(|port| u16::try_from(port).unwrap())
        .find(is_free)
        .expect("a free port")
}
