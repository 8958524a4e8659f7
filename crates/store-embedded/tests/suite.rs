//! The embedded store passes the suite every back end must pass.

// All of this is test code; a helper may fail like a test does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use peloton_store::Store;
use peloton_store_embedded::{EmbeddedStore, Options};

async fn fresh() -> (Arc<dyn Store>, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("directory");
    let store = EmbeddedStore::open(Options::new(directory.path())).expect("open");
    (Arc::new(store), directory)
}

peloton_store::store_suite!(fresh);
