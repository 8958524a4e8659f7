//! The ports of an instance: static ones by number, dynamic ones from what is free.
//!
//! Dynamic ports are the lowest free ones. That is deterministic and keeps the free ports in few
//! ranges, which every check and every message to Mesos walks through; the price is that a port
//! freed just now is soon used again.

use peloton_model::PortSet;
use peloton_model::job::PortConfig;

/// The ports that one instance needs.
pub(crate) struct PortNeed {
    /// In the order of the configuration; `None` is dynamic.
    wanted: Vec<Option<u16>>,
    fixed: Vec<u16>,
    /// False where a number is no port or is there twice: no agent can give that.
    possible: bool,
}

impl PortNeed {
    pub(crate) fn new(ports: &[PortConfig]) -> Self {
        let number = |port: &PortConfig| match port.value {
            0 => Ok(None),
            value => u16::try_from(value).map(Some),
        };
        let Ok(wanted) = ports.iter().map(number).collect::<Result<Vec<_>, _>>() else {
            return Self { wanted: Vec::new(), fixed: Vec::new(), possible: false };
        };
        let mut fixed: Vec<u16> = wanted.iter().copied().flatten().collect();
        fixed.sort_unstable();
        let possible = fixed.windows(2).all(|pair| pair[0] != pair[1]);
        Self { wanted, fixed, possible }
    }

    /// Whether one instance's ports are free.
    pub(crate) fn fits(&self, free: &PortSet) -> bool {
        self.possible
            && (self.wanted.is_empty()
                || self.fixed.iter().all(|port| free.contains(*port))
                    && free.len() >= self.wanted.len())
    }

    /// Takes one instance's ports, which must be free, in the order of the configuration.
    pub(crate) fn take(&self, free: &mut PortSet) -> Vec<u16> {
        if self.wanted.is_empty() {
            return Vec::new();
        }
        for port in &self.fixed {
            free.remove(*port);
        }
        let dynamic = self.wanted.len() - self.fixed.len();
        let lowest: Vec<u16> = free.iter().take(dynamic).collect();
        for port in &lowest {
            free.remove(*port);
        }
        let mut lowest = lowest.into_iter();
        self.wanted.iter().filter_map(|port| port.or_else(|| lowest.next())).collect()
    }
}
