//! Several masters, each a process of its own, on one etcd; and what their tasks note of themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use peloton_testbed::etcd::{self, Etcd, EtcdOptions};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{AnyMesos, Cluster, Keys, PATIENCE, wait_until};

/// The number by which the API says that a shard is subscribed.
const SUBSCRIBED: u64 = 4;

/// Between two looks while a time is measured.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Masters on one etcd.
pub(crate) struct Masters {
    masters: Vec<Cluster>,
    shards: u16,
    // Last: masters end before their store.
    pub(crate) etcd: Etcd,
}

impl Deref for Masters {
    type Target = [Cluster];

    fn deref(&self) -> &[Cluster] {
        &self.masters
    }
}

impl DerefMut for Masters {
    fn deref_mut(&mut self) -> &mut [Cluster] {
        &mut self.masters
    }
}

impl Masters {
    /// The settings of a master on an etcd.
    pub(crate) fn settings(etcd: &Etcd, shards: u16) -> Vec<String> {
        vec![
            "store.type=etcd".to_owned(),
            format!("store.endpoints={}", etcd.endpoints().join(",")),
            format!("cluster.shards={shards}"),
        ]
    }

    /// Three masters on three members of etcd, healthy, with every shard served. `None` where there
    /// can be no etcd.
    pub(crate) fn start(mesos: &impl AnyMesos, role: &str, shards: u16) -> Option<Self> {
        Self::start_of(mesos, role, shards, None)
    }

    /// The same, of a program of another release.
    pub(crate) fn start_of(
        mesos: &impl AnyMesos,
        role: &str,
        shards: u16,
        program: Option<&Path>,
    ) -> Option<Self> {
        let etcd = etcd::start(&EtcdOptions::members(3))?;
        let settings = Self::settings(&etcd, shards);
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let masters = (0..3).map(|_| Cluster::stopped(mesos, role, &settings)).collect();
        let mut all = Self { masters, shards, etcd };
        for master in 0..3 {
            all[master].set_program(program);
            all[master].launch();
        }
        for master in 0..3 {
            all.wait_healthy(master);
        }
        all.wait_even(&[0, 1, 2]);
        Some(all)
    }

    /// The keys in the store.
    pub(crate) fn keys(&self) -> Keys<'_> {
        Keys::new(&self.etcd, "/peloton")
    }

    /// Waits until a master says that all is well.
    #[track_caller]
    pub(crate) fn wait_healthy(&mut self, master: usize) {
        self[master].wait_answering();
        wait_until("a healthy master", PATIENCE, || {
            let health = self[master].health();
            if health["status"] == "healthy" { Ok(()) } else { Err(health.to_string()) }
        });
    }

    /// The id of a master, and the shards that it is subscribed for.
    pub(crate) fn serves(&self, master: usize) -> Result<(String, BTreeSet<u16>), String> {
        let answer = self[master].try_yarpc("ClusterManager.GetStatus", &json!({}));
        let status = answer.map_err(|error| format!("{error:?}"))?["result"].clone();
        let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let me = items(&status["masters"]).into_iter().find(|one| one["answering"] == true);
        let me = me.ok_or("no master answers")?["id"].clone();
        let mine = items(&status["shards"]).into_iter().filter(|shard| {
            shard["owner"] == me && shard["connection"].as_u64() == Some(SUBSCRIBED)
        });
        let number = |shard: Value| shard["number"].as_u64().unwrap_or_default() as u16;
        Ok((me.as_str().unwrap_or_default().to_owned(), mine.map(number).collect()))
    }

    /// Which of these masters serves which shards, when each shard is served by just one of them.
    fn all_served(&self, masters: &[usize]) -> Result<BTreeMap<usize, BTreeSet<u16>>, String> {
        let mut found = BTreeMap::new();
        for master in masters {
            found.insert(*master, self.serves(*master)?.1);
        }
        let mut served: Vec<u16> = found.values().flatten().copied().collect();
        served.sort_unstable();
        let all: Vec<u16> = (0..self.shards).collect();
        if served == all { Ok(found) } else { Err(format!("{found:?}")) }
    }

    /// Waits until every shard is served by one of these masters: who serves which.
    #[track_caller]
    pub(crate) fn wait_served(&self, masters: &[usize]) -> BTreeMap<usize, BTreeSet<u16>> {
        self.measure_served(masters, Instant::now()).0
    }

    /// The same, and how long after a moment it was so.
    #[track_caller]
    pub(crate) fn measure_served(
        &self,
        masters: &[usize],
        since: Instant,
    ) -> (BTreeMap<usize, BTreeSet<u16>>, Duration) {
        loop {
            match self.all_served(masters) {
                Ok(found) => return (found, since.elapsed()),
                Err(why) => {
                    let shards = self.shards;
                    assert!(
                        since.elapsed() < PATIENCE,
                        "not all {shards} shards are served by one of {masters:?}: {why}"
                    );
                }
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until these masters have equally many shards, give or take one, and all are served.
    #[track_caller]
    pub(crate) fn wait_even(&self, masters: &[usize]) {
        wait_until("an even share of the shards", PATIENCE, || {
            let found = self.all_served(masters)?;
            let counts = found.values().map(BTreeSet::len);
            let (least, most) = (counts.clone().min(), counts.max());
            let even = most <= least.map(|least| least + 1);
            if even { Ok(()) } else { Err(format!("{found:?}")) }
        });
    }

    /// The master with the most shards: to do something to it means the most.
    pub(crate) fn busiest(&self, masters: &[usize]) -> usize {
        let served = self.wait_served(masters);
        *served.iter().max_by_key(|(_, shards)| shards.len()).unwrap().0
    }

    /// Stops a master's process where it is, or lets it go on.
    pub(crate) fn pause(&self, master: usize, paused: bool) {
        self[master].signal(if paused { Signal::STOP } else { Signal::CONT });
    }
}

/// What tasks note of themselves: when each starts, by its id and its process.
pub(crate) struct Notes(TempDir);

impl Notes {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A command that notes its start, and another task of its instance beside it, and goes on.
    pub(crate) fn service(&self) -> String {
        let directory = self.0.path().display();
        format!(
            "exec 9>{directory}/$PELOTON_JOB_ID-$PELOTON_INSTANCE_ID.lock; \
             flock -n 9 || echo $PELOTON_TASK_ID >>{directory}/doubles; \
             echo $PELOTON_TASK_ID $$ >>{directory}/starts; exec sleep 1000"
        )
    }

    /// The tasks that started, with their processes; asserts that none started twice, and none beside
    /// another of its instance.
    #[track_caller]
    pub(crate) fn started(&self) -> BTreeMap<String, u32> {
        let text = |name: &str| fs::read_to_string(self.file(name)).unwrap_or_default();
        assert_eq!(text("doubles"), "", "instances that ran twice at once");
        let mut found = BTreeMap::new();
        for line in text("starts").lines() {
            let (id, pid) = line.split_once(' ').unwrap();
            let earlier = found.insert(id.to_owned(), pid.parse().unwrap());
            assert_eq!(earlier, None, "{id} was started twice");
        }
        found
    }

    /// Asserts that just these tasks started, and that each still runs, in the process that it had.
    #[track_caller]
    pub(crate) fn assert_same(&self, tasks: &BTreeMap<String, u32>) {
        assert_eq!(&self.started(), tasks, "other tasks than before");
        for (id, pid) in tasks {
            let command = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline"));
            let command = command.unwrap_or_default();
            assert!(command.starts_with(b"sleep\x001000"), "{id} does not run as process {pid}");
        }
    }
}
