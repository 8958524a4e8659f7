//! The procedures of ClusterManager.

use peloton_proto::peloton::cluster as pb;

use super::{Answer, Api, Context};
use crate::cluster_view::{
    ClusterStatus, Connection, MasterStatus, MesosStatus, Quorum, ShardStatus, StoreEndpoint,
    StoreStatus,
};

pub(super) async fn get(api: &Api, _: &Context, _: pb::GetRequest) -> Answer<pb::GetResponse> {
    let records = api.jobs.records();
    let result = match records.cluster().await? {
        Some(cluster) => pb::ClusterInfo {
            name: cluster.name,
            shard_count: cluster.shards.into(),
            created_at: signed(cluster.created_at),
        },
        None => pb::ClusterInfo { shard_count: records.shards().into(), ..Default::default() },
    };
    Ok(pb::GetResponse { result: Some(result) })
}

pub(super) async fn get_status(
    api: &Api,
    _: &Context,
    _: pb::GetStatusRequest,
) -> Answer<pb::GetStatusResponse> {
    Ok(pb::GetStatusResponse { result: Some(status(api.cluster.status())) })
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
