//! How the members are, for operators.

use std::time::Duration;

use futures_util::future::join_all;
use peloton_store::Revision;
use tokio::time::timeout;

use crate::connection::Connection;
use crate::core::{Core, Link};
use crate::failure::Failure;
use crate::proto::rpc;

/// For one endpoint to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1500);

/// How the cluster is, as its members say themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterStatus {
    /// The cluster's id, once one of its members was connected.
    pub cluster_id: Option<u64>,
    /// The endpoint in use; `None` while there is none.
    pub connected: Option<String>,
    /// All endpoints, in the order of the options, and what they answered or why they did not.
    pub endpoints: Vec<(String, Result<MemberStatus, String>)>,
}

impl ClusterStatus {
    /// The leader's id, if a majority of all endpoints agree on it.
    pub fn leader(&self) -> Option<u64> {
        let named: Vec<u64> = self.members().map(|member| member.leader).collect();
        let majority = self.endpoints.len() / 2 + 1;
        let agreed = |id: &u64| named.iter().filter(|other| *other == id).count() >= majority;
        named.iter().copied().find(|id| *id != 0 && agreed(id))
    }

    /// Those that answered.
    pub fn members(&self) -> impl Iterator<Item = &MemberStatus> {
        self.endpoints.iter().filter_map(|(_, answer)| answer.as_ref().ok())
    }
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its id.
    pub id: u64,
    /// Its version.
    pub version: String,
    /// The id of the leader as it knows it; 0 for none.
    pub leader: u64,
    /// The revision of its copy of the store.
    pub revision: Revision,
    /// Entries of the log that it knows to be committed and has not applied yet.
    pub behind: u64,
    /// Bytes of its file.
    pub db_bytes: u64,
    /// Bytes of the file that hold something; defragmenting frees the rest.
    pub db_used_bytes: u64,
    /// Whether it does not vote yet.
    pub is_learner: bool,
    /// Its alarms and errors.
    pub errors: Vec<String>,
}

impl From<rpc::StatusResponse> for MemberStatus {
    fn from(status: rpc::StatusResponse) -> Self {
        let header = status.header.unwrap_or_default();
        Self {
            id: header.member_id,
            version: status.version,
            leader: status.leader,
            revision: Revision(header.revision),
            behind: status.raft_index.saturating_sub(status.raft_applied_index),
            db_bytes: u64::try_from(status.db_size).unwrap_or(0),
            db_used_bytes: u64::try_from(status.db_size_in_use).unwrap_or(0),
            is_learner: status.is_learner,
            errors: status.errors,
        }
    }
}

/// Asks all endpoints at once.
pub(crate) async fn ask(core: &Core) -> ClusterStatus {
    let connected = match &*core.link.borrow() {
        Link::Up(connection) => Some(connection.address().to_owned()),
        Link::Down { .. } | Link::Closed => None,
    };
    let answers = (0..core.options.endpoints.len()).map(|endpoint| ask_one(core, endpoint));
    let answers = join_all(answers).await;
    ClusterStatus {
        cluster_id: core.cluster_id.get().copied(),
        connected,
        endpoints: core.options.endpoints.iter().cloned().zip(answers).collect(),
    }
}

async fn ask_one(core: &Core, endpoint: usize) -> Result<MemberStatus, String> {
    let asking = async {
        let connection = Connection::open(&core.options, endpoint).await;
        let connection = connection.map_err(Failure::reason)?;
        connection.authenticate(&core.options, 0).await.map_err(Failure::reason)?;
        let status = connection.status().await;
        status.map(MemberStatus::from).map_err(|status| Failure::of(&status).reason())
    };
    let late = || format!("no answer within {ANSWER_TIMEOUT:?}");
    timeout(ANSWER_TIMEOUT, asking).await.unwrap_or_else(|_| Err(late()))
}
