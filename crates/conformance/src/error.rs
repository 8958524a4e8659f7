//! Why a scenario did not come to its end.

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What ended a scenario, or kept it from beginning.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that the scenario waits for did not come.
    #[error("waited for {what}, in vain: {why}")]
    Missing {
        /// What was waited for.
        what: String,
        /// What came instead.
        why: String,
    },
    /// The scenario itself is wrong.
    #[error("the scenario is wrong: {0}")]
    Scenario(String),
    /// An answer that a scenario cannot go on with.
    #[error("{what}: {why}")]
    Answer {
        /// The request.
        what: String,
        /// What was wrong with the answer.
        why: String,
    },
    /// The testbed, or the operators' interface.
    #[error(transparent)]
    Testbed(#[from] peloton_testbed::Error),
    /// The system.
    #[error("{what}: {source}")]
    Io {
        /// The operation and its object.
        what: String,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    pub(crate) fn missing(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Missing { what: what.into(), why: why.into() }
    }

    pub(crate) fn answer(what: impl Into<String>, why: impl ToString) -> Self {
        Self::Answer { what: what.into(), why: why.to_string() }
    }
}
