//! Random schedulers, faults and operators from a seed: the model never contradicts itself, the
//! same seed gives the same, and when all is well again everything fits.

use crate::support::{
    CAPABLE, Cluster, Scheduler, framework, launch, reserve, reserved, small, spec, task, unreserve,
};
use peloton_mesos_sim::{AgentIndex, Output, Script, Settings, Tasks, is_terminal};
use peloton_proto::mesos::v1;
use proptest::prelude::*;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

const AGENTS: u32 = 3;

struct Run {
    cluster: Cluster,
    schedulers: Vec<Scheduler>,
    dice: Dice,
    tasks: u64,
    trace: Vec<Output>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let settings = Settings { seed, message_delay_ms: (0, 40), ..Settings::default() };
        let mut cluster = Cluster::new(settings);
        let script = Script {
            start_delay_ms: (0, 500),
            run_time_ms: Some((100, 200_000)),
            failures_per_mille: 200,
            kill_delay_ms: (0, 5_000),
        };
        for number in 1..=AGENTS {
            cluster.mesos.add_agent(spec(&format!("10.0.0.{number}"), Tasks::Script(script)));
        }
        let schedulers = (0..2).map(|_| cluster.subscribe(framework(&CAPABLE))).collect();
        Self { cluster, schedulers, dice: Dice(seed | 1), tasks: 0, trace: Vec::new() }
    }

    fn step(&mut self) {
        let which = usize::try_from(self.dice.roll(2)).unwrap();
        let mut scheduler = self.schedulers.swap_remove(which);
        self.cluster.look(&mut scheduler);
        if scheduler.is_closed {
            let id = Some(v1::FrameworkId { value: scheduler.id.clone() });
            if self.cluster.mesos.master_info().is_some() {
                let info = v1::FrameworkInfo { id, ..framework(&CAPABLE) };
                scheduler = self.cluster.subscribe(info);
            }
        } else {
            self.use_scheduler(&mut scheduler);
        }
        self.schedulers.push(scheduler);
        self.fault();
        let ms = self.dice.roll(4_000);
        self.cluster.pass(ms);
        self.cluster.mesos.check().unwrap();
    }

    fn use_scheduler(&mut self, scheduler: &mut Scheduler) {
        for status in self.cluster.updates(scheduler) {
            if status.uuid.is_some() && self.dice.roll(10) > 0 {
                self.cluster.acknowledge(scheduler, &status);
            }
        }
        for offer in self.cluster.offers(scheduler) {
            let mine: Vec<v1::Resource> = offer
                .resources
                .iter()
                .filter(|resource| !resource.reservations.is_empty())
                .cloned()
                .map(|resource| v1::Resource { allocation_info: None, ..resource })
                .collect();
            self.tasks += 1;
            let id = format!("t{}", self.tasks);
            let operations = match self.dice.roll(5) {
                0 => vec![launch(vec![task(&id, &offer, small())])],
                1 => {
                    let mine = reserved(&small(), &id);
                    vec![reserve(mine.clone(), Some(&id)), launch(vec![task(&id, &offer, mine)])]
                }
                2 if !mine.is_empty() => vec![launch(vec![task(&id, &offer, mine)])],
                3 if !mine.is_empty() => vec![unreserve(mine)],
                _ => Vec::new(),
            };
            self.cluster.accept(scheduler, &[&offer], operations);
        }
        if self.dice.roll(4) == 0 && self.tasks > 0 {
            let id = format!("t{}", 1 + self.dice.roll(self.tasks));
            self.cluster.kill(scheduler, &id, None);
        }
        if self.dice.roll(8) == 0 {
            self.cluster.reconcile(scheduler, &[]);
        }
    }

    fn fault(&mut self) {
        let agent = AgentIndex(u32::try_from(self.dice.roll(u64::from(AGENTS))).unwrap());
        let mesos = &mut self.cluster.mesos;
        match self.dice.roll(40) {
            0 | 1 => mesos.partition_agent(agent, true),
            2..=4 => mesos.partition_agent(agent, false),
            5 => mesos.stop_agent(agent),
            6 => mesos.kill_agent_machine(agent),
            7..=9 => mesos.start_agent(agent),
            10 => mesos.fail_over_master(),
            11 => mesos.stop_master(),
            12..=14 => mesos.start_master(),
            15 => {
                let id = mesos.registered_agent(agent).map(|agent| agent.id().to_owned());
                let _ = id.map(|id| mesos.mark_agent_gone(&id));
            }
            16 => {
                let id = mesos.registered_agent(agent).map(|agent| agent.id().to_owned());
                let _ = id.map(|id| mesos.drain_agent(&id, None, false));
            }
            17..=19 => {
                let id = mesos.registered_agent(agent).map(|agent| agent.id().to_owned());
                let _ = id.map(|id| mesos.reactivate_agent(&id));
            }
            20 => {
                if let Some(scheduler) = self.schedulers.first_mut() {
                    mesos.disconnected(scheduler.connection);
                    scheduler.is_closed = true;
                }
            }
            _ => {}
        }
    }

    /// Ends all faults and lets schedulers acknowledge everything.
    fn calm_down(&mut self) {
        self.cluster.mesos.start_master();
        for agent in (0..AGENTS).map(AgentIndex) {
            self.cluster.mesos.partition_agent(agent, false);
            self.start(agent);
        }
        for _ in 0..400 {
            let mut scheduler = self.schedulers.remove(0);
            self.cluster.look(&mut scheduler);
            if scheduler.is_closed {
                let id = Some(v1::FrameworkId { value: scheduler.id.clone() });
                let info = v1::FrameworkInfo { id, ..framework(&CAPABLE) };
                scheduler = self.cluster.subscribe(info);
            }
            self.cluster.acknowledge_all(&mut scheduler);
            for agent in (0..AGENTS).map(AgentIndex) {
                self.start(agent);
            }
            self.schedulers.push(scheduler);
            self.cluster.pass(2_000);
        }
    }

    /// Starts an agent; one that was sent away, under a new name.
    fn start(&mut self, agent: AgentIndex) {
        let mesos = &mut self.cluster.mesos;
        if mesos.agent(agent).is_some_and(|one| one.id().is_none()) {
            mesos.forget_agent(agent);
        }
        mesos.start_agent(agent);
    }

    /// Master and agents tell the same story.
    fn compare(&self) {
        let mesos = &self.cluster.mesos;
        assert_eq!(mesos.registered_agents().count(), AGENTS as usize);
        for (index, agent) in mesos.agents() {
            let registered = mesos.registered_agent(index).unwrap();
            assert_eq!(agent.id(), Some(registered.id()));
            assert_eq!(agent.total(), registered.total());
            let mut there: Vec<&str> = agent.tasks().map(|(meta, _)| &*meta.id).collect();
            let known = mesos.tasks().filter(|task| task.agent() == index);
            let mut known: Vec<&str> = known
                .filter(|task| !is_terminal(task.state()))
                .map(|task| &*task.meta().id)
                .collect();
            there.sort_unstable();
            known.sort_unstable();
            assert_eq!(there, known);
        }
    }
}

fn run(seed: u64, steps: u32) -> Vec<Output> {
    let mut run = Run::new(seed);
    for _ in 0..steps {
        run.step();
    }
    run.calm_down();
    run.compare();
    run.trace.extend(run.cluster.mesos.drain());
    for scheduler in &mut run.schedulers {
        let events = std::mem::take(&mut scheduler.events).into_iter();
        run.trace.extend(events.map(|e| Output::Event(scheduler.connection, Box::new(e))));
    }
    run.trace
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_model_stays_sound(seed in any::<u64>()) {
        run(seed, 150);
    }
}

#[test]
fn the_same_seed_gives_the_same() {
    assert_eq!(run(42, 120), run(42, 120));
}
