//! The handle: the contract's requests as etcd's.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use peloton_store::{
    BoxFuture, GetResponse, Health, Key, KeyRange, LeaseGrant, LeaseId, Limits, Op, RangeRequest,
    RangeResponse, Revision, Store, StoreError, Txn, TxnResult, WatchStream,
};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tonic::{Response, Status};

use crate::convert;
use crate::core::{Core, Failed, Link, Repeat};
use crate::failure::{Failure, closed};
use crate::options::Options;
use crate::proto::rpc;
use crate::status::{self, ClusterStatus};
use crate::{keeper, schema, watch};

/// For one attempt at what the leader alone can do and etcd forwards to it: a member waits for seven
/// seconds for a leader that is paused, also when there has long been a new one.
const LEASE_ATTEMPT: Duration = Duration::from_secs(1);

/// An etcd cluster as a store. Dropping it lets go of the connection; what is under way is then in doubt.
/// [`Store::close`] waits for it.
pub struct EtcdStore {
    core: Arc<Core>,
    keeper: AbortHandle,
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdStore").field("options", &self.core.options).finish_non_exhaustive()
    }
}

impl EtcdStore {
    /// Connects with the cluster, and writes down the schema's version if nobody has. Needs a Tokio
    /// runtime, in which a task keeps the connection until the store is closed or dropped.
    ///
    /// # Errors
    /// `InvalidArgument` for options that make no sense, and for a user or password that etcd refuses;
    /// `Unavailable` when no endpoint can be used within [`Options::request_timeout`]; `Schema` when a
    /// newer version of Peloton has written there; `Corrupt` when something else has.
    pub async fn open(options: Options) -> Result<Self, StoreError> {
        options.check()?;
        let core = Arc::new(Core::new(options));
        let keeper = tokio::spawn(keeper::keep(core.clone())).abort_handle();
        let store = Self { core, keeper };
        let deadline = Instant::now() + store.core.options.request_timeout;
        match store.core.connected(deadline).await {
            Ok(_) => {}
            Err(Failure::Denied(reason)) => {
                return Err(StoreError::InvalidArgument { field: "store options", reason });
            }
            Err(failure) => return Err(failure.into_error(None, None)),
        }
        schema::ensure(&store.core).await?;
        Ok(store)
    }

    /// Asks every endpoint how it is. Each has a second and a half; those that do not answer are named.
    pub async fn status(&self) -> ClusterStatus {
        status::ask(&self.core).await
    }

    async fn page(&self, request: RangeRequest, stale: bool) -> Result<RangeResponse, StoreError> {
        let core = &self.core;
        if request.revision.is_some_and(|revision| revision < Revision::FIRST) {
            return Err(StoreError::Compacted { at: Revision::FIRST });
        }
        let most = core.options.limits().max_page_keys;
        let mut limit = if request.limit == 0 { most } else { request.limit.min(most) };
        loop {
            let mut asked = convert::range(&core.keys, &request, limit);
            asked.serializable = stale;
            match self.range_once(&asked).await {
                Ok(answer) => return convert::page(&core.keys, request.revision, answer),
                Err(Failure::AnswerTooLarge(_)) if limit > 1 => limit /= 2,
                Err(failure) => return Err(failure.into_error(None, request.revision)),
            }
        }
    }

    async fn range_once(&self, request: &rpc::RangeRequest) -> Result<rpc::RangeResponse, Failure> {
        let answer =
            self.core.call(Repeat::Read, self.core.options.request_timeout, |connection| {
                let message = request.clone();
                async move {
                    let mut client = connection.kv();
                    // Without others to ask, a leader is not needed.
                    let request = if message.serializable {
                        connection.request_without_leader(message)
                    } else {
                        connection.request(message)
                    };
                    client.range(request).await.map(Response::into_inner)
                }
            });
        answer.await.map_err(|failed| failed.failure)
    }

    /// Which of the transaction's leases does not exist. etcd says only that one does not.
    async fn missing_lease(&self, txn: &Txn) -> StoreError {
        let leases = txn.then.iter().filter_map(|op| match op {
            Op::Put { lease, .. } => *lease,
            _ => None,
        });
        let leases: Vec<LeaseId> = leases.collect();
        if leases.iter().collect::<BTreeSet<_>>().len() > 1 {
            for id in &leases {
                let found = self.lease_time_to_live(*id).await;
                if matches!(found, Err(StoreError::LeaseNotFound { .. })) {
                    return StoreError::LeaseNotFound { id: *id };
                }
            }
        }
        Failure::LeaseNotFound.into_error(leases.first().copied(), None)
    }

