//! A linearizability checker.
//!
//! The search is Wing and Gong's with Lowe's memory of what was tried: operations are put into an order
//! one after the other, each time one that no operation still to be placed had returned before, and where
//! none fits, the last one is taken back. What is added for histories of a system with faults:
//!
//! - An operation whose answer never came may have taken effect at any time after it was sent, or may do
//!   so never. It is tried only when nothing that was answered fits, only where it has an effect, and of
//!   several equal ones only the first: one does as well as the other.
//! - An answered operation that changes nothing in any state is placed as soon as it fits and never taken
//!   back alone: whatever order there is with it later, there is one with it now.
//!
//! Histories of several objects are checked one object at a time, as linearizability is local: see
//! [`by_key`].

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::hash::Hash;

/// A place in time. Only the order counts; what happens at the same time overlaps.
pub type Instant = u64;

/// What an object does when nobody else is there.
pub trait Model {
    /// The object.
    type State: Clone + Eq + Hash + Debug;
    /// What is asked of it.
    type Input: PartialEq + Debug;
    /// What it answers.
    type Output: Debug;

    /// The object at the beginning.
    fn initial(&self) -> Self::State;

    /// The object after an operation that was answered so; `None` where it cannot have been.
    fn answered(
        &self,
        state: &Self::State,
        input: &Self::Input,
        output: &Self::Output,
    ) -> Option<Self::State>;

    /// Whether an operation that was answered so changes nothing, in whatever state it is done. `false` is
    /// never wrong, only slow.
    fn is_read(&self, input: &Self::Input, output: &Self::Output) -> bool;

    /// The object after an operation of which nobody knows the answer.
    fn unanswered(&self, state: &Self::State, input: &Self::Input) -> Self::State;
}

/// One operation of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation<I, O> {
    /// What was asked.
    pub input: I,
    /// When.
    pub invoked: Instant,
    /// When the answer came, and what it was; without one, what became of the operation is not known.
    pub returned: Option<(Instant, O)>,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// An order that explains every answer: indices of operations. Unanswered ones that are not in it have
    /// not taken effect.
    Linearizable(Vec<usize>),
    /// There is no such order.
    NotLinearizable(Stuck),
    /// The search was given up.
    TooHard,
}

/// Where the longest search for an order ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// The longest order that was found.
    pub order: Vec<usize>,
    /// The answered operation that had returned and could not be placed.
    pub operation: usize,
}

/// The search's limit, in placed operations: each is remembered with a bit for each operation, and a search
/// of that size is one for which a machine has no memory. Histories of real systems need far less.
pub const MAX_STEPS: usize = 2_000_000;

/// Operations by what they were about, each list in the history's order.
pub fn by_key<K: Ord, I, O>(
    history: impl IntoIterator<Item = (K, Operation<I, O>)>,
) -> BTreeMap<K, Vec<Operation<I, O>>> {
    let mut parts: BTreeMap<K, Vec<_>> = BTreeMap::new();
    for (key, operation) in history {
        parts.entry(key).or_default().push(operation);
    }
    parts
}

/// Whether there is an order in which the operations could have been done one at a time, each between its
/// invocation and its return.
pub fn check<M: Model>(model: &M, history: &[Operation<M::Input, M::Output>]) -> Verdict {
    Search::new(model, history).run()
}

/// Whether `order` explains the history: what a verdict is checked with.
pub fn explains<M: Model>(
    model: &M,
    history: &[Operation<M::Input, M::Output>],
    order: &[usize],
) -> bool {
    let mut state = model.initial();
    let mut latest_invocation = 0;
    let mut placed = vec![false; history.len()];
    for index in order {
        let Some(operation) = history.get(*index) else { return false };
        if std::mem::replace(&mut placed[*index], true) {
            return false;
        }
        latest_invocation = latest_invocation.max(operation.invoked);
        let next = match &operation.returned {
            Some((returned, _)) if *returned < latest_invocation => return false,
            Some((_, output)) => model.answered(&state, &operation.input, output),
            None => Some(model.unanswered(&state, &operation.input)),
        };
        let Some(next) = next else { return false };
        state = next;
    }
    history.iter().zip(placed).all(|(operation, placed)| placed || operation.returned.is_none())
}

