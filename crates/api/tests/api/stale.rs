//! Reads from what is at hand. That they are answered without a quorum is for a real etcd to show: see
//! `peloton-store-etcd`.

use std::sync::Arc;

use peloton_store::{
    BoxFuture, GetResponse, Health, Key, KeyRange, LeaseGrant, LeaseId, Limits, MemoryStore,
    RangeRequest, RangeResponse, Revision, Store, StoreError, Txn, TxnResult, WatchStream,
};
use serde_json::json;
use std::time::Duration;

use crate::support::{Master, config};

/// A member that was cut off at some moment: what it has of then it tells, and nothing else is answered.
struct CutOff(MemoryStore);

fn lost<T: Send + 'static>() -> BoxFuture<'static, Result<T, StoreError>> {
    let reason = "no quorum".to_owned();
    Box::pin(std::future::ready(Err(StoreError::Unavailable { reason })))
}

impl Store for CutOff {
    fn limits(&self) -> Limits {
        self.0.limits()
    }
    fn health(&self) -> Health {
        Health::Degraded { reason: "no quorum".to_owned() }
    }
    fn get(&self, _: Key) -> BoxFuture<'_, Result<GetResponse, StoreError>> {
        lost()
    }
    fn range(&self, _: RangeRequest) -> BoxFuture<'_, Result<RangeResponse, StoreError>> {
        lost()
    }
    fn range_stale(
        &self,
        request: RangeRequest,
    ) -> BoxFuture<'_, Result<RangeResponse, StoreError>> {
        self.0.range(request)
    }
    fn commit(&self, _: Txn) -> BoxFuture<'_, Result<TxnResult, StoreError>> {
        lost()
    }
    fn watch(&self, range: KeyRange, from: Revision) -> WatchStream {
        self.0.watch(range, from)
    }
    fn lease_grant(&self, _: Duration) -> BoxFuture<'_, Result<LeaseGrant, StoreError>> {
        lost()
    }
    fn lease_keep_alive(&self, _: LeaseId) -> BoxFuture<'_, Result<Duration, StoreError>> {
        lost()
    }
    fn lease_revoke(&self, _: LeaseId) -> BoxFuture<'_, Result<(), StoreError>> {
        lost()
    }
    fn lease_time_to_live(&self, _: LeaseId) -> BoxFuture<'_, Result<Duration, StoreError>> {
        lost()
    }
    fn close(&self) -> BoxFuture<'_, ()> {
        self.0.close()
    }
}

#[tokio::test]
async fn every_read_is_answered_from_what_is_at_hand_if_asked_to() {
    let store = MemoryStore::new();
    let master = Master::over(Arc::new(store.clone())).await;
    let (id, job_id) = (json!({"value": "a"}), json!({"value": "a"}));
    master.call("JobManager.Create", json!({"id": id, "config": config(3)})).await;
    // One that is upgraded, as then more records say how it is.
    let mut other = config(3);
    other["command"]["value"] = json!("sleep 2000");
    let spec = json!({"jobId": job_id, "jobConfig": other});
    master.call("UpgradeManager.Create", json!({"spec": spec})).await;
    let revision = store.state().revision().0;
    let cut_off = Master::over(Arc::new(CutOff(store.clone()))).await;
    for (procedure, request) in [
        ("JobManager.Get", json!({"id": id})),
        ("JobManager.GetStatus", json!({"id": id})),
        ("JobManager.Query", json!({"withStatus": true})),
        ("TaskManager.Get", json!({"jobId": job_id, "instanceId": 1})),
        ("TaskManager.List", json!({"jobId": job_id})),
        ("TaskManager.GetHistory", json!({"jobId": job_id})),
    ] {
        let reply = cut_off.yarpc(procedure, &request).await;
        assert_eq!(reply.status, 503, "{procedure}: the latest is not at hand: {}", reply.body);
        let latest = master.call(procedure, request.clone()).await;
        assert!(latest.get("asOfRevision").is_none(), "{procedure}: {latest}");

        let mut request = request;
        request["stale"] = json!(true);
        let mut stale = cut_off.call(procedure, request).await;
        assert_eq!(stale["asOfRevision"], revision, "{procedure}");
        stale.as_object_mut().unwrap().remove("asOfRevision");
        assert_eq!(stale, latest, "{procedure}");
    }
    // Of what is not there, too.
    let none = json!({"id": {"value": "none"}, "stale": true});
    let answer = cut_off.call("JobManager.Get", none).await;
    assert!(answer.get("notFound").is_some());
    assert_eq!(answer["asOfRevision"], revision);
    // What a status shows of the cluster itself is not worth a wait for the store.
    assert_eq!(
        cut_off.call("ClusterManager.GetStatus", json!({})).await["result"]["cluster"]["shardCount"],
        8
    );
}
