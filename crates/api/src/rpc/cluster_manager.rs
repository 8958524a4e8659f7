//! The procedures of ClusterManager.

use peloton_proto::peloton::cluster as pb;

use super::{Answer, Api, Context};
use crate::cluster_view::{ClusterStatus, Connection, MasterStatus, ShardStatus};

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
    let (store, mesos) = (status.store, status.mesos);
    pb::ClusterStatus {
        masters: status.masters.into_iter().map(master).collect(),
        shards: status.shards.into_iter().map(shard).collect(),
        store: Some(pb::StoreStatus {
            healthy: store.healthy,
            r#type: store.kind,
            message: store.message,
        }),
        mesos: Some(pb::MesosStatus {
            connected: mesos.connected,
            leader: mesos.leader,
            version: mesos.version,
            message: mesos.message,
        }),
    }
}

fn master(master: MasterStatus) -> pb::Master {
    pb::Master {
        id: master.id,
        address: master.address,
        version: master.version,
        started_at: signed(master.started_at),
        answering: master.answering,
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
        owned_since: signed(shard.owned_since),
        framework_id: shard.framework_id,
        role: shard.role,
        connection: connection.into(),
        message: shard.message,
    }
}
