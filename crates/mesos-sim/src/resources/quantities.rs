//! Sums of scalars by name, whatever they are reserved for.

use super::{Name, Resources, Shape};

/// Thousandths of scalars by name. Fair shares are calculated on these.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quantities {
    /// Sorted by name, without zeros.
    entries: Vec<(Name, i64)>,
}

impl Quantities {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// From names and units: `[("cpus", 0.01)]`.
    #[must_use]
    pub fn of(quantities: &[(&str, f64)]) -> Self {
        let mut result = Self::new();
        for (name, units) in quantities {
            result.change(&Name::from(*name), super::Value::thousandths(*units));
        }
        result
    }

    /// Of all scalars among resources; copies of a shared one count once.
    #[must_use]
    pub fn of_scalars(resources: &Resources) -> Self {
        let mut result = Self::new();
        for resource in resources {
            if resource.kind().shape() == Shape::Scalar {
                result.change(resource.kind().name(), resource.value().quantity());
            }
        }
        result
    }

    /// Each name and its thousandths.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, i64)> {
        self.entries.iter().map(|(name, value)| (name, *value))
    }

    /// Thousandths of one name.
    #[must_use]
    pub fn get(&self, name: &Name) -> i64 {
        self.entries.iter().find(|entry| entry.0 == *name).map_or(0, |entry| entry.1)
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        other.iter().for_each(|(name, value)| self.change(name, value));
    }

    /// Takes away another.
    pub fn subtract(&mut self, other: &Self) {
        other.iter().for_each(|(name, value)| self.change(name, -value));
    }

    fn change(&mut self, name: &Name, by: i64) {
        match self.entries.binary_search_by(|entry| entry.0.cmp(name)) {
            Ok(at) => {
                if let Some(entry) = self.entries.get_mut(at) {
                    entry.1 += by;
                    if entry.1 == 0 {
                        self.entries.remove(at);
                    }
                }
            }
            Err(_) if by == 0 => {}
            Err(at) => self.entries.insert(at, (name.clone(), by)),
        }
    }
}

impl Resources {
    /// Whether there is at least so much of each name; ranges and sets count their members.
    #[must_use]
    pub fn contains_quantities(&self, quantities: &Quantities) -> bool {
        quantities.iter().all(|(name, wanted)| {
            let of_name = self.iter().filter(|resource| resource.kind().name() == name);
            of_name.fold(0i64, |sum, one| sum.saturating_add(one.value().quantity())) >= wanted
        })
    }
}
