//! What can go wrong with a store, sorted by what the caller can do about it.

use crate::{LeaseId, Revision};

/// Why a store did not do what was asked.
///
/// The important line runs between [`StoreError::Unavailable`] (nothing was written) and
/// [`StoreError::Unknown`] (a write may or may not have happened: read before you repeat it).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached or cannot work now. Nothing was written.
    #[error("the store is unavailable: {reason}")]
    Unavailable {
        /// What the back end knows about the cause.
        reason: String,
    },
    /// The connection or the disk failed while a write was in flight: it may or may not have happened.
    #[error("the outcome of the write is unknown: {reason}")]
    Unknown {
        /// What the back end knows about the cause.
        reason: String,
    },
    /// The revision asked for is no longer kept: list again at the latest revision and go on there.
    #[error("the revision is compacted; watches start after revision {at}, reads not before it")]
    Compacted {
        /// The newest revision whose events are gone.
        at: Revision,
    },
    /// The lease does not exist: it ran out, was revoked, or never was.
    #[error("lease {id} does not exist; it ran out or was revoked")]
    LeaseNotFound {
        /// The lease asked for.
        id: LeaseId,
    },
    /// The request is larger than the back end takes; see [`crate::Store::limits`].
    #[error("{what} is {size}, the store takes at most {limit}")]
    TooLarge {
        /// What is too large, with its unit.
        what: &'static str,
        /// How large it is.
        size: u64,
        /// How large it may be.
        limit: u64,
    },
    /// The stored data is damaged or is not a store of ours.
    #[error("the store is corrupt: {reason}")]
    Corrupt {
        /// What was found, where.
        reason: String,
    },
    /// Another process holds the store.
    #[error("{path} is in use by {holder}; stop it or choose another directory")]
    Locked {
        /// What is locked.
        path: String,
        /// Who holds it, as far as known.
        holder: String,
    },
    /// The store was written by a newer version of Peloton.
    #[error("the store has schema version {found}, this program supports up to {supported}")]
    Schema {
        /// The version found.
        found: u64,
        /// The newest version this program knows.
        supported: u64,
    },
    /// The request makes no sense as it is; repeating it does not help.
    #[error("invalid {field}: {reason}")]
    InvalidArgument {
        /// The part of the request that is wrong.
        field: &'static str,
        /// What was given and what is allowed.
        reason: String,
    },
}

impl StoreError {
    /// Whether the same request may succeed later without any change. True for [`Self::Unavailable`]
    /// alone: [`Self::Unknown`] needs a read first, [`Self::Compacted`] a new list.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether a write may have happened although it was not answered.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    /// Whether the caller must list again at the latest revision.
    pub fn is_compacted(&self) -> bool {
        matches!(self, Self::Compacted { .. })
    }

    /// Whether the caller's request is at fault, not the store.
    pub fn is_invalid(&self) -> bool {
        matches!(
            self,
            Self::TooLarge { .. } | Self::InvalidArgument { .. } | Self::LeaseNotFound { .. }
        )
    }

    /// Whether only an operator can help: the store does not work with this program or this disk.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Locked { .. } | Self::Schema { .. })
    }
}
