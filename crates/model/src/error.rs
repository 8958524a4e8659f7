//! Error codes and the shape of a validation error.

use std::fmt;

/// The kind of an error, as every interface of Peloton names it (the names are gRPC's).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request is wrong in itself.
    InvalidArgument,
    /// What the request names does not exist.
    NotFound,
    /// What the request would create exists.
    AlreadyExists,
    /// A concurrent change won; read and try again.
    Aborted,
    /// The request is right, but not in this state.
    FailedPrecondition,
    /// A limit is reached.
    ResourceExhausted,
    /// The caller may not do this.
    PermissionDenied,
    /// The caller is not known.
    Unauthenticated,
    /// A dependency is away; try again later or elsewhere.
    Unavailable,
    /// The call's deadline has passed.
    DeadlineExceeded,
    /// A bug or a damaged store.
    Internal,
    /// Not in this build.
    Unimplemented,
}

impl Code {
    /// The name on the wire, such as `invalid-argument`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid-argument",
            Self::NotFound => "not-found",
            Self::AlreadyExists => "already-exists",
            Self::Aborted => "aborted",
            Self::FailedPrecondition => "failed-precondition",
            Self::ResourceExhausted => "resource-exhausted",
            Self::PermissionDenied => "permission-denied",
            Self::Unauthenticated => "unauthenticated",
            Self::Unavailable => "unavailable",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::Internal => "internal",
            Self::Unimplemented => "unimplemented",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is wrong with one field of a request: the field's path, the value, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value} is not allowed: {allowed}")]
pub struct FieldError {
    /// The path of the field, as users write it: `ports[2].value`.
    pub field: String,
    /// The value that was given.
    pub value: String,
    /// What would have been allowed.
    pub allowed: String,
}

impl FieldError {
    /// Makes one; the value is shown as `Debug` shows it, so texts are quoted.
    pub fn new(
        field: impl Into<String>,
        value: impl fmt::Debug,
        allowed: impl Into<String>,
    ) -> Self {
        Self { field: field.into(), value: format!("{value:?}"), allowed: allowed.into() }
    }
}
