//! The model behind the contract passes the suite, too.

// All of this is test code; a helper may fail like a test does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use peloton_store::{MemoryStore, Store};

async fn fresh() -> (Arc<dyn Store>, ()) {
    (Arc::new(MemoryStore::new()), ())
}

peloton_store::store_suite!(fresh);
