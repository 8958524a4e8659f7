//! Calls on their way to Mesos: in order, and only in the session they were made for.
//!
//! What waits here waits as the core said it, and becomes a call when the client has room for it: a
//! call is some ten times as large, and one step may decide tens of thousands of launches.
//!
//! Acknowledgements go first: between them and the rest no order matters, and what is not acknowledged
//! in time is sent again by the agents, so a master that is behind would get further behind.
//!
//! Actions go next, in their order. While the master is behind with what Mesos tells, those that launch
//! wait: each launch brings two updates, and more of them than can be taken in would fill Mesos's
//! buffers, then come twice, and then there are so many that launching and killing both stand still. A
//! few go all the same ([`TRICKLE`]), so that a storm of other events does not stop launches for good.
//!
//! Questions go when nothing else waits: the core asks about what has
//! not been heard of for some seconds, and of an ACCEPT that still waits here nothing can be heard. If
//! questions took their turn, a large wave of launches would be asked about again and again, the
//! answers would take the time that the launches need, and it would never end. For the same reason
//! what is asked twice goes once, and so does a kill that is repeated while the first one waits.

use peloton_core::{Effect, Operation};
use peloton_mesos::{Handle, NotSent};
use peloton_mesos_wire::convert::{self, Identity};
use peloton_model::{AgentId, TaskId};
use std::collections::{BTreeMap, HashSet, VecDeque};

/// Tasks or operations in one question: its answers come one by one, and what is sent meanwhile has
/// to wait for them. The call is some 100 KiB.
const QUESTIONS_A_CALL: usize = 1_000;

/// While launches are held back, one call that launches goes with each so many looks at the outbox.
const TRICKLE: u32 = 64;

/// Effects that the client's queue had no room for.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    acknowledgements: VecDeque<(u64, Effect)>,
    actions: VecDeque<(u64, Effect)>,
    /// How often launches were held back since the last one went.
    held_back: u32,
    /// The tasks of the kills among them.
    kills: HashSet<String>,
    questions: Questions,
    /// How many calls the client took in this session, and how many answers there were before.
    handed_over: u64,
    answered_before: u64,
}

/// What Mesos is to be asked, in the session `epoch`.
#[derive(Debug, Default)]
struct Questions {
    epoch: u64,
    tasks: BTreeMap<TaskId, Option<AgentId>>,
    /// For all that Mesos knows.
    all: bool,
    operations: BTreeMap<String, AgentId>,
}

impl Outbox {
    pub(crate) fn push(&mut self, epoch: u64, effect: Effect) {
        match effect {
            Effect::Reconcile(tasks) => {
                let questions = self.questions.of(epoch);
                questions.all |= tasks.is_empty();
                questions.tasks.extend(tasks);
            }
            Effect::ReconcileOperations(operations) => {
                self.questions.of(epoch).operations.extend(operations);
            }
            acknowledge @ (Effect::Acknowledge { .. } | Effect::AcknowledgeOperation { .. }) => {
                self.acknowledgements.push_back((epoch, acknowledge));
            }
            Effect::Kill { ref task, .. } if !self.kills.insert(task.clone()) => {}
            action => self.actions.push_back((epoch, action)),
        }
    }

    /// Hands over what there is room for; whether all went. A call of an earlier session is dropped:
    /// what it was for is derived again in the present one. `behind` says whether launches are to wait.
    pub(crate) fn flush(&mut self, identity: &Identity, client: &Handle, behind: bool) -> bool {
        self.held_back = if behind { self.held_back + 1 } else { 0 };
        while client.has_room() {
            let Some((epoch, effect)) = self.next(behind) else { break };
            match client.submit(epoch, convert::call(identity, effect)) {
                Ok(()) => self.handed_over += 1,
                // Only we fill the queue, so there is room; if not, the session is at an end anyway.
                Err(error) if error.reason == NotSent::QueueFull => {
                    tracing::warn!(%error, "a call was dropped");
                }
                Err(error) => tracing::debug!(%error, "a call of an ended session was dropped"),
            }
        }
        self.is_empty()
    }

    fn next(&mut self, behind: bool) -> Option<(u64, Effect)> {
        if let Some(acknowledgement) = self.acknowledgements.pop_front() {
            return Some(acknowledgement);
        }
        if behind && self.actions.front().is_some_and(|(_, action)| launches(action)) {
            if self.held_back < TRICKLE {
                return None;
            }
            self.held_back = 0;
        }
        let Some((epoch, action)) = self.actions.pop_front() else { return self.questions.next() };
        if let Effect::Kill { task, .. } = &action {
            self.kills.remove(task);
        }
        Some((epoch, action))
    }

    fn is_empty(&self) -> bool {
        let Questions { epoch: _, tasks, all, operations } = &self.questions;
        let asks = !tasks.is_empty() || *all || !operations.is_empty();
        self.acknowledgements.is_empty() && self.actions.is_empty() && !asks
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// A session begins, when so many calls have been answered since the client began.
    pub(crate) fn session_begins(&mut self, answered: u64) {
        (self.handed_over, self.answered_before) = (0, answered);
    }

    /// Whether Mesos has answered all that was handed over in this session, when it has answered so many
    /// calls since the client began.
    pub(crate) fn is_answered(&self, answered: u64) -> bool {
        answered.saturating_sub(self.answered_before) >= self.handed_over
    }
}

impl Questions {
    /// Those of a session; what was to be asked in an earlier one is not asked any more.
    fn of(&mut self, epoch: u64) -> &mut Self {
        if self.epoch != epoch {
            *self = Self { epoch, ..Self::default() };
        }
        self
    }

