//! Ports that stay reserved for a test, even while its server is down.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use crate::random::Random;

/// The first port. All are below the range that Linux uses for outgoing connections, so none of those
/// can take the port of a server that restarts. The bus port of a cluster node is 10000 above its port.
const FIRST: u16 = 10_000;
const BUS: u16 = 10_000;
const ATTEMPTS: usize = 1_000;

/// A reservation of a TCP port of 127.0.0.1, and of the port of the cluster bus.
///
/// It binds the UDP ports of the same numbers. Redis does not use them, only one process can bind each,
/// and the kernel releases them when the process ends in any way.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    _reserved: (UdpSocket, UdpSocket),
}

impl Port {
    /// Reserves a free port.
    ///
    /// # Panics
    ///
    /// If a thousand ports are all in use.
    pub(crate) fn reserve() -> Self {
        let mut random = Random::new();
        (0..ATTEMPTS)
            .find_map(|_| {
                let offset = random.below(u64::from(BUS));
                Self::at(FIRST + u16::try_from(offset).expect("the offset is below BUS"))
            })
            .expect("no free port of 127.0.0.1 in 10000..20000 with a free one 10000 above it")
    }

    fn at(number: u16) -> Option<Self> {
        let reserved = (udp(number)?, udp(number + BUS)?);
        let free = is_free(number) && is_free(number + BUS);
        free.then_some(Self { number, _reserved: reserved })
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    pub(crate) fn bus(&self) -> u16 {
        self.number + BUS
    }
}

fn udp(number: u16) -> Option<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()
}

fn is_free(number: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok()
}
