//! What the API promises of one job, as a model for the checker: a versioned register that can be created
//! and deleted.

use crate::linear::Model;

/// What tells configurations apart: the value of a field that may change while instances run.
pub type Content = u64;

/// A job that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Job {
    /// Its version.
    pub version: u64,
    /// Its configuration.
    pub content: Content,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Creates the job with this configuration.
    Create(Content),
    /// Reads it.
    Get,
    /// Changes it, if it has the expected version; 0 expects none.
    Update {
        /// The version that it is to have.
        expected: u64,
        /// The new configuration.
        content: Content,
    },
    /// Deletes it.
    Delete,
}

impl Input {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_read(self) -> bool {
        self == Self::Get
    }
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Created, or there already with this configuration.
    Created,
    /// There is one with another configuration.
    AlreadyExists,
    /// Read.
    Found(Job),
    /// Changed; the version that it has now.
    Updated(u64),
    /// It has another version than expected: this one.
    Conflict(u64),
    /// Deleted.
    Deleted,
    /// There is no such job.
    NotFound,
}

/// The model.
#[derive(Debug, Clone, Copy, Default)]
pub struct Jobs;

impl Model for Jobs {
    type State = Option<Job>;
    type Input = Input;
    type Output = Output;

    fn initial(&self) -> Option<Job> {
        None
    }

    fn answered(&self, state: &Option<Job>, input: &Input, output: &Output) -> Option<Option<Job>> {
        let (answers, after) = outcome(*state, *input);
        (answers == *output).then_some(after)
    }

    fn is_read(&self, input: &Input, output: &Output) -> bool {
        use Output::{AlreadyExists, Conflict, NotFound};
        // A creation that found what was asked for is answered as one that made it.
        *input == Input::Get || matches!(output, AlreadyExists | Conflict(_) | NotFound)
    }

    fn unanswered(&self, state: &Option<Job>, input: &Input) -> Option<Job> {
        outcome(*state, *input).1
    }
}

/// The one answer that an operation has in a state, and the state after it.
fn outcome(state: Option<Job>, input: Input) -> (Output, Option<Job>) {
    let Some(job) = state else {
        return match input {
            Input::Create(content) => (Output::Created, Some(Job { version: 1, content })),
            Input::Get | Input::Update { .. } | Input::Delete => (Output::NotFound, None),
        };
    };
    match input {
        // What is asked for is there.
        Input::Create(content) if content == job.content => (Output::Created, state),
        Input::Create(_) => (Output::AlreadyExists, state),
        Input::Get => (Output::Found(job), state),
        Input::Update { expected, .. } if expected != 0 && expected != job.version => {
            (Output::Conflict(job.version), state)
        }
        Input::Update { content, .. } if content == job.content => {
            (Output::Updated(job.version), state)
        }
        Input::Update { content, .. } => {
            let version = job.version + 1;
            (Output::Updated(version), Some(Job { version, content }))
        }
        Input::Delete => (Output::Deleted, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_in_every_state() {
        let job = |version, content| Some(Job { version, content });
        let update = |expected, content| Input::Update { expected, content };
        for (state, input, output, after) in [
            (None, Input::Create(7), Output::Created, job(1, 7)),
            (None, Input::Get, Output::NotFound, None),
            (None, update(0, 7), Output::NotFound, None),
            (None, Input::Delete, Output::NotFound, None),
            (job(1, 7), Input::Create(7), Output::Created, job(1, 7)),
            (job(1, 7), Input::Create(8), Output::AlreadyExists, job(1, 7)),
            (job(2, 7), Input::Create(7), Output::Created, job(2, 7)),
            (job(2, 7), Input::Get, Output::Found(Job { version: 2, content: 7 }), job(2, 7)),
            (job(2, 7), update(0, 8), Output::Updated(3), job(3, 8)),
            (job(2, 7), update(2, 8), Output::Updated(3), job(3, 8)),
            (job(2, 7), update(2, 7), Output::Updated(2), job(2, 7)),
            (job(2, 7), update(1, 8), Output::Conflict(2), job(2, 7)),
            (job(2, 7), update(3, 7), Output::Conflict(2), job(2, 7)),
            (job(2, 7), Input::Delete, Output::Deleted, None),
        ] {
            assert_eq!(outcome(state, input), (output, after), "{input:?} in {state:?}");
            assert_eq!(Jobs.answered(&state, &input, &output), Some(after));
            assert_eq!(Jobs.unanswered(&state, &input), after);
            assert!(!Jobs.is_read(&input, &output) || after == state);
        }
        assert_eq!(Jobs.answered(&None, &Input::Delete, &Output::Deleted), None);
    }
}
