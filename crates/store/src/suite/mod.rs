//! The suite every back end must pass.
//!
//! A back end calls [`store_suite!`](crate::store_suite) once in a test file, with an `async fn` that
//! yields a fresh store (`Arc<dyn Store>`) and a guard that keeps what it needs alive. Fresh means: no
//! keys, and nobody else writes to them; revisions may begin anywhere and have gaps.

// A failed expectation is what this module is for; it is compiled for tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod leases;
mod limits;
mod model;
mod random;
mod ranges;
mod txns;
mod watches;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use leases::{
    lease_expiry_deletes_its_keys, lease_keep_alive_holds_its_keys, lease_put_moves_the_key,
    lease_revoke_deletes_its_keys_at_once, unknown_lease_is_refused,
};
pub use limits::{
    invalid_requests_are_refused, what_fits_exactly_is_taken, what_is_too_large_is_refused,
};
pub use model::behaves_like_the_model;
pub use ranges::{
    delete_range_deletes_the_range_alone, pages_are_of_one_revision, ranges_have_their_bounds,
    reads_see_what_was_answered, stale_reads_catch_up,
};
pub use txns::{
    compares_hold_or_not, conflict_names_what_failed, one_of_many_creators_wins,
    racing_increments_are_all_counted, transaction_without_effect_has_no_revision,
    versions_count_from_creation,
};
pub use watches::{
    close_ends_everything, watch_delivers_every_revision_once,
    watch_filters_and_keeps_batches_whole, watch_resumes_in_the_past, watch_waits_for_the_future,
};

use crate::{KeyValue, Revision, Store, StoreError, Txn, TxnResult, WatchBatch, WatchStream};

/// How long the suite waits for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Makes a test of every part of the suite. The argument is the path of an
/// `async fn() -> (Arc<dyn Store>, Guard)`; the crate needs `tokio` with `macros` and `time`.
#[macro_export]
macro_rules! store_suite {
    ($fresh:path) => {
        $crate::store_suite! { @each $fresh,
            versions_count_from_creation, compares_hold_or_not, conflict_names_what_failed,
            transaction_without_effect_has_no_revision, one_of_many_creators_wins,
            racing_increments_are_all_counted, ranges_have_their_bounds, pages_are_of_one_revision,
            delete_range_deletes_the_range_alone, reads_see_what_was_answered,
            stale_reads_catch_up,
            watch_delivers_every_revision_once, watch_filters_and_keeps_batches_whole,
            watch_resumes_in_the_past, watch_waits_for_the_future, close_ends_everything,
            lease_expiry_deletes_its_keys, lease_keep_alive_holds_its_keys,
            lease_put_moves_the_key, lease_revoke_deletes_its_keys_at_once,
            unknown_lease_is_refused, what_is_too_large_is_refused, what_fits_exactly_is_taken,
            invalid_requests_are_refused, behaves_like_the_model,
        }
    };
    (@each $fresh:path, $($name:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let (store, guard) = $fresh().await;
                let test = $crate::suite::$name(store);
                tokio::time::timeout($crate::suite::PATIENCE, test).await.expect("in time");
                drop(guard);
            }
        )+
    };
}

/// Commits what must succeed.
async fn commit(store: &Arc<dyn Store>, txn: Txn) -> Revision {
    match store.commit(txn.clone()).await {
        Ok(TxnResult::Committed { revision }) => revision,
        other => panic!("{txn:?} gave {other:?}"),
    }
}

async fn put(store: &Arc<dyn Store>, key: &'static str, value: &'static str) -> Revision {
    commit(store, Txn::new().put(key, value)).await
}

async fn get(store: &Arc<dyn Store>, key: &'static str) -> Option<KeyValue> {
    store.get(key.into()).await.expect("get").kv
}

async fn next(stream: &mut WatchStream) -> Option<Result<WatchBatch, StoreError>> {
    poll_fn(|cx| stream.as_mut().poll_next(cx)).await
}

async fn next_batch(stream: &mut WatchStream) -> WatchBatch {
    next(stream).await.expect("the watch goes on").expect("a batch")
}

/// Waits until the key is gone.
async fn gone(store: &Arc<dyn Store>, key: &'static str) {
    let deadline = Instant::now() + PATIENCE;
    while get(store, key).await.is_some() {
        assert!(Instant::now() < deadline, "{key} is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
