//! Why a call has no answer. Answers such as `notFound` are answers: they are in the messages.

use std::fmt;
use std::time::Duration;

use tonic::Code;

/// A try that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The master, as it was given.
    pub master: String,
    /// What happened.
    pub problem: String,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.master, self.problem)
    }
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The masters are not given as they must be.
    #[error(
        "{given:?} is not the address of a master: {problem}; expected host, host:port or http://host:port"
    )]
    InvalidMaster {
        /// What was given.
        given: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No master was given.
    #[error("no master was given; at least one host:port is needed")]
    NoMasters,
    /// No connection could be made; surely nothing was sent.
    #[error("no master of {} could be reached: {}", masters(attempts), list(attempts))]
    Unreachable {
        /// The tries of the last round.
        attempts: Vec<Attempt>,
    },
    /// Masters were reached, but none could serve the call, and surely none acted on it.
    #[error("no master of {} could serve {procedure}: {}", masters(attempts), list(attempts))]
    Unavailable {
        /// The procedure, such as `JobManager.Get`.
        procedure: String,
        /// The tries of the last round.
        attempts: Vec<Attempt>,
    },
    /// The time is up, and nothing can have been changed.
    #[error("{procedure} was not answered within {}: {}", seconds(timeout), list(attempts))]
    TimedOut {
        /// The procedure.
        procedure: String,
        /// The time that it had.
        timeout: Duration,
        /// The tries.
        attempts: Vec<Attempt>,
    },
    /// A change was sent, and whether it was made is not known. Look before trying again.
    #[error("whether {procedure} was done is not known: {}", list(attempts))]
    OutcomeUnknown {
        /// The procedure.
        procedure: String,
        /// The tries.
        attempts: Vec<Attempt>,
    },
    /// A master answered that it will not do this.
    #[error("{message}")]
    Refused {
        /// The master.
        master: String,
        /// The procedure.
        procedure: String,
        /// gRPC's name for the kind of problem.
        code: Code,
        /// What is wrong, in the master's words.
        message: String,
    },
}

fn masters(attempts: &[Attempt]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for attempt in attempts {
        if !names.contains(&attempt.master.as_str()) {
            names.push(&attempt.master);
        }
    }
    names.join(", ")
}

fn list(attempts: &[Attempt]) -> String {
    let texts: Vec<_> = attempts.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

fn seconds(duration: &Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}
