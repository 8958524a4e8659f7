//! How each shard is, for health, metrics and the API.

use peloton_core::Totals;
use peloton_mesos::ClientStatus;
use peloton_model::ShardId;

/// Where a shard stands in this master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShardPhase {
    /// Who has it is not known yet.
    Starting,
    /// Another master has it, or nobody yet.
    NotOwned,
    /// Its records are being read.
    Loading,
    /// It runs.
    Running,
    /// Something is wrong; it is tried again.
    Failing {
        /// What.
        why: String,
    },
    /// The master is stopping.
    Stopped,
}

/// A shard's status at one moment.
#[derive(Debug, Clone)]
pub struct ShardStatus {
    /// The shard.
    pub shard: ShardId,
    /// Where it stands.
    pub phase: ShardPhase,
    /// Since when, in Unix milliseconds.
    pub since: u64,
    /// Its Mesos client, while it runs.
    pub mesos: Option<ClientStatus>,
    /// What it holds, while it runs.
    pub totals: Totals,
    /// Writes that are not durable yet.
    pub pending_writes: usize,
    /// Transactions committed.
    pub commits: u64,
    /// Inputs stepped.
    pub steps: u64,
    /// What an operator should know although everything works.
    pub notice: Option<String>,
    /// What went wrong with the store last, while it does.
    pub store_problem: Option<String>,
}

impl ShardStatus {
    pub(crate) fn new(shard: ShardId, since: u64) -> Self {
        Self {
            shard,
            phase: ShardPhase::Starting,
            since,
            mesos: None,
            totals: Totals::default(),
            pending_writes: 0,
            commits: 0,
            steps: 0,
            notice: None,
            store_problem: None,
        }
    }
}
