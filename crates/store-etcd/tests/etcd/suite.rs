//! The suite, against one member; each part has a member of its own, because revisions are the whole
//! member's.

use std::sync::Arc;

use peloton_store::{MemoryStore, Store};
use peloton_store_etcd::{EtcdStore, Options};
use peloton_testbed::etcd::{Etcd, EtcdOptions, start};

async fn fresh() -> (Arc<dyn Store>, Option<Etcd>) {
    let Some(etcd) = start(&EtcdOptions::members(1)) else {
        // It was said that the test is skipped; what goes on is a test of the model.
        return (Arc::new(MemoryStore::new()), None);
    };
    let store = EtcdStore::open(Options::new(etcd.endpoints(), "/suite")).await.expect("open");
    (Arc::new(store), Some(etcd))
}

peloton_store::store_suite!(fresh);
