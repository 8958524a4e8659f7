//! Resources and their algebra, as Mesos defines it.
//!
//! A resource is a kind (name, reservations, disk, provider …) and a quantity. Kinds are shared by
//! all resources of that kind and compared by address, then by fingerprint, and only then in full;
//! a whole `Resources` is shared by its clones until one of them changes. So a million tasks cost a
//! pointer each where they can, and an agent with many reservations is searched in nanoseconds.
//!
//! Whom a resource is allocated to is not part of it here: an allocation has one role, which is kept
//! beside the resources and put into messages by [`Resources::to_proto_allocated`].

mod kind;
mod proto;
mod quantities;
mod text;
mod validate;
mod value;

pub use kind::{Kind, Name, Reservation, Shape, Stack, is_strict_subrole_of};
pub use proto::{allocate_proto, downgrade, upgrade};
pub use quantities::Quantities;
pub use text::{display_labels, display_proto, display_proto_list};
pub(crate) use validate::validate_one;
pub use validate::{validate, validate_role};
pub use value::{UNIT, Value};

use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::sync::Arc;

/// A quantity of one kind. Of a shared resource there can be several copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    kind: Arc<Kind>,
    value: Value,
    copies: u32,
}

impl Resource {
    fn new(kind: Arc<Kind>, value: Value) -> Self {
        Self { kind, value, copies: 1 }
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// How much of it.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// How many copies of a shared resource; 1 of any other.
    #[must_use]
    pub fn copies(&self) -> u32 {
        self.copies
    }

    /// One copy of it.
    #[must_use]
    pub fn single(&self) -> Self {
        Self { copies: 1, ..self.clone() }
    }

    /// Whether there is nothing of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.copies == 0 || self.value.is_empty()
    }

    /// The same with so many thousandths more or, if negative, less of a scalar.
    #[must_use]
    pub fn resized(&self, by: i64) -> Self {
        let mut result = self.clone();
        result.value.add(&Value::Scalar(by));
        result
    }

    fn same_kind(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.kind, &other.kind) || self.kind == other.kind
    }

    /// Whether both can be one resource.
    fn addable(&self, other: &Self) -> bool {
        if self.kind.is_shared() {
            return self.same_kind(other) && self.value == other.value;
        }
        !self.kind.is_exclusive() && self.same_kind(other)
    }

    /// Whether the other can be taken from this; how much there is, is another question.
    fn subtractable(&self, other: &Self) -> bool {
        let whole = self.kind.is_shared() || self.kind.is_exclusive();
        self.same_kind(other) && (!whole || self.value == other.value)
    }

    fn contains(&self, other: &Self) -> bool {
        self.subtractable(other)
            && if self.kind.is_shared() {
                self.copies >= other.copies
            } else {
                self.value.contains(&other.value)
            }
    }
}

/// Any number of resources: of each kind at most one, except of kinds that do not merge.
///
/// Equality does not look at the order. The order is that of insertion, except that the last one
/// takes the place of one that is used up, as in Mesos.
#[derive(Debug, Clone, Default)]
pub struct Resources {
    /// Absent is empty: most comparisons and clones then touch no memory.
    items: Option<Arc<Vec<Resource>>>,
}

