//! An agent as the allocator sees it.

use super::roles::RoleId;
use super::types::FrameworkKey;
use crate::resources::{Quantities, Resource, Resources};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a framework has on an agent for one role, offered or allocated.
#[derive(Debug)]
pub(super) struct Use {
    pub(super) framework: FrameworkKey,
    pub(super) role: RoleId,
    pub(super) resources: Resources,
}

/// What a framework refused, for one role.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) framework: FrameworkKey,
    pub(super) role: RoleId,
    pub(super) resources: Resources,
    /// The last moment at which it applies.
    pub(super) until_ms: u64,
    /// Of the framework in the role, when the filter was made.
    pub(super) epoch: u64,
}

/// That a framework does not want to be asked for an agent for a while.
#[derive(Debug)]
pub(super) struct InverseFilter {
    pub(super) framework: FrameworkKey,
    pub(super) until_ms: u64,
}

/// An agent.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) total: Resources,
    /// What can be offered: what nobody has, and all that is shared.
    pub(super) available: Resources,
    pub(super) used: Vec<Use>,
    pub(super) filters: Vec<Filter>,
    pub(super) inverse_filters: Vec<InverseFilter>,
    pub(super) active: bool,
    pub(super) region: Option<Arc<str>>,
    pub(super) has_gpus: bool,
    /// More is used than there is, so what is given back may not be available.
    over_used: bool,
    /// When a filter that hid something ends; the agent is looked at again after that.
    pub(super) recheck_ms: Option<u64>,
    /// With an unavailability: who has an inverse offer.
    pub(super) asked: Option<BTreeSet<FrameworkKey>>,
}

impl Agent {
    pub(super) fn new(total: &Resources, region: Option<Arc<str>>) -> Self {
        Self {
            total: total.clone(),
            available: total.clone(),
            used: Vec::new(),
            filters: Vec::new(),
            inverse_filters: Vec::new(),
            active: true,
            region,
            has_gpus: total.scalar("gpus") > 0,
            over_used: false,
            recheck_ms: None,
            asked: None,
        }
    }

    pub(super) fn used_by(&self, framework: FrameworkKey, role: RoleId) -> Option<&Use> {
        self.used.iter().find(|used| used.framework == framework && used.role == role)
    }

    /// Gives resources to a framework. True if it had nothing here for the role.
    pub(super) fn take(
        &mut self,
        framework: FrameworkKey,
        role: RoleId,
        resources: &Resources,
    ) -> bool {
        self.available.subtract(&resources.non_shared());
        let mut used = self.used.iter_mut();
        match used.find(|used| used.framework == framework && used.role == role) {
            Some(used) => {
                used.resources.add(resources);
                false
            }
            None => {
                let resources = resources.clone();
                self.used.push(Use { framework, role, resources });
                true
            }
        }
    }

    /// Takes resources back from a framework. `None` if it does not have them; true if it now has
    /// nothing here for the role.
    pub(super) fn give_back(
        &mut self,
        framework: FrameworkKey,
        role: RoleId,
        resources: &Resources,
    ) -> Option<bool> {
        let mut used = self.used.iter();
        let at = used.position(|used| used.framework == framework && used.role == role)?;
        let entry = self.used.get_mut(at)?;
        if !entry.resources.contains(resources) {
            return None;
        }
        entry.resources.subtract(resources);
        let nothing_left = entry.resources.is_empty();
        if nothing_left {
            self.used.remove(at);
        }
        if self.over_used {
            self.refresh();
        } else {
            self.available.add(&resources.non_shared());
        }
        Some(nothing_left)
    }

    /// What a framework has for a role becomes something else of the same size, and so does the
    /// total; what is available stays, except for what is shared now or no longer.
    pub(super) fn convert(
        &mut self,
        framework: FrameworkKey,
        role: RoleId,
        (from, to): (&Resources, &Resources),
        total: Resources,
    ) {
        let mut used = self.used.iter_mut();
        if let Some(used) = used.find(|used| used.framework == framework && used.role == role) {
            used.resources.subtract(from);
            used.resources.add(to);
        }
        self.used.retain(|used| !used.resources.is_empty());
        let (old, new) = (self.total.shared(), total.shared());
        self.available.subtract(&(&old - &new));
        self.available.add(&(&new - &old));
        self.total = total;
    }

    /// Sets the total.
    pub(super) fn set_total(&mut self, total: &Resources) {
        self.total = total.clone();
        self.has_gpus = total.scalar("gpus") > 0;
        self.refresh();
    }

    /// Calculates what is available from what there is and who has what.
    pub(super) fn refresh(&mut self) {
        let mut used = Resources::new();
        self.used.iter().for_each(|one| used.add(&one.resources.non_shared()));
        let total = self.total.non_shared();
        self.over_used = !total.contains(&used);
        self.available = &total - &used;
        self.available.add(&self.total.shared());
    }

    /// Of those resources that are shared and that nobody whom the condition holds for has here.
    pub(super) fn shared_beyond(
        &self,
        resources: &Resources,
        counts: impl Fn(&Use) -> bool,
    ) -> Quantities {
        let has = |one: &Resource| {
            self.used.iter().any(|used| counts(used) && used.resources.contains_one(one))
        };
        Quantities::of_scalars(&resources.shared().filter(|shared| !has(&shared.single())))
    }
}
