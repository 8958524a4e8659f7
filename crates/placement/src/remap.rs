//! Another configuration at the place where an instance is already: whether the agent may take it, and which
//! of the ports that are held there serve it.

use crate::demand::is_met;
use peloton_model::job::PortConfig;
use peloton_model::{AgentRecord, JobConfig, PortSet};

/// Whether the agent meets the constraints that do not count instances. Those that do are left aside: the
/// instance is there already, and takes nobody's place by staying.
#[must_use]
pub fn permits(config: &JobConfig, agent: &AgentRecord) -> bool {
    config.placement.constraints.iter().all(|constraint| is_met(constraint, agent))
}

/// What is held for an instance already.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    /// The ports of the configuration that it has.
    pub config: &'a [PortConfig],
    /// Their numbers, in the same order.
    pub numbers: &'a [u16],
    /// All port numbers that are held for it.
    pub all: &'a [u16],
}

/// Ports for the configuration `wanted`, in its order: static ones as configured; a dynamic one keeps the
/// number that it had under its name, else takes a held one that nobody has, else the lowest of `free`. So
/// as little as can be is reserved anew. `None` where that is not enough.
#[must_use]
pub fn remap_ports(wanted: &[PortConfig], held: Held<'_>, free: &PortSet) -> Option<Vec<u16>> {
    let there = |port: u16| held.all.contains(&port) || free.contains(port);
    let mut chosen: Vec<Option<u16>> = Vec::with_capacity(wanted.len());
    for port in wanted {
        let number = u16::try_from(port.value).ok()?;
        let fixed = (number != 0).then_some(number);
        if fixed.is_some_and(|number| !there(number) || chosen.contains(&Some(number))) {
            return None;
        }
        chosen.push(fixed);
    }
    for (index, port) in wanted.iter().enumerate() {
        let known = held.config.iter().position(|old| old.name == port.name && old.value == 0);
        let number = known.and_then(|at| held.numbers.get(at)).copied();
        if chosen[index].is_none() && number.is_some_and(|n| !chosen.contains(&Some(n))) {
            chosen[index] = number.filter(|n| held.all.contains(n));
        }
    }
    for index in 0..chosen.len() {
        if chosen[index].is_none() {
            let mut candidates = held.all.iter().copied().chain(free.iter());
            let number = candidates.find(|number| !chosen.contains(&Some(*number)))?;
            chosen[index] = Some(number);
        }
    }
    chosen.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, value: u32) -> PortConfig {
        PortConfig { name: name.to_owned(), value, ..Default::default() }
    }

    #[test]
    fn names_keep_their_numbers_and_held_ones_are_used_before_free_ones() {
        let old = [port("a", 0), port("b", 0), port("s", 80)];
        let held = Held { config: &old, numbers: &[10, 11, 80], all: &[10, 11, 80] };
        let free: PortSet = [20, 21, 90].into_iter().collect();
        let remap = |wanted: &[PortConfig]| remap_ports(wanted, held, &free);
        assert_eq!(remap(&[port("b", 0), port("a", 0)]), Some(vec![11, 10]));
        assert_eq!(remap(&[port("new", 0), port("b", 0)]), Some(vec![10, 11]));
        assert_eq!(remap(&[port("a", 0), port("b", 0), port("c", 0)]), Some(vec![10, 11, 80]));
        let many: Vec<_> = (0..4).map(|i| port(&format!("n{i}"), 0)).collect();
        assert_eq!(remap(&many), Some(vec![10, 11, 80, 20]));
        assert_eq!(remap(&[port("s", 90), port("x", 10)]), Some(vec![90, 10]));
        assert_eq!(remap(&[port("s", 91)]), None);
        assert_eq!(remap(&(0..7).map(|i| port(&format!("n{i}"), 0)).collect::<Vec<_>>()), None);
        assert_eq!(remap(&[]), Some(vec![]));
    }
}
