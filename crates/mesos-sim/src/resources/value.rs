//! Quantities: numbers with three decimals, ranges and sets.

use std::fmt;
use std::sync::Arc;

/// Thousandths in one unit of a scalar: Mesos calculates with three decimals.
pub const UNIT: i64 = 1_000;

/// How much of a resource. Ranges are sorted, disjoint and not adjacent, sets sorted and without
/// repetition, so equal quantities are equal values. Both are shared between clones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Thousandths of a unit.
    Scalar(i64),
    /// First and last of each range, both included.
    Ranges(Arc<[(u64, u64)]>),
    /// Items.
    Set(Arc<[Arc<str>]>),
}

impl Value {
    /// Thousandths of a scalar as the protocol has it, rounded to the nearest.
    #[must_use]
    pub fn thousandths(value: f64) -> i64 {
        (value * 1_000.0).round() as i64
    }

    /// Ranges from any order, joined where they overlap or touch. Inverted ones are left out.
    #[must_use]
    pub fn ranges(ranges: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut sorted: Vec<_> = ranges.into_iter().filter(|(first, last)| first <= last).collect();
        sorted.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match joined.last_mut() {
                Some(previous) if first <= previous.1.saturating_add(1) => {
                    previous.1 = previous.1.max(last);
                }
                _ => joined.push((first, last)),
            }
        }
        Self::Ranges(joined.into())
    }

    /// A set from any order.
    #[must_use]
    pub fn set(items: impl IntoIterator<Item = Arc<str>>) -> Self {
        let mut sorted: Vec<Arc<str>> = items.into_iter().collect();
        sorted.sort_unstable();
        sorted.dedup();
        Self::Set(sorted.into())
    }

    /// True of nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Scalar(value) => *value == 0,
            Self::Ranges(ranges) => ranges.is_empty(),
            Self::Set(items) => items.is_empty(),
        }
    }

    /// Thousandths of a scalar, of how many numbers are in the ranges, or of how many items.
    #[must_use]
    pub fn quantity(&self) -> i64 {
        let count = match self {
            Self::Scalar(value) => return *value,
            Self::Ranges(ranges) => ranges.iter().fold(0, |sum: u64, (first, last)| {
                sum.saturating_add((last - first).saturating_add(1))
            }),
            Self::Set(items) => items.len() as u64,
        };
        i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(UNIT)
    }

    /// Whether all of `other` is in this. Values of different types never are.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Scalar(all), Self::Scalar(part)) => part <= all,
            (Self::Ranges(all), Self::Ranges(part)) => part.iter().all(|(first, last)| {
                let at = all.partition_point(|range| range.1 < *first);
                all.get(at).is_some_and(|range| range.0 <= *first && *last <= range.1)
            }),
            (Self::Set(all), Self::Set(part)) => {
                part.iter().all(|item| all.binary_search(item).is_ok())
            }
            _ => false,
        }
    }

    /// Adds a value of the same type; one of another type changes nothing.
    pub(super) fn add(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Scalar(all), Self::Scalar(more)) => *all = all.saturating_add(*more),
            (Self::Ranges(all), Self::Ranges(more)) => {
                *self = Self::ranges(all.iter().chain(more.iter()).copied());
            }
            (Self::Set(all), Self::Set(more)) => {
                *self = Self::set(all.iter().chain(more.iter()).cloned());
            }
            _ => {}
        }
    }

    /// Takes away what is there of `other`; a scalar may become negative.
    pub(super) fn subtract(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Scalar(all), Self::Scalar(less)) => *all = all.saturating_sub(*less),
            (Self::Ranges(all), Self::Ranges(less)) => *self = Self::Ranges(without(all, less)),
            (Self::Set(all), Self::Set(less)) => {
                let left = all.iter().filter(|item| less.binary_search(item).is_err());
                *self = Self::Set(left.cloned().collect());
            }
            _ => {}
        }
    }
}

/// The numbers of `all` that are not in `less`.
fn without(all: &[(u64, u64)], less: &[(u64, u64)]) -> Arc<[(u64, u64)]> {
    let mut left = Vec::with_capacity(all.len() + less.len());
    for &(first, last) in all {
        let mut from = Some(first);
        let start = less.partition_point(|range| range.1 < first);
        for &(cut_first, cut_last) in less.iter().skip(start).take_while(|range| range.0 <= last) {
            let Some(at) = from else { break };
            if at < cut_first {
                left.push((at, cut_first - 1));
            }
            from = cut_last.checked_add(1).filter(|next| *next <= last);
        }
        if let Some(at) = from {
            left.push((at, last));
        }
    }
    left.into()
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(value) => write_scalar(out, *value),
            Self::Ranges(ranges) => {
                let text: Vec<_> = ranges.iter().map(|(a, b)| format!("{a}-{b}")).collect();
                write!(out, "[{}]", text.join(", "))
            }
            Self::Set(items) => write!(out, "{{{}}}", items.join(", ")),
        }
    }
}

/// A scalar without needless decimals.
fn write_scalar(out: &mut fmt::Formatter<'_>, value: i64) -> fmt::Result {
    let sign = if value < 0 { "-" } else { "" };
    let (whole, rest) = (value.unsigned_abs() / 1_000, value.unsigned_abs() % 1_000);
    if rest == 0 {
        return write!(out, "{sign}{whole}");
    }
    let decimals = format!("{rest:03}");
    write!(out, "{sign}{whole}.{}", decimals.trim_end_matches('0'))
}
