//! A set of ports as sorted, disjoint, inclusive ranges: how Mesos offers them.

use serde::{Deserialize, Serialize};

/// Ports, as sorted, disjoint and not adjacent inclusive ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PortSet(Vec<(u16, u16)>);

impl PortSet {
    /// Makes a set of ranges in any order; those with `from > to` are empty.
    #[must_use]
    pub fn from_ranges(ranges: impl IntoIterator<Item = (u16, u16)>) -> Self {
        let mut all: Vec<_> = ranges.into_iter().filter(|(from, to)| from <= to).collect();
        all.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(all.len());
        for (from, to) in all {
            match merged.last_mut() {
                Some(last) if u32::from(from) <= u32::from(last.1) + 1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        Self(merged)
    }

    /// The ranges, sorted, disjoint, inclusive.
    #[must_use]
    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.0
    }

    /// How many ports.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|(from, to)| usize::from(to - from) + 1).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a port is in the set.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        let after = self.0.partition_point(|(from, _)| *from <= port);
        after.checked_sub(1).is_some_and(|i| port <= self.0[i].1)
    }

    /// Takes a port out; whether it was there.
    pub fn remove(&mut self, port: u16) -> bool {
        let after = self.0.partition_point(|(from, _)| *from <= port);
        let Some(i) = after.checked_sub(1).filter(|i| port <= self.0[*i].1) else { return false };
        let (from, to) = self.0[i];
        let left = (from < port).then(|| (from, port - 1));
        let right = (port < to).then(|| (port + 1, to));
        self.0.splice(i..=i, left.into_iter().chain(right));
        true
    }

    /// Puts ports in.
    pub fn extend(&mut self, ranges: impl IntoIterator<Item = (u16, u16)>) {
        let all: Vec<_> = self.0.drain(..).chain(ranges).collect();
        *self = Self::from_ranges(all);
    }

    /// Every port, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().flat_map(|(from, to)| *from..=*to)
    }
}

impl FromIterator<u16> for PortSet {
    fn from_iter<T: IntoIterator<Item = u16>>(ports: T) -> Self {
        Self::from_ranges(ports.into_iter().map(|p| (p, p)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_merge_and_split() {
        let mut ports = PortSet::from_ranges([(10, 12), (5, 4), (13, 20), (65535, 65535)]);
        assert_eq!(ports.ranges(), [(10, 20), (65535, 65535)]);
        assert!(ports.remove(15) && !ports.remove(15) && ports.remove(10) && ports.remove(65535));
        assert_eq!(ports.ranges(), [(11, 14), (16, 20)]);
        assert_eq!((ports.len(), ports.contains(15), ports.contains(16)), (9, false, true));
        ports.extend([(15, 15)]);
        assert_eq!(ports.ranges(), [(11, 20)]);
    }
}
