//! What a seed decides: how large the cluster is, how busy its users are, which faults there are and how
//! often. Some seeds are calm and some wild, and most leave a few kinds of faults out altogether: a bug that
//! needs two rare things shows where all else is quiet.

use crate::random::Random;

/// How long faults and users go on, in milliseconds.
const BUSY_MS: (u64, u64) = (3_600_000, 4_500_000);

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// A master is killed with -9, and started again some time later.
    MasterCrash,
    /// A master stops as on SIGTERM.
    MasterStop,
    /// A master stands still, often for longer than its lease.
    MasterPause,
    /// A master's clock jumps.
    ClockJump,
    /// A master cannot reach the store for a while.
    StoreCut,
    /// The store is slow and fails for a while.
    StoreTrouble,
    /// The store forgets its history.
    Compaction,
    /// A master cannot reach Mesos for a while.
    MesosCut,
    /// The connections of a master to Mesos are reset.
    MesosBreak,
    /// The Mesos master fails over.
    MesosFailOver,
    /// Mesos is down for a while.
    MesosDown,
    /// An agent is partitioned away, and comes back.
    AgentPartition,
    /// An agent's process restarts.
    AgentRestart,
    /// An agent's machine is lost with all on it, and comes back or not.
    AgentLoss,
    /// An operator says that an agent is gone for good.
    AgentGone,
    /// A task ends by itself.
    TaskFailure,
}

impl Fault {
    /// All, with how often they are drawn against each other.
    pub(crate) const ALL: [(Self, u64); 16] = [
        (Self::MasterCrash, 12),
        (Self::MasterStop, 4),
        (Self::MasterPause, 8),
        (Self::ClockJump, 4),
        (Self::StoreCut, 8),
        (Self::StoreTrouble, 8),
        (Self::Compaction, 3),
        (Self::MesosCut, 8),
        (Self::MesosBreak, 10),
        (Self::MesosFailOver, 4),
        (Self::MesosDown, 3),
        (Self::AgentPartition, 8),
        (Self::AgentRestart, 5),
        (Self::AgentLoss, 3),
        (Self::AgentGone, 1),
        (Self::TaskFailure, 16),
    ];
}

/// What a seed decides at the start.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) masters: usize,
    pub(crate) shards: u16,
    pub(crate) agents: u32,
    pub(crate) lease_ms: u64,
    pub(crate) busy_ms: u64,
    /// Between two requests of users, about.
    pub(crate) user_every_ms: u64,
    /// Between two faults, about.
    pub(crate) fault_every_ms: u64,
    pub(crate) faults: Vec<(Fault, u64)>,
    /// Of a thousand messages, how many take long.
    pub(crate) slow_per_mille: u64,
    /// Of a thousand requests to the store, how many fail in quiet times.
    pub(crate) store_fails_per_mille: u64,
    /// Of a thousand tasks that start, how many fail.
    pub(crate) task_fails_per_mille: u16,
    /// Whether there is another framework.
    pub(crate) rival: bool,
    /// Whether masters without shards can find out whether they reach Mesos.
    pub(crate) probe: bool,
    /// Whether users take back, in the end, what upgrades left half done.
    pub(crate) tidy: bool,
    /// What is wrong on purpose.
    #[cfg_attr(not(feature = "planted-bugs"), allow(dead_code, reason = "there is none"))]
    pub(crate) bug: Option<crate::bugs::Planted>,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let r = &mut Random::new(seed, 2);
        let mut faults = Fault::ALL.to_vec();
        // Each seed leaves some kinds out, and likes some more than others.
        let (left_out, favoured) = (r.below(500), r.below(300));
        for (_, weight) in &mut faults {
            if r.per_mille(left_out) {
                *weight = 0;
            } else if r.per_mille(favoured) {
                *weight *= 6;
            }
        }
        let every = [20_000, 45_000, 90_000, 240_000];
        Self {
            seed,
            masters: [1, 2, 2, 3, 3, 4][r.below(6) as usize],
            shards: [1, 2, 3, 6][r.below(4) as usize],
            agents: r.within(3, 8) as u32,
            lease_ms: [3_000, 5_000, 10_000][r.below(3) as usize],
            busy_ms: r.within(BUSY_MS.0, BUSY_MS.1),
            user_every_ms: every[r.below(4) as usize],
            fault_every_ms: every[r.below(4) as usize],
            faults,
            slow_per_mille: [0, 5, 30][r.below(3) as usize],
            store_fails_per_mille: [0, 0, 5, 20][r.below(4) as usize],
            task_fails_per_mille: [0, 10, 100][r.below(3) as usize],
            rival: r.coin(),
            probe: r.below(4) > 0,
            tidy: r.coin(),
            bug: None,
        }
    }

    /// Whether the masters' clocks jump now and then.
    pub(crate) fn has_jumps(&self) -> bool {
        !self.faults.contains(&(Fault::ClockJump, 0))
    }

    pub(crate) fn draw_fault(&self, r: &mut Random) -> Option<Fault> {
        let weights: Vec<u64> = self.faults.iter().map(|(_, weight)| *weight).collect();
        if weights.iter().all(|weight| *weight == 0) {
            return None;
        }
        self.faults.get(r.weighted(&weights)).map(|(fault, _)| *fault)
    }
}
