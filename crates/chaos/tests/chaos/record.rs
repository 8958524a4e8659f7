//! What clients asked and what they got, with times: the history that is judged.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use peloton_chaos::jobs::{Input, Output};
use peloton_chaos::linear::Operation;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// With an answer.
    Answered(Output),
    /// Without one, and nothing was done.
    NotDone(String),
    /// Without one, and what was asked may have been done or be done at any later time.
    Unknown(String),
    /// With an answer that nobody should get.
    Broken(String),
}

/// Whom it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// One master, once.
    Master(usize),
    /// All masters in turn, as clients usually do.
    All,
}

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// The client.
    pub(crate) client: usize,
    pub(crate) whom: Whom,
    pub(crate) job: String,
    pub(crate) input: Input,
    /// Nanoseconds since the beginning of the test.
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) end: End,
}

/// All calls so far. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    start: Instant,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Record {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), calls: Arc::default() }
    }

    /// The time, as the record counts it.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap()
    }

    pub(crate) fn add(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

impl Call {
    /// What the call is in a history: reads without an answer say nothing, changes without one may have
    /// been made. However often a client sends a change to masters in turn, it is made once.
    pub(crate) fn operation(&self) -> Option<Operation<Input, Output>> {
        let operation = |returned| Operation { input: self.input, invoked: self.from, returned };
        match &self.end {
            End::NotDone(_) => None,
            End::Unknown(_) | End::Broken(_) => (!self.input.is_read()).then(|| operation(None)),
            End::Answered(output) => Some(operation(Some((self.to, *output)))),
        }
    }
}
