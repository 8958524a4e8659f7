//! The model behind the contract passes the suite, too.

use std::sync::Arc;

use peloton_store::{MemoryStore, Store};

async fn fresh() -> (Arc<dyn Store>, ()) {
    (Arc::new(MemoryStore::new()), ())
}

peloton_store::store_suite!(fresh);
