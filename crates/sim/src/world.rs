//! A simulated cluster from its start to its verdict.

use crate::check::unconverged;
use crate::masters::Master;
use crate::plan::{Fault, Plan};
use crate::random::Random;
use crate::sim::{NEVER, Sim};
use crate::trace::Lines;
use crate::users::{self, Asking};
use crate::{faults, rival};
use peloton_api::domain::UpgradeControl;
use peloton_model::{Abort, JobId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long it may take after the last fault until all is well, in milliseconds: agents may need to be
/// forgotten, and back-offs to end.
const SETTLE_MS: u64 = 3 * 3_600_000;
/// How long after the last fault an operator says which machines will never come back, in milliseconds.
/// Peloton cannot know: where several went away at about the same time it waits for them.
const OPERATOR_MS: u64 = 3_600_000;
/// How often it is looked whether all is well, in milliseconds.
const LOOK_EVERY_MS: u64 = 10_000;
/// All has to stay well for so long, in milliseconds: longer than the gap between two sweeps.
const STAYS_MS: u64 = 400_000;
/// When more is asked about an upgrade, about, in milliseconds.
const FOLLOW_MS: u64 = 30_000;

/// What is to be undone, and when.
#[derive(Debug)]
pub(crate) enum Undo {
    StartMaster(usize),
    StartAgent(u32),
    HealAgent(u32),
    MesosUp,
    StoreWell,
}

/// A cluster.
pub(crate) struct World {
    pub(crate) sim: Arc<Sim>,
    pub(crate) random: Random,
    pub(crate) masters: Vec<Option<Master>>,
    incarnations: Vec<u64>,
    pub(crate) undo: BTreeMap<(u64, u64), Undo>,
    undone: u64,
    users: JoinSet<()>,
    asked: u64,
    /// The job of which more is asked next.
    follow: Option<u64>,
    pub(crate) agents: faults::Agents,
}

/// What came of a seed.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What was violated, if anything was.
    pub violation: Option<String>,
    /// Tells runs apart: the same seed gives the same hash.
    pub hash: u64,
    /// Milliseconds that were simulated.
    pub simulated_ms: u64,
    /// The last lines of the trace, where some were asked for.
    pub lines: Vec<String>,
}

/// What is to be simulated.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// The seed.
    pub seed: u64,
    /// What becomes of the trace.
    pub lines: Lines,
    pub(crate) bug: Option<crate::bugs::Planted>,
}

impl Wish {
    /// A seed of the real program.
    #[must_use]
    pub fn of(seed: u64, lines: Lines) -> Self {
        Self { seed, lines, bug: None }
    }
}

/// Simulates a seed to its end.
///
/// # Errors
/// The runtime cannot be made.
pub fn run(wish: &Wish) -> std::io::Result<Outcome> {
    let Wish { seed, lines, bug } = *wish;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let _panics = crate::panics::Watch::begin();
    let outcome = runtime.block_on(async {
        let sim = Sim::new(Plan { bug, ..Plan::new(seed) }, lines);
        let network = tokio::spawn(crate::sim::run(sim.clone()));
        let mut world = World::new(sim.clone());
        tokio::select! {
            biased;
            () = sim.failed.notified() => {}
            () = world.live() => {}
        }
        if let Some(panic) = crate::panics::take() {
            sim.violated(format!("a panic: {panic}"));
        }
        network.abort();
        let (hash, violation) = (sim.hash(), sim.violation());
        let outcome =
            Outcome { seed, violation, hash, simulated_ms: sim.now_ms(), lines: sim.lines() };
        sim.end();
        outcome
    });
    Ok(outcome)
}

impl World {
    fn new(sim: Arc<Sim>) -> Self {
        let random = Random::new(sim.plan.seed, 5);
        let count = sim.plan.masters;
        Self {
            random,
            masters: (0..count).map(|_| None).collect(),
            incarnations: vec![0; count],
            undo: BTreeMap::new(),
            undone: 0,
            users: JoinSet::new(),
            asked: 0,
            follow: None,
            agents: faults::Agents::new(sim.plan.agents),
            sim,
        }
    }

    async fn live(&mut self) {
        let plan = format!("{:?}", self.sim.plan);
        self.sim.note("plan", b"", || plan);
        for number in 0..self.masters.len() {
            self.start_master(number);
        }
        self.sim.with_mesos(|_| {});
        rival::connect(&self.sim);
        crate::check::look_often(&self.sim);
        self.busy().await;
        self.calm_down();
        self.settle().await;
    }

    pub(crate) fn start_master(&mut self, number: usize) {
        self.incarnations[number] += 1;
        let master = Master::start(&self.sim, number, self.incarnations[number]);
        self.sim.note(&master.link.name, b"start", || "starts".to_owned());
        self.masters[number] = Some(master);
    }

    /// Lets something be undone `after_ms` from now.
    pub(crate) fn undo_after(&mut self, after_ms: u64, undo: Undo) {
        self.undone += 1;
        self.undo.insert((self.sim.now_ms() + after_ms, self.undone), undo);
    }

