//! Turns the engine's errors and panics into the contract's errors.

use std::panic::{AssertUnwindSafe, catch_unwind};

use peloton_store::StoreError;

/// An error of the engine while nothing was written.
pub(crate) fn disk(error: impl Into<redb::Error>) -> StoreError {
    let error: redb::Error = error.into();
    match error {
        redb::Error::Corrupted(reason) => StoreError::Corrupt { reason },
        redb::Error::Io(io) if io.kind() == std::io::ErrorKind::InvalidData => {
            StoreError::Corrupt { reason: io.to_string() }
        }
        redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::UpgradeRequired(_) => StoreError::Corrupt { reason: error.to_string() },
        other => StoreError::Unavailable { reason: other.to_string() },
    }
}

/// Runs `work`; a panic of the engine (damaged pages can cause one) becomes `Corrupt`.
pub(crate) fn no_panic<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    // What `work` touches is thrown away or opened again after an error, so it may be broken.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(StoreError::Corrupt { reason: format!("the storage engine failed: {text}") })
    })
}

/// The store does not work now.
pub(crate) fn unavailable(reason: impl Into<String>) -> StoreError {
    StoreError::Unavailable { reason: reason.into() }
}

/// The reason given after the close.
pub(crate) const CLOSED: &str = "the store was closed";

/// The store was closed.
pub(crate) fn closed() -> StoreError {
    unavailable(CLOSED)
}
