//! The contract itself.

use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;

use crate::{
    GetResponse, Key, KeyRange, LeaseGrant, LeaseId, Limits, RangeRequest, RangeResponse, Revision,
    StoreError, Txn, TxnResult, WatchBatch,
};

/// A future that borrows the store for `'a`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The batches of one watch. An error is the last item.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchBatch, StoreError>> + Send>>;

/// How a store feels, as far as it knows without asking around.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The last thing it did worked.
    Ok,
    /// It does not work now, but goes on trying by itself.
    Degraded {
        /// Why.
        reason: String,
    },
    /// It gave up; only an operator or a restart helps.
    Failed {
        /// Why.
        reason: String,
    },
}

/// A transactional, ordered, watched key space with leases: etcd's semantics.
///
/// Object-safe; share it as `Arc<dyn Store>`. All methods may be called from any task at any time.
/// A future that is dropped before it is ready leaves a write's outcome unknown.
pub trait Store: Send + Sync + 'static {
    /// What this back end takes. Callers split what is larger. Constant for the life of the store.
    fn limits(&self) -> Limits;

    /// How the store feels; cheap, does no I/O.
    fn health(&self) -> Health;

    /// The latest value of one key.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`, `InvalidArgument` (empty key).
    fn get(&self, key: Key) -> BoxFuture<'_, Result<GetResponse, StoreError>>;

    /// One page of a range in key order. The page may hold fewer keys than asked for: what counts is
    /// [`RangeResponse::more`]. See [`crate::Pager`].
    ///
    /// # Errors
    /// `Compacted` when the pinned revision is gone, `InvalidArgument` when it is in the future,
    /// `Unavailable`, `Corrupt`.
    fn range(&self, request: RangeRequest) -> BoxFuture<'_, Result<RangeResponse, StoreError>>;

    /// The same, from what is at hand and without asking around: it may be behind what was answered before,
    /// also by this method, and is answered while the back end can commit nothing. How far behind it is
    /// tells [`RangeResponse::revision`]. Back ends of one machine have nobody to ask and answer as always.
    ///
    /// # Errors
    /// As [`Store::range`].
    fn range_stale(
        &self,
        request: RangeRequest,
    ) -> BoxFuture<'_, Result<RangeResponse, StoreError>> {
        self.range(request)
    }

    /// Applies all operations as one revision if every compare holds, else nothing. A transaction
    /// that changes nothing (no operations, deletes that find nothing) commits without a new
    /// revision and answers the current one. An answer means durable.
    ///
    /// # Errors
    /// `Unavailable` (nothing happened), `Unknown` (may have happened), `LeaseNotFound`, `TooLarge`,
    /// `InvalidArgument` (empty key, a key written twice); see [`Txn::check`].
    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<TxnResult, StoreError>>;

    /// All changes of the range with a revision of `from` or later, past ones first. `from` may lie
    /// in the future, and must be at least 1; after a read at revision `r` it is `r.next()`.
    ///
    /// The stream goes on through lost connections. It ends after an error: `Compacted` when it cannot
    /// (or, because the reader was too slow, can no longer) go on from where it is: list again;
    /// `Unavailable` when the store was closed; `InvalidArgument`.
    fn watch(&self, range: KeyRange, from: Revision) -> WatchStream;

    /// A new lease that runs out `ttl` after its last keep-alive. Back ends may round `ttl` up.
    ///
    /// # Errors
    /// `InvalidArgument` (a `ttl` of zero or more than [`Limits::max_lease_ttl`]), `Unavailable`,
    /// `Unknown` (a lease may exist that nobody knows; it runs out by itself).
    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseGrant, StoreError>>;

    /// Starts the lease's time anew; answers how long it now has.
    ///
    /// # Errors
    /// `LeaseNotFound`, `Unavailable`, `Unknown`.
    fn lease_keep_alive(&self, id: LeaseId) -> BoxFuture<'_, Result<Duration, StoreError>>;

    /// Ends the lease and deletes its keys, as one revision.
    ///
    /// # Errors
    /// `LeaseNotFound`, `Unavailable`, `Unknown`.
    fn lease_revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<(), StoreError>>;

    /// How long the lease has left.
    ///
    /// # Errors
    /// `LeaseNotFound`, `Unavailable`.
    fn lease_time_to_live(&self, id: LeaseId) -> BoxFuture<'_, Result<Duration, StoreError>>;

    /// Finishes what was accepted, ends all watches, and lets go of files and connections. Whatever
    /// is asked afterwards gets `Unavailable`. Closing twice is fine.
    fn close(&self) -> BoxFuture<'_, ()>;
}