    async fn commit_checked(&self, txn: Txn) -> Result<TxnResult, StoreError> {
        let core = &self.core;
        txn.check(&core.options.limits())?;
        let request = convert::txn(&core.keys, &txn)?;
        let answer = core.call(Repeat::Once, core.options.request_timeout, |connection| {
            let request = connection.request(request.clone());
            async move { connection.kv().txn(request).await.map(Response::into_inner) }
        });
        match answer.await {
            Ok(answer) => convert::txn_result(&core.keys, &txn, answer),
            Err(Failed { failure: Failure::LeaseNotFound, .. }) => {
                Err(self.missing_lease(&txn).await)
            }
            Err(failed) => Err(failed.failure.into_error(None, None)),
        }
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseGrant, StoreError> {
        let ttl = self.core.options.limits().lease_ttl(ttl)?;
        // Rounded up to whole seconds, in which etcd counts. It chooses the id.
        let seconds = i64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
        let message = rpc::LeaseGrantRequest { ttl: seconds, id: 0 };
        let timeout = self.core.options.request_timeout;
        // A lease that nobody knows of has no keys and runs out by itself.
        let answer = self.core.call(Repeat::Idempotent, timeout, |connection| {
            let request = connection.request(message);
            async move { connection.lease().lease_grant(request).await.map(Response::into_inner) }
        });
        let answer = answer.await.map_err(|failed| failed.failure.into_error(None, None))?;
        Ok(LeaseGrant { id: LeaseId(answer.id), ttl: seconds_left(answer.ttl) })
    }

    async fn keep_alive(&self, id: LeaseId) -> Result<Duration, StoreError> {
        let answer = self.core.call(Repeat::Idempotent, LEASE_ATTEMPT, |connection| {
            // A stream for every renewal: etcd handles those of one stream one after the other, and a
            // renewal that waits for a leader which is gone would hold up all others.
            let message = rpc::LeaseKeepAliveRequest { id: id.0 };
            let request = connection.request(stream::iter([message]));
            async move {
                let response = connection.lease().lease_keep_alive(request).await?;
                let answer = response.into_inner().message().await?;
                answer.ok_or_else(|| Status::unknown("etcd ended the stream without an answer"))
            }
        });
        match answer.await {
            Ok(answer) if answer.ttl <= 0 => Err(StoreError::LeaseNotFound { id }),
            Ok(answer) => Ok(seconds_left(answer.ttl)),
            Err(failed) => Err(failed.failure.into_error(Some(id), None)),
        }
    }

    async fn revoke(&self, id: LeaseId) -> Result<(), StoreError> {
        let timeout = self.core.options.request_timeout;
        let answer = self.core.call(Repeat::Idempotent, timeout, |connection| {
            let request = connection.request(rpc::LeaseRevokeRequest { id: id.0 });
            async move { connection.lease().lease_revoke(request).await }
        });
        match answer.await {
            Ok(_) => Ok(()),
            // It was there at the first attempt, or ran out since: it is gone, as was asked.
            Err(Failed { failure: Failure::LeaseNotFound, doubtful: true }) => Ok(()),
            Err(failed) => Err(failed.failure.into_error(Some(id), None)),
        }
    }

    async fn time_to_live(&self, id: LeaseId) -> Result<Duration, StoreError> {
        let message = rpc::LeaseTimeToLiveRequest { id: id.0, keys: false };
        let answer =
            self.core.call(Repeat::Read, LEASE_ATTEMPT, |connection| {
                let request = connection.request(message);
                async move {
                    connection.lease().lease_time_to_live(request).await.map(Response::into_inner)
                }
            });
        match answer.await {
            Ok(answer) if answer.ttl < 0 => Err(StoreError::LeaseNotFound { id }),
            Ok(answer) => Ok(seconds_left(answer.ttl)),
            Err(failed) => Err(failed.failure.into_error(Some(id), None)),
        }
    }
}

fn seconds_left(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

impl Store for EtcdStore {
    fn limits(&self) -> Limits {
        self.core.options.limits()
    }

    fn health(&self) -> Health {
        self.core.health()
    }

    fn get(&self, key: Key) -> BoxFuture<'_, Result<GetResponse, StoreError>> {
        Box::pin(async move {
            if key.is_empty() {
                let reason = "a key must not be empty".to_owned();
                return Err(StoreError::InvalidArgument { field: "key", reason });
            }
            let request = convert::get(&self.core.keys, &key);
            let answer = self.range_once(&request).await;
            let answer = answer.map_err(|failure| failure.into_error(None, None))?;
            let page = convert::page(&self.core.keys, None, answer)?;
            Ok(GetResponse { kv: page.kvs.into_iter().next(), revision: page.revision })
        })
    }

    fn range(&self, request: RangeRequest) -> BoxFuture<'_, Result<RangeResponse, StoreError>> {
        Box::pin(self.page(request, false))
    }

    /// As the member that is connected has it, without asking the others.
    fn range_stale(
        &self,
        request: RangeRequest,
    ) -> BoxFuture<'_, Result<RangeResponse, StoreError>> {
        Box::pin(self.page(request, true))
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<TxnResult, StoreError>> {
        Box::pin(self.commit_checked(txn))
    }

    fn watch(&self, range: KeyRange, from: Revision) -> WatchStream {
        if self.core.is_closed() {
            return Box::pin(stream::iter([Err(closed())]));
        }
        watch::watch(self.core.clone(), &range, from)
    }

    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseGrant, StoreError>> {
        Box::pin(self.grant(ttl))
    }

    fn lease_keep_alive(&self, id: LeaseId) -> BoxFuture<'_, Result<Duration, StoreError>> {
        Box::pin(self.keep_alive(id))
    }

    fn lease_revoke(&self, id: LeaseId) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.revoke(id))
    }

    fn lease_time_to_live(&self, id: LeaseId) -> BoxFuture<'_, Result<Duration, StoreError>> {
        Box::pin(self.time_to_live(id))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.core.close())
    }
}

impl Drop for EtcdStore {
    fn drop(&mut self) {
        // Watches may outlive the handle; they end.
        self.core.link.send_replace(Link::Closed);
        self.keeper.abort();
    }
}
