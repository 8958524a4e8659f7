//! The one error of this crate. Answers such as `notFound` are not errors: they are results.

use peloton_model::{Code, FieldError, IdError};
use peloton_store::StoreError;

/// Why a call got no answer. Turned into YARPC in `yarpc` and into gRPC in `grpc`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The kind.
    pub code: Code,
    /// What is wrong, for people: it names the field, the value and what is allowed.
    pub message: String,
    /// Whether it is certain that nothing of the request was done, so that a client may make the
    /// same request of another master. Only said of `unavailable` and of too many calls in hand.
    pub not_executed: bool,
    /// Whether a change may have been made, or may still be: nobody knows.
    pub outcome_unknown: bool,
}

impl ApiError {
    /// Makes one.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), not_executed: false, outcome_unknown: false }
    }

    /// Not now, and nothing was done.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { not_executed: true, ..Self::new(Code::Unavailable, message) }
    }

    /// The request is wrong in itself.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// A bug, or a damaged store.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }

    /// All that is wrong with the fields of a request, in one message.
    #[must_use]
    pub fn fields(errors: &[FieldError]) -> Self {
        let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
        Self::invalid(texts.join("; "))
    }
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<IdError> for ApiError {
    fn from(error: IdError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { reason } => {
                Self::unavailable(format!("store unavailable: {reason}"))
            }
            StoreError::Unknown { reason } => {
                let message = format!(
                    "store unavailable, and whether the change was made is not known: {reason}"
                );
                Self { outcome_unknown: true, ..Self::new(Code::Unavailable, message) }
            }
            // The history moved on under a read in pages; the next try starts at the latest revision.
            StoreError::Compacted { .. } => {
                Self::unavailable(format!("store busy, try again: {error}"))
            }
            StoreError::TooLarge { .. } => Self::new(Code::ResourceExhausted, error.to_string()),
            StoreError::Corrupt { .. }
            | StoreError::Locked { .. }
            | StoreError::Schema { .. }
            | StoreError::LeaseNotFound { .. }
            | StoreError::InvalidArgument { .. } => Self::internal(error.to_string()),
        }
    }
}
