//! Ports that no other test takes, while its server runs and while it is down.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use crate::random::Random;

/// Below what Linux gives to outgoing connections: one of those must not sit on the port of a
/// server that is about to start again. The bus of a cluster's node is as far above its port.
const FIRST: u16 = 10_000;
const BUS: u16 = 10_000;
const ATTEMPTS: usize = 1_000;

/// Reserves a TCP port of 127.0.0.1, and the one of the cluster bus.
///
/// The UDP ports of the same numbers are held meanwhile. Redis has no use for them, one process
/// alone can hold one, and the kernel frees it however the process ends.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    _reserved: (UdpSocket, UdpSocket),
}

impl Port {
    /// # Panics
    ///
    /// If a thousand numbers are all taken.
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
        let free = listens_nobody(number) && listens_nobody(number + BUS);
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

fn listens_nobody(number: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok()
}
