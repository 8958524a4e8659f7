//! The procedures of ClusterManager.

use std::time::Duration;

use peloton_proto::peloton::cluster as pb;

use super::{Answer, Api, Context};
use crate::cluster_view::{
    ClusterStatus, Connection, MasterStatus, MesosStatus, Quorum, ShardStatus, StoreEndpoint,
    StoreStatus,
};
use crate::domain::Records;

/// How long a status waits for what was decided at the creation: it is asked for when things are bad, too.
const CLUSTER_PATIENCE: Duration = Duration::from_millis(200);

pub(super) async fn get(api: &Api, _: &Context, _: pb::GetRequest) -> Answer<pb::GetResponse> {
    let records = api.jobs.records();
    Ok(pb::GetResponse { result: Some(cluster(api, records).await?) })
}

/// What was decided when the cluster was created. It never changes, so once is often enough.
async fn cluster(api: &Api, records: &Records) -> Answer<pb::ClusterInfo> {
    if let Some(known) = api.cluster_info.get() {
        return Ok(known.clone());
    }
    let shard_count = records.shards().into();
    let Some(cluster) = records.cluster().await? else {
        return Ok(pb::ClusterInfo { shard_count, ..Default::default() });
    };
    let info = pb::ClusterInfo {
        name: cluster.name,
        shard_count: cluster.shards.into(),
        created_at: signed(cluster.created_at),
    };
    Ok(api.cluster_info.get_or_init(|| info).clone())
}

pub(super) async fn get_status(
    api: &Api,
    _: &Context,
    _: pb::GetStatusRequest,
) -> Answer<pb::GetStatusResponse> {
    let mut status = status(api.cluster.status());
    let records = api.jobs.records().stale();
    let asked = tokio::time::timeout(CLUSTER_PATIENCE, cluster(api, &records)).await;
    status.cluster = asked.ok().and_then(Result::ok);
    Ok(pb::GetStatusResponse { result: Some(status) })
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn status(status: ClusterStatus) -> pb::ClusterStatus {
    pb::ClusterStatus {
        masters: status.masters.into_iter().map(master).collect(),
        shards: status.shards.into_iter().map(shard).collect(),
        store: Some(store(status.store)),
        mesos: Some(mesos(status.mesos)),
        cluster: None,
    }
}

fn store(store: StoreStatus) -> pb::StoreStatus {
    let quorum = match store.quorum {
        Quorum::NotNeeded => pb::store_status::Quorum::NotNeeded,
        Quorum::Present => pb::store_status::Quorum::Present,
        Quorum::Lost => pb::store_status::Quorum::Lost,
    };
    pb::StoreStatus {
        healthy: store.healthy,
        r#type: store.kind,
        message: store.message,
        endpoints: store.endpoints.into_iter().map(endpoint).collect(),
        revision: store.revision,
        since_answer_ms: store.since_answer_ms,
        quorum: quorum.into(),
    }
}

fn endpoint(endpoint: StoreEndpoint) -> pb::StoreEndpoint {
    pb::StoreEndpoint {
        address: endpoint.address,
        healthy: endpoint.healthy,
        message: endpoint.message,
        connected: endpoint.connected,
        leader: endpoint.leader,
        version: endpoint.version,
        revision: endpoint.revision,
        behind: endpoint.behind,
        db_bytes: endpoint.db_bytes,
    }
}

fn mesos(mesos: MesosStatus) -> pb::MesosStatus {
    pb::MesosStatus {
        connected: mesos.connected,
        leader: mesos.leader,
        version: mesos.version,
        message: mesos.message,
        found_by: mesos.found_by,
        found_in: mesos.found_in,
    }
}

fn master(master: MasterStatus) -> pb::Master {
    pb::Master {
        id: master.id,
        address: master.address,
        version: master.version,
        started_at: signed(master.started_at),
        answering: master.answering,
        accepting: master.accepting,
        not_accepting: master.not_accepting,
        lease_left_ms: master.lease_left_ms,
        schema_version: master.schema_version,
    }
}

fn shard(shard: ShardStatus) -> pb::Shard {
    let connection = match shard.connection {
        Connection::Unknown => pb::Connection::Unknown,
        Connection::Disconnected => pb::Connection::Disconnected,
        Connection::Connecting => pb::Connection::Connecting,
        Connection::Reconciling => pb::Connection::Reconciling,
        Connection::Subscribed => pb::Connection::Subscribed,
    };
    pb::Shard {
        number: shard.number.into(),
        owner: shard.owner,
        owner_address: shard.owner_address,
        owned_since: signed(shard.owned_since),
        framework_id: shard.framework_id,
        role: shard.role,
        connection: connection.into(),
        message: shard.message,
    }
}