impl Resources {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { items: None }
    }

    /// Unreserved resources from names and units: `[("cpus", 1.5), ("mem", 128.0)]`.
    #[must_use]
    pub fn scalars_of(quantities: &[(&str, f64)]) -> Self {
        let mut result = Self::new();
        for (name, units) in quantities {
            let kind = Kind::plain(Name::from(*name), Shape::Scalar);
            result.add_one(&Resource::new(kind, Value::Scalar(Value::thousandths(*units))));
        }
        result
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// How many resources there are, after merging.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// All of them, in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, Resource> {
        self.as_slice().iter()
    }

    fn as_slice(&self) -> &[Resource] {
        self.items.as_ref().map_or(&[], |items| items.as_slice())
    }

    fn make_mut(&mut self) -> &mut Vec<Resource> {
        Arc::make_mut(self.items.get_or_insert_default())
    }

    /// Adds one resource, merging it where Mesos does.
    pub fn add_one(&mut self, resource: &Resource) {
        if resource.is_empty() {
            return;
        }
        let position = self.as_slice().iter().position(|mine| mine.addable(resource));
        let items = self.make_mut();
        match position.and_then(|at| items.get_mut(at)) {
            Some(mine) if mine.kind.is_shared() => {
                mine.copies = mine.copies.saturating_add(resource.copies);
            }
            Some(mine) => mine.value.add(&resource.value),
            None => items.push(resource.clone()),
        }
    }

    /// Adds all of another.
    pub fn add(&mut self, other: &Self) {
        if self.is_empty() {
            self.clone_from(other);
            return;
        }
        other.iter().for_each(|resource| self.add_one(resource));
    }

    /// Takes away one resource as Mesos does: what is not there is ignored, and what would become
    /// negative is gone.
    pub fn subtract_one(&mut self, resource: &Resource) {
        if resource.is_empty() {
            return;
        }
        let Some(at) = self.as_slice().iter().position(|mine| mine.subtractable(resource)) else {
            return;
        };
        let items = self.make_mut();
        let Some(mine) = items.get_mut(at) else { return };
        if mine.kind.is_shared() {
            mine.copies = mine.copies.saturating_sub(resource.copies);
        } else {
            mine.value.subtract(&resource.value);
        }
        let negative = matches!(mine.value, Value::Scalar(value) if value < 0);
        if negative || mine.is_empty() {
            items.swap_remove(at);
        }
        if items.is_empty() {
            self.items = None;
        }
    }

    /// Takes away all of another, one by one as [`Resources::subtract_one`].
    pub fn subtract(&mut self, other: &Self) {
        if self.is_same(other) && !self.iter().any(|resource| resource.kind.is_exclusive()) {
            self.items = None;
            return;
        }
        other.iter().for_each(|resource| self.subtract_one(resource));
    }

    /// What is left when another is taken away; `None` if this does not contain it.
    #[must_use]
    pub fn checked_sub(&self, other: &Self) -> Option<Self> {
        self.contains(other).then(|| self - other)
    }

    /// Whether all of another is in this.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        if self.is_same(other) {
            return true;
        }
        if !other.iter().any(|resource| resource.kind.persistence_id().is_some()) {
            return other.iter().all(|resource| self.contains_one(resource));
        }
        // The same volume twice has to be there twice.
        let mut remaining = self.clone();
        other.iter().all(|resource| {
            let found = remaining.contains_one(resource);
            if resource.kind.persistence_id().is_some() {
                remaining.subtract_one(resource);
            }
            found
        })
    }

    /// Whether one resource is in this.
    #[must_use]
    pub fn contains_one(&self, resource: &Resource) -> bool {
        self.iter().any(|mine| mine.contains(resource))
    }

    /// Both are one object in memory, so equal without looking.
    fn is_same(&self, other: &Self) -> bool {
        match (&self.items, &other.items) {
            (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs),
            (mine, theirs) => mine.is_none() && theirs.is_none(),
        }
    }

    /// Those that a condition holds for.
    #[must_use]
    pub fn filter(&self, keep: impl Fn(&Resource) -> bool) -> Self {
        if self.iter().all(&keep) {
            return self.clone();
        }
        Self::from_items(self.iter().filter(|resource| keep(resource)).cloned().collect())
    }

    fn from_items(items: Vec<Resource>) -> Self {
        Self { items: (!items.is_empty()).then(|| Arc::new(items)) }
    }

    /// What is not reserved.
    #[must_use]
    pub fn unreserved(&self) -> Self {
        self.filter(|resource| resource.kind.reservations().is_empty())
    }

    /// What is reserved, to whomever.
    #[must_use]
    pub fn reserved(&self) -> Self {
        self.filter(|resource| !resource.kind.reservations().is_empty())
    }

    /// What is reserved to exactly this role.
    #[must_use]
    pub fn reserved_to(&self, role: &str) -> Self {
        self.filter(|resource| resource.kind.reservation_role() == Some(role))
    }

    /// What may be given to a role: see [`Kind::is_allocatable_to`].
    #[must_use]
    pub fn allocatable_to(&self, role: &str) -> Self {
        self.filter(|resource| resource.kind.is_allocatable_to(role))
    }

    /// The persistent volumes.
    #[must_use]
    pub fn persistent_volumes(&self) -> Self {
        self.filter(|resource| resource.kind.persistence_id().is_some())
    }

    /// What several tasks can use at once.
    #[must_use]
    pub fn shared(&self) -> Self {
        self.filter(|resource| resource.kind.is_shared())
    }

    /// What one task at a time can use.
    #[must_use]
    pub fn non_shared(&self) -> Self {
        self.filter(|resource| !resource.kind.is_shared())
    }

    /// What can be taken away at any time.
    #[must_use]
    pub fn revocable(&self) -> Self {
        self.filter(|resource| resource.kind.is_revocable())
    }

    /// What has a name.
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        self.filter(|resource| resource.kind.name().as_str() == name)
    }

    /// Thousandths of all scalars of a name.
    #[must_use]
    pub fn scalar(&self, name: &str) -> i64 {
        let of_name = self.iter().filter(|resource| resource.kind.name().as_str() == name);
        of_name.fold(0, |sum, resource| match resource.value {
            Value::Scalar(value) => sum + value,
            Value::Ranges(_) | Value::Set(_) => sum,
        })
    }

    /// The same with one more reservation on all.
    #[must_use]
    pub fn push_reservation(&self, reservation: &Reservation) -> Self {
        self.with_stacks(|stack| stack.iter().chain([reservation]).cloned().collect())
    }

    /// The same without the most refined reservation of each.
    #[must_use]
    pub fn pop_reservation(&self) -> Self {
        self.with_stacks(|stack| stack.split_last().map_or(&[][..], |(_, below)| below).into())
    }

    /// The same without reservations.
    #[must_use]
    pub fn to_unreserved(&self) -> Self {
        self.with_stacks(|_| Stack::default())
    }

    /// The same as if labels did not count: where reservations differ in them alone, those of the first
    /// are taken for all. For [`crate::Sabotage::MergeDifferentLabels`].
    pub(crate) fn merged_over_labels(&self) -> Self {
        let bare = |one: &Reservation| Reservation { labels: None, ..one.clone() };
        let first = |one: &Reservation| {
            let mut all = self.iter().flat_map(|resource| resource.kind.reservations().iter());
            all.find(|other| bare(other) == bare(one)).unwrap_or(one).clone()
        };
        self.with_stacks(|stack| stack.iter().map(first).collect())
    }

    fn with_stacks(&self, change: impl Fn(&Stack) -> Stack) -> Self {
        let mut result = Self::new();
        let mut last: Option<(Stack, Stack)> = None;
        for resource in self.iter() {
            let old = resource.kind.reservations();
            let new = match &last {
                Some((from, to)) if Arc::ptr_eq(from, old) => Arc::clone(to),
                _ => change(old),
            };
            last = Some((Arc::clone(old), Arc::clone(&new)));
            let kind = Arc::new(resource.kind.with_reservations(new));
            result.add_one(&Resource { kind, ..resource.clone() });
        }
        result
    }

    /// The same as it was before persistent volumes were made of it.
    #[must_use]
    pub fn without_volumes(&self) -> Self {
        let mut result = Self::new();
        for resource in self.iter() {
            let kind = Arc::new(resource.kind.without_volume());
            result.add_one(&Resource { kind, copies: 1, ..resource.clone() });
        }
        result
    }

    /// The same resources, on the kinds of another where they are equal, so that memory is shared.
    #[must_use]
    pub fn interned_in(&self, other: &Self) -> Self {
        let mut items = self.as_slice().to_vec();
        for mine in &mut items {
            if let Some(theirs) = other.iter().find(|theirs| mine.same_kind(theirs)) {
                let uses = mine.kind.disk().is_some() && mine.kind.disk() != theirs.kind.disk();
                if !uses {
                    mine.kind = Arc::clone(&theirs.kind);
                }
            }
        }
        Self::from_items(items)
    }
}

impl PartialEq for Resources {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.contains(other) && other.contains(self)
    }
}

impl Eq for Resources {}

impl<'a> IntoIterator for &'a Resources {
    type Item = &'a Resource;
    type IntoIter = std::slice::Iter<'a, Resource>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl AddAssign<&Resources> for Resources {
    fn add_assign(&mut self, other: &Resources) {
        self.add(other);
    }
}

impl SubAssign<&Resources> for Resources {
    fn sub_assign(&mut self, other: &Resources) {
        self.subtract(other);
    }
}

impl Add<&Resources> for &Resources {
    type Output = Resources;

    fn add(self, other: &Resources) -> Resources {
        let mut result = self.clone();
        result += other;
        result
    }
}

impl Sub<&Resources> for &Resources {
    type Output = Resources;

    fn sub(self, other: &Resources) -> Resources {
        let mut result = self.clone();
        result -= other;
        result
    }
}