/// An entry of the list of what is still to be placed, in the order of time.
#[derive(Debug, Clone, Copy)]
enum Event {
    Invoked(usize),
    Returned(usize),
    /// The list's head and tail.
    End,
}

/// Where the search goes on in a state.
#[derive(Debug, Clone, Copy)]
enum Cursor {
    /// At an event of the list.
    Event(usize),
    /// At an unanswered operation: an index into `unanswered`.
    Unanswered(usize),
}

/// A placed operation, and what is needed to take it back.
struct Placed<S> {
    operation: usize,
    /// The state before.
    state: S,
    /// Where to go on without it; `None` where there is nothing to gain.
    resume: Option<Cursor>,
}

struct Search<'a, M: Model> {
    model: &'a M,
    history: &'a [Operation<M::Input, M::Output>],
    events: Vec<Event>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// The events of each answered operation.
    places: Vec<(usize, usize)>,
    /// Unanswered operations in the order of their invocations.
    unanswered: Vec<usize>,
    /// A bit for each placed operation.
    placed: Vec<u64>,
    order: Vec<Placed<M::State>>,
    state: M::State,
    /// Answered operations still to be placed.
    left: usize,
    tried: HashSet<(Box<[u64]>, M::State)>,
    deepest: Option<(usize, Stuck)>,
}

