//! The faults, one after the other, and what was measured meanwhile.

use std::fmt;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, MASTERS, MEMBERS, MESOS, master, member};
use crate::dice::Dice;
use crate::net::End;
use crate::record::Record;

/// How long a fault lasts at least: longer than a lease, so that everything that follows from its end does.
const LASTS_MS: u64 = 5500;
/// And at most so much longer.
const MORE_MS: u64 = 1500;
/// What is done to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// A master is killed with SIGKILL, and started again.
    KillMaster(usize),
    /// A master is told to stop with SIGTERM, and started again.
    StopMaster(usize),
    /// A master is paused with SIGSTOP for longer than its lease lives, and wakes up.
    PauseMaster(usize),
    /// A master is cut off from etcd.
    CutFromEtcd(usize),
    /// What a master sends to etcd gets lost, and it hears everything.
    CutTowardsEtcd(usize),
    /// A master is cut off from Mesos.
    CutFromMesos(usize),
    /// A master is cut off from the other masters, and from every client.
    CutFromPeers(usize),
    /// The leader of etcd is killed, and started again.
    KillLeader,
    /// A member of etcd that does not lead is killed, and started again.
    KillFollower,
}

impl Fault {
    /// The master whose own calls may fail meanwhile, and at whose calls that were sent before.
    pub(crate) fn excuses(self) -> Option<usize> {
        match self {
            Self::KillMaster(number)
            | Self::StopMaster(number)
            | Self::PauseMaster(number)
            | Self::CutFromEtcd(number)
            | Self::CutTowardsEtcd(number)
            | Self::CutFromPeers(number) => Some(number),
            // The API needs no Mesos, and etcd has a majority.
            Self::CutFromMesos(_) | Self::KillLeader | Self::KillFollower => None,
        }
    }

    /// Whether the store elects a leader, which may take longer than an impatient client waits.
    pub(crate) fn is_of_etcd(self) -> bool {
        matches!(self, Self::KillLeader | Self::KillFollower)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillMaster(number) => write!(f, "master {number} killed (-9)"),
            Self::StopMaster(number) => write!(f, "master {number} stopped (SIGTERM)"),
            Self::PauseMaster(number) => write!(f, "master {number} paused"),
            Self::CutFromEtcd(number) => write!(f, "master {number} cut off from etcd"),
            Self::CutTowardsEtcd(number) => write!(f, "master {number} mute towards etcd"),
            Self::CutFromMesos(number) => write!(f, "master {number} cut off from Mesos"),
            Self::CutFromPeers(number) => write!(f, "master {number} cut off from clients, peers"),
            Self::KillLeader => f.write_str("etcd's leader killed (-9)"),
            Self::KillFollower => f.write_str("a member of etcd killed (-9)"),
        }
    }
}

/// A fault that was there.
#[derive(Debug, Clone)]
pub(crate) struct Episode {
    pub(crate) fault: Fault,
    /// From its beginning until everything was whole again, in the record's time.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Until the other masters served all shards; where the fault takes shards away.
    pub(crate) served_after: Option<Duration>,
    /// From the fault's end until everything was whole.
    pub(crate) healed_after: Duration,
}

/// Every kind of fault once, in an order that the dice choose; in as many rounds as there are masters, every
/// kind at every master.
pub(crate) fn deck(round: usize, dice: &mut Dice) -> Vec<Fault> {
    let master = |number: usize| (round + number) % MASTERS;
    let mut deck = vec![
        Fault::KillMaster(master(0)),
        Fault::StopMaster(master(1)),
        Fault::PauseMaster(master(2)),
        Fault::CutFromEtcd(master(0)),
        Fault::CutTowardsEtcd(master(1)),
        Fault::CutFromMesos(master(2)),
        Fault::CutFromPeers(master(1)),
        Fault::KillLeader,
        Fault::KillFollower,
    ];
    dice.shuffle(&mut deck);
    deck
}

/// Lets a fault happen, ends it, and waits until everything is whole.
pub(crate) fn happens(
    cluster: &mut Cluster,
    fault: Fault,
    dice: &mut Dice,
    record: &Record,
) -> Episode {
    cluster.wait_shared();
    let (from, start) = (record.now(), Instant::now());
    let lasts = Duration::from_millis(LASTS_MS + dice.below(MORE_MS));
    let victim = begin(cluster, fault);
    let served_after = fault.loses_shards().map(|number| {
        let others: Vec<usize> = (0..MASTERS).filter(|other| *other != number).collect();
        cluster.wait_served(&others);
        start.elapsed()
    });
    std::thread::sleep(lasts.saturating_sub(start.elapsed()));
    end(cluster, fault, victim);
    let ended = Instant::now();
    cluster.wait_healthy();
    let healed_after = ended.elapsed();
    let to = record.now();
    Episode { fault, from, to, served_after, healed_after }
}

impl Fault {
    /// The master that loses its shards while the fault lasts.
    fn loses_shards(self) -> Option<usize> {
        match self {
            Self::KillMaster(number)
            | Self::StopMaster(number)
            | Self::PauseMaster(number)
            | Self::CutFromEtcd(number)
            | Self::CutTowardsEtcd(number)
            // After a while, as others do reach it.
            | Self::CutFromMesos(number) => Some(number),
            _ => None,
        }
    }
}

/// Begins a fault; the member of etcd that it hits.
fn begin(cluster: &mut Cluster, fault: Fault) -> Option<usize> {
    match fault {
        Fault::KillMaster(number) => cluster.kill_master(number),
        Fault::StopMaster(number) => cluster.stop_master(number),
        Fault::PauseMaster(number) => cluster.pause_master(number, true),
        Fault::KillLeader | Fault::KillFollower => {
            let leader = cluster.etcd.leader().unwrap();
            let offset = usize::from(fault == Fault::KillFollower);
            let victim = (leader + offset) % MEMBERS;
            cluster.etcd.kill(victim).unwrap();
            return Some(victim);
        }
        cut => ways(cut).into_iter().for_each(|(from, to)| cluster.net.cut(from, to)),
    }
    None
}

fn end(cluster: &mut Cluster, fault: Fault, victim: Option<usize>) {
    match (fault, victim) {
        (Fault::KillMaster(number), _) => cluster.start_master(number),
        (Fault::StopMaster(number), _) => {
            cluster.wait_stopped(number);
            cluster.start_master(number);
        }
        (Fault::PauseMaster(number), _) => cluster.pause_master(number, false),
        (_, Some(member)) => {
            cluster.etcd.start_member(member).unwrap();
            cluster.etcd.wait_until_healthy(member).unwrap();
        }
        (cut, None) => ways(cut).into_iter().for_each(|(from, to)| cluster.net.heal(from, to)),
    }
}

/// The ways that a cut closes.
fn ways(fault: Fault) -> Vec<(End, End)> {
    let members = (0..MEMBERS).map(member);
    let both = |number: usize, others: Vec<End>| {
        let ways = others
            .into_iter()
            .flat_map(move |other| [(master(number), other), (other, master(number))]);
        ways.collect()
    };
    match fault {
        Fault::CutFromEtcd(number) => both(number, members.collect()),
        Fault::CutTowardsEtcd(number) => members.map(|to| (master(number), to)).collect(),
        Fault::CutFromMesos(number) => both(number, vec![MESOS]),
        Fault::CutFromPeers(number) => {
            let others = (0..MASTERS).filter(|other| *other != number).map(master);
            both(number, others.chain([End::Host]).collect())
        }
        _ => Vec::new(),
    }
}