    /// Known tasks first: their answers tell what the answers about all others are compared with.
    fn next(&mut self) -> Option<(u64, Effect)> {
        let tasks = first(&mut self.tasks);
        let effect = if !tasks.is_empty() {
            Effect::Reconcile(tasks)
        } else if std::mem::take(&mut self.all) {
            Effect::Reconcile(Vec::new())
        } else {
            let operations = first(&mut self.operations);
            if operations.is_empty() {
                return None;
            }
            Effect::ReconcileOperations(operations)
        };
        Some((self.epoch, effect))
    }
}

fn launches(effect: &Effect) -> bool {
    let Effect::Accept(accept) = effect else { return false };
    accept.operations.iter().any(|operation| matches!(operation, Operation::Launch(_)))
}

/// Takes out as many as go into one call.
fn first<K: Ord, V>(of: &mut BTreeMap<K, V>) -> Vec<(K, V)> {
    std::iter::from_fn(|| of.pop_first()).take(QUESTIONS_A_CALL).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use peloton_core::{Accept, Launch};
    use peloton_model::JobId;

    fn task(instance: u32) -> (TaskId, Option<AgentId>) {
        (TaskId { job: JobId::new("job").unwrap(), instance, run: 1 }, None)
    }

    fn kill(task: &str) -> Effect {
        Effect::Kill { task: task.into(), agent: None, grace_ms: None }
    }

    /// What goes, in short.
    fn all(outbox: &mut Outbox) -> Vec<String> {
        let short = |(epoch, effect): (u64, Effect)| match effect {
            Effect::Reconcile(tasks) => format!("{epoch} tasks {}", tasks.len()),
            Effect::ReconcileOperations(operations) => {
                format!("{epoch} operations {}", operations.len())
            }
            Effect::Kill { task, .. } => format!("{epoch} kill {task}"),
            other => format!("{epoch} {other:?}"),
        };
        let gone = std::iter::from_fn(|| outbox.next(false)).map(short).collect();
        assert!(outbox.is_empty());
        gone
    }

    #[test]
    fn actions_go_in_order_and_questions_after_them_once() {
        let mut outbox = Outbox::default();
        outbox.push(1, Effect::Reconcile((0..1_500).map(task).collect()));
        outbox.push(1, Effect::Reconcile(vec![]));
        outbox.push(1, Effect::Revive);
        let operation = || Effect::ReconcileOperations(vec![("o".into(), AgentId::new("a"))]);
        outbox.push(1, operation());
        outbox.push(1, Effect::Reconcile(vec![task(7)]));
        outbox.push(1, operation());
        outbox.push(1, Effect::Suppress);
        let expected = [
            "1 Revive",
            "1 Suppress",
            "1 tasks 1000",
            "1 tasks 500",
            "1 tasks 0",
            "1 operations 1",
        ];
        assert_eq!(all(&mut outbox), expected);
    }

    #[test]
    fn launches_wait_while_the_master_is_behind_and_acknowledgements_go_first() {
        let launch = |agent: &str| {
            let launch = Launch {
                task: task(0).0,
                agent: AgentId::new(agent),
                config: Default::default(),
                slot: None,
                principal: None,
                keep_image: false,
                resources: Default::default(),
                ports: vec![],
                volumes: vec![],
            };
            Effect::Accept(Accept {
                agent: AgentId::new(agent),
                offers: vec![],
                operations: vec![Operation::Launch(Box::new(launch))],
                refuse_ms: 0,
            })
        };
        let acknowledge =
            || Effect::Acknowledge { task: "t".into(), agent: AgentId::new("a"), uuid: vec![] };
        let mut outbox = Outbox::default();
        for effect in [kill("a"), launch("a"), kill("b"), launch("b"), acknowledge()] {
            outbox.push(1, effect);
        }
        assert!(matches!(outbox.next(true), Some((1, Effect::Acknowledge { .. }))));
        assert!(matches!(outbox.next(true), Some((1, Effect::Kill { .. }))));
        assert!(outbox.next(true).is_none());
        outbox.held_back = TRICKLE;
        assert!(matches!(outbox.next(true), Some((1, Effect::Accept(_)))));
        assert!(matches!(outbox.next(true), Some((1, Effect::Kill { .. }))));
        assert!(outbox.next(true).is_none());
        assert!(matches!(outbox.next(false), Some((1, Effect::Accept(_)))));
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_kill_that_waits_is_not_repeated_and_one_that_went_may_be() {
        let mut outbox = Outbox::default();
        for which in ["a", "b", "a"] {
            outbox.push(1, kill(which));
        }
        assert_eq!(all(&mut outbox), ["1 kill a", "1 kill b"]);
        outbox.push(1, kill("a"));
        assert_eq!(all(&mut outbox), ["1 kill a"]);
    }

    #[test]
    fn a_new_session_does_not_ask_what_the_last_one_wanted_to_know() {
        let mut outbox = Outbox::default();
        outbox.push(1, Effect::Reconcile((0..9).map(task).collect()));
        outbox.push(2, Effect::Reconcile(vec![task(1)]));
        assert_eq!(all(&mut outbox), ["2 tasks 1"]);
    }
}
