//! What users asked of single instances, as ranges: O(ranges) in size, however many instances there are.

use crate::{InstanceId, limits};
use serde::{Deserialize, Serialize};

/// What is asked of an instance beyond its configuration. Generations are those of the job's record
/// at the time of the request; an instance remembers the newest it has acted on, so that each
/// request is acted on once, by whichever master.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Goal {
    /// Not to run.
    pub stopped: bool,
    /// A run decided before this generation is ended and another one started.
    pub restart: u64,
    /// A run that ended, decided before this generation, is followed by another one.
    pub start: u64,
}

/// Goals of ranges of instances: sorted, disjoint; instances outside of all have the default goal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Goals(Vec<(InstanceId, InstanceId, Goal)>);

impl Goals {
    /// The goal of an instance.
    #[must_use]
    pub fn get(&self, instance: InstanceId) -> Goal {
        let after = self.0.partition_point(|(from, _, _)| *from <= instance);
        match after.checked_sub(1).map(|i| &self.0[i]) {
            Some((_, to, goal)) if instance <= *to => *goal,
            _ => Goal::default(),
        }
    }

    /// The ranges: first, last (included), goal.
    #[must_use]
    pub fn ranges(&self) -> &[(InstanceId, InstanceId, Goal)] {
        &self.0
    }

    /// Whether the first `count` instances are all not to run.
    #[must_use]
    pub fn all_stopped(&self, count: u32) -> bool {
        let mut next = 0;
        for (from, to, goal) in &self.0 {
            if next >= count || *from > next || !goal.stopped {
                break;
            }
            next = to.saturating_add(1);
        }
        next >= count
    }

    /// Changes the goal of the instances `from..=to`. Whether the result keeps within
    /// [`limits::MAX_GOAL_RANGES`]; where not, nothing is changed.
    pub fn change(&mut self, from: InstanceId, to: InstanceId, f: impl Fn(&mut Goal)) -> bool {
        if from > to {
            return true;
        }
        let mut out = Vec::with_capacity(self.0.len() + 3);
        let mut push = |from, to, goal: Goal| match out.last_mut() {
            Some((_, last_to, last))
                if *last == goal && u64::from(*last_to) + 1 == u64::from(from) =>
            {
                *last_to = to;
            }
            _ if goal == Goal::default() => {}
            _ => out.push((from, to, goal)),
        };
        let changed = |mut goal| {
            f(&mut goal);
            goal
        };
        // `next` is the first instance not yet covered; u64, so that the last id has a successor.
        let mut next = u64::from(from);
        for &(a, b, goal) in &self.0 {
            if b < from {
                push(a, b, goal);
                continue;
            }
            if a < from {
                push(a, from - 1, goal);
            }
            let start = u64::from(a.max(from));
            if start > u64::from(to) {
                if next <= u64::from(to) {
                    push(next as u32, to, changed(Goal::default()));
                    next = u64::from(to) + 1;
                }
                push(a, b, goal);
                continue;
            }
            if next < start {
                push(next as u32, start as u32 - 1, changed(Goal::default()));
            }
            let end = b.min(to);
            push(start as u32, end, changed(goal));
            next = u64::from(end) + 1;
            if b > to {
                push(to + 1, b, goal);
            }
        }
        if next <= u64::from(to) {
            push(next as u32, to, changed(Goal::default()));
        }
        let fits = out.len() <= limits::MAX_GOAL_RANGES;
        if fits {
            self.0 = out;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_request_for_all_is_one_range() {
        let mut goals = Goals::default();
        assert!(goals.change(0, u32::MAX, |g| g.stopped = true));
        assert!(goals.change(5, 6, |g| g.stopped = false));
        assert_eq!(goals.ranges().len(), 2);
        assert!(goals.change(5, 6, |g| g.stopped = true));
        assert_eq!(goals.ranges().len(), 1);
        assert!(goals.get(u32::MAX).stopped && goals.all_stopped(7));
        assert!(goals.change(5, 6, |g| g.stopped = false));
        assert!(!goals.all_stopped(7) && goals.all_stopped(5));
    }

    proptest! {
        #[test]
        fn ranges_behave_as_single_goals(
            changes in prop::collection::vec((0u32..20, 0u32..20, 0u64..4, any::<bool>()), 0..20)
        ) {
            let mut goals = Goals::default();
            let mut model = [Goal::default(); 20];
            for (from, to, restart, stopped) in changes {
                let f = |g: &mut Goal| { g.restart = restart; g.stopped ^= stopped; };
                prop_assert!(goals.change(from, to, f));
                model.iter_mut().enumerate()
                    .filter(|(i, _)| (from as usize..=to as usize).contains(i))
                    .for_each(|(_, g)| f(g));
                for (i, g) in model.iter().enumerate() {
                    prop_assert_eq!(goals.get(i as u32), *g);
                }
                prop_assert!(goals.ranges().windows(2).all(|w| w[0].1 < w[1].0));
                prop_assert!(goals.ranges().iter().all(|r| r.0 <= r.1));
            }
        }
    }
}