/// The list's head; its tail is the last event.
const HEAD: usize = 0;

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, history: &'a [Operation<M::Input, M::Output>]) -> Self {
        let mut times = Vec::new();
        let mut unanswered = Vec::new();
        for (index, operation) in history.iter().enumerate() {
            match &operation.returned {
                Some((returned, _)) => {
                    // At the same time, invocations come first: that overlaps.
                    times.push((operation.invoked, 0, Event::Invoked(index)));
                    times.push((*returned, 1, Event::Returned(index)));
                }
                None => unanswered.push(index),
            }
        }
        times.sort_by_key(|(time, kind, _)| (*time, *kind));
        unanswered.sort_by_key(|index| history[*index].invoked);
        let left = times.len() / 2;
        let mut events = vec![Event::End];
        events.extend(times.into_iter().map(|(_, _, event)| event));
        events.push(Event::End);
        let mut places = vec![(0, 0); history.len()];
        for (place, event) in events.iter().enumerate() {
            match event {
                Event::Invoked(index) => places[*index].0 = place,
                Event::Returned(index) => places[*index].1 = place,
                Event::End => {}
            }
        }
        let last = events.len() - 1;
        Self {
            model,
            history,
            next: (0..events.len()).map(|place| (place + 1).min(last)).collect(),
            previous: (0..events.len()).map(|place| place.saturating_sub(1)).collect(),
            events,
            places,
            unanswered,
            placed: vec![0; history.len().div_ceil(64)],
            order: Vec::new(),
            state: model.initial(),
            left,
            tried: HashSet::new(),
            deepest: None,
        }
    }

    fn run(mut self) -> Verdict {
        let mut cursor = Cursor::Event(self.next[HEAD]);
        while self.left > 0 {
            if self.tried.len() > MAX_STEPS {
                return Verdict::TooHard;
            }
            cursor = match cursor {
                Cursor::Event(place) => match self.events[place] {
                    Event::Invoked(index) => self.try_answered(place, index),
                    Event::Returned(index) => {
                        self.note_stuck(index);
                        Cursor::Unanswered(0)
                    }
                    Event::End => Cursor::Unanswered(self.unanswered.len()),
                },
                Cursor::Unanswered(at) if at < self.unanswered.len() => self.try_unanswered(at),
                Cursor::Unanswered(_) => match self.take_back() {
                    Some(cursor) => cursor,
                    None => return self.failure(),
                },
            };
        }
        Verdict::Linearizable(self.order.into_iter().map(|placed| placed.operation).collect())
    }

    fn try_answered(&mut self, place: usize, index: usize) -> Cursor {
        let behind = Cursor::Event(self.next[place]);
        let operation = &self.history[index];
        let Some((_, output)) = &operation.returned else { return behind };
        let Some(after) = self.model.answered(&self.state, &operation.input, output) else {
            return behind;
        };
        let is_read = self.model.is_read(&operation.input, output);
        let resume = (!is_read).then_some(behind);
        self.try_place(index, after, resume).unwrap_or(behind)
    }

    fn try_unanswered(&mut self, at: usize) -> Cursor {
        let behind = Cursor::Unanswered(at + 1);
        let index = self.unanswered[at];
        let operation = &self.history[index];
        if self.is_placed(index) || operation.invoked > self.barrier() {
            return behind;
        }
        let equal = |other: &usize| {
            !self.is_placed(*other) && self.history[*other].input == operation.input
        };
        if self.unanswered[..at].iter().any(equal) {
            return behind;
        }
        let after = self.model.unanswered(&self.state, &operation.input);
        if after == self.state {
            return behind;
        }
        self.try_place(index, after, Some(behind)).unwrap_or(behind)
    }

    /// When the first of the operations still to be placed returned.
    fn barrier(&self) -> Instant {
        let mut place = self.next[HEAD];
        loop {
            match self.events[place] {
                Event::Invoked(_) => place = self.next[place],
                Event::Returned(index) => {
                    return self.history[index].returned.as_ref().map_or(Instant::MAX, |r| r.0);
                }
                Event::End => return Instant::MAX,
            }
        }
    }

    /// Places an operation unless the same has been tried already in another order.
    fn try_place(
        &mut self,
        index: usize,
        after: M::State,
        resume: Option<Cursor>,
    ) -> Option<Cursor> {
        self.placed[index / 64] |= 1 << (index % 64);
        let key = (self.placed.clone().into_boxed_slice(), after.clone());
        if !self.tried.insert(key) {
            self.placed[index / 64] &= !(1 << (index % 64));
            return None;
        }
        let state = std::mem::replace(&mut self.state, after);
        self.order.push(Placed { operation: index, state, resume });
        if self.history[index].returned.is_some() {
            self.left -= 1;
            let (invoked, returned) = self.places[index];
            for place in [invoked, returned] {
                let (previous, next) = (self.previous[place], self.next[place]);
                self.next[previous] = next;
                self.previous[next] = previous;
            }
        }
        Some(Cursor::Event(self.next[HEAD]))
    }

    /// Takes operations back until there is something else to try.
    fn take_back(&mut self) -> Option<Cursor> {
        while let Some(Placed { operation: index, state, resume }) = self.order.pop() {
            self.placed[index / 64] &= !(1 << (index % 64));
            self.state = state;
            if self.history[index].returned.is_some() {
                self.left += 1;
                let (invoked, returned) = self.places[index];
                // In the reverse order of the removal.
                for place in [returned, invoked] {
                    let (previous, next) = (self.previous[place], self.next[place]);
                    self.next[previous] = place;
                    self.previous[next] = place;
                }
            }
            if resume.is_some() {
                return resume;
            }
        }
        None
    }

    fn is_placed(&self, index: usize) -> bool {
        self.placed[index / 64] >> (index % 64) & 1 == 1
    }

    fn note_stuck(&mut self, operation: usize) {
        let depth = self.order.len();
        if self.deepest.as_ref().is_none_or(|(deepest, _)| depth > *deepest) {
            let order = self.order.iter().map(|placed| placed.operation).collect();
            self.deepest = Some((depth, Stuck { order, operation }));
        }
    }

    fn failure(self) -> Verdict {
        let nowhere = Stuck { order: Vec::new(), operation: 0 };
        Verdict::NotLinearizable(self.deepest.map_or(nowhere, |(_, stuck)| stuck))
    }
}