    /// Users and faults.
    async fn busy(&mut self) {
        let (user_every, fault_every) = (self.sim.plan.user_every_ms, self.sim.plan.fault_every_ms);
        let end = self.sim.plan.busy_ms;
        let mut next_user = self.random.around(user_every);
        let mut next_fault = 60_000 + self.random.around(fault_every);
        loop {
            let next_undo = self.undo.keys().next().map_or(NEVER, |(at, _)| *at);
            let next = next_user.min(next_fault).min(next_undo).min(end);
            tokio::time::sleep_until(self.sim.at(next)).await;
            let now = self.sim.now_ms();
            if now >= end {
                return;
            }
            while let Some(entry) = self.undo.first_entry().filter(|entry| entry.key().0 <= now) {
                let undo = entry.remove();
                self.undo_now(undo);
            }
            if now >= next_user {
                self.user_asks();
                // Now and then several come at once; and who has begun an upgrade does not wait for long.
                let again = match self.follow {
                    _ if self.random.below(4) == 0 => 50,
                    Some(_) => user_every.min(FOLLOW_MS),
                    None => user_every,
                };
                next_user = now + self.random.around(again);
            }
            if now >= next_fault {
                if let Some(fault) = self.sim.plan.draw_fault(&mut self.random) {
                    self.strike(fault);
                }
                let again = if self.random.below(6) == 0 { 3_000 } else { fault_every };
                next_fault = now + self.random.around(again);
            }
            while self.users.try_join_next().is_some() {}
        }
    }

    fn user_asks(&mut self) {
        let r = &mut self.random;
        let (name, id, wish) = match self.follow.filter(|_| r.below(3) > 0) {
            Some(name) => users::draw_next(name, r),
            None => users::draw(r),
        };
        let goes_on = self.follow == Some(name) || wish.is_followed();
        self.follow = goes_on.then_some(name);
        self.ask(id, wish);
    }

    /// Somebody asks any master that lives.
    fn ask(&mut self, id: JobId, wish: users::Wish) {
        let living: Vec<usize> = (0..self.masters.len())
            .filter(|i| self.masters[*i].as_ref().is_some_and(|m| m.link.is_on()))
            .collect();
        let Some(number) = self.random.pick(&living).copied() else { return };
        let Some(master) = &self.masters[number] else { return };
        self.asked += 1;
        let asking = Asking::of(master);
        // The master works on it in a task of its own.
        let ask = Box::pin(users::ask(self.sim.clone(), asking, id, wish, self.asked));
        self.users.spawn(master.link.wrap(&self.sim, ask));
    }

    fn strike(&mut self, fault: Fault) {
        let words = faults::strike(self, fault);
        if let Some(words) = words {
            let bytes = words.clone();
            self.sim.note("FAULT", bytes.as_bytes(), || words);
        }
    }

    pub(crate) fn undo_now(&mut self, undo: Undo) {
        let words = format!("{undo:?}");
        let bytes = words.clone();
        self.sim.note("UNDO", bytes.as_bytes(), || words);
        match undo {
            Undo::StartMaster(number) => {
                if let Some(old) = &self.masters[number] {
                    old.kill();
                }
                self.start_master(number);
            }
            other => faults::undo(self, &other),
        }
    }

    /// The faults end.
    fn calm_down(&mut self) {
        self.sim.note("world", b"calm", || "the faults end".to_owned());
        for (_, undo) in std::mem::take(&mut self.undo) {
            self.undo_now(undo);
        }
        self.sim.store.calm_down();
        rival::end(&self.sim);
        for master in self.masters.iter().flatten() {
            master.link.heal();
        }
        faults::heal_all(self);
    }

    /// What waits for a user is let go on, or ended. Some users tidy up behind upgrades that ended half way.
    fn help_upgrades(&mut self) {
        for (id, state) in crate::check::open_upgrades(&self.sim) {
            let control = match self.random.below(4) {
                _ if state.is_mixed() && !self.sim.plan.tidy => continue,
                _ if state.is_mixed() => UpgradeControl::Rollback,
                0 => UpgradeControl::Abort(Abort::Soft),
                _ => UpgradeControl::Resume,
            };
            self.ask(id, users::Wish::Steer(control, 0));
        }
    }

    /// All has to come right by itself.
    async fn settle(&mut self) {
        let begun = self.sim.now_ms();
        let (mut well_since, mut helped) = (None, false);
        let mut last = String::new();
        loop {
            tokio::time::sleep(Duration::from_millis(LOOK_EVERY_MS)).await;
            if rival::lives(&self.sim) {
                rival::end(&self.sim);
            }
            let now = self.sim.now_ms();
            self.help_upgrades();
            match unconverged(&self.sim) {
                None => {
                    let since = *well_since.get_or_insert(now);
                    let moved = crate::sim::lock(&self.sim.checks).last_move();
                    if moved > since {
                        self.sim.violated("a shard moves although all is well".to_owned());
                        return;
                    }
                    if now - since >= STAYS_MS {
                        return;
                    }
                }
                Some(why) => {
                    well_since = None;
                    if why != last {
                        self.sim.note("world", b"", || format!("not yet: {why}"));
                        last = why;
                    }
                }
            }
            if now - begun > OPERATOR_MS && !helped && well_since.is_none() {
                helped = true;
                faults::operator_helps(self);
            }
            if now - begun > SETTLE_MS {
                self.sim.violated(format!("it does not come right: {last}"));
                return;
            }
        }
    }
}
