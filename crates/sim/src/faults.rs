//! What goes wrong, and what ends it.

use crate::link::Way;
use crate::mesos::agent;
use crate::plan::{Fault, Plan};
use crate::sim::lock;
use crate::world::{Undo, World};
use peloton_mesos_sim::{AgentIndex, AgentSpec, TaskReport};
use peloton_proto::mesos::v1;
use std::sync::atomic::Ordering::Relaxed;

/// How the agents are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AgentIs {
    Well,
    /// Something is wrong that will be undone.
    Ill,
    /// Lost for ever.
    Lost,
}

/// All agents, also those that were lost, each with the first one in whose place it is.
#[derive(Debug)]
pub(crate) struct Agents(Vec<(AgentIs, u32)>);

impl Agents {
    pub(crate) fn new(count: u32) -> Self {
        Self((0..count).map(|index| (AgentIs::Well, index)).collect())
    }

    fn all(&self, state: AgentIs) -> Vec<u32> {
        (0..).zip(&self.0).filter(|(_, (is, _))| *is == state).map(|(i, _)| i).collect()
    }

    fn set(&mut self, index: u32, state: AgentIs) {
        if let Some((is, _)) = self.0.get_mut(index as usize) {
            *is = state;
        }
    }

    /// Puts another agent in the place of one that is lost. It is as large as that was, and in its zone:
    /// users ask for as much as a small cluster has, and would wait for ever if it shrank.
    fn replace(&mut self, lost: u32, plan: &Plan) -> AgentSpec {
        self.set(lost, AgentIs::Lost);
        let first = self.0.get(lost as usize).map_or(lost, |(_, first)| *first);
        let next = self.0.len() as u32;
        self.0.push((AgentIs::Well, first));
        AgentSpec { hostname: agent(next, plan).hostname, ..agent(first, plan) }
    }
}

/// Lets a fault happen; what happened, in words, or nothing where there is nobody to whom it could.
pub(crate) fn strike(world: &mut World, fault: Fault) -> Option<String> {
    match fault {
        Fault::MasterCrash
        | Fault::MasterStop
        | Fault::MasterPause
        | Fault::ClockJump
        | Fault::StoreCut
        | Fault::MesosCut
        | Fault::MesosBreak => of_master(world, fault),
        Fault::StoreTrouble => {
            let r = &mut world.random;
            let (fails, slow) = (r.within(50, 700), [0, 200, 3_000][r.below(3) as usize]);
            let for_ms = r.within(2_000, 60_000);
            world.sim.store.trouble(fails, slow);
            world.undo_after(for_ms, Undo::StoreWell);
            Some(format!(
                "the store fails {fails} of 1000 and is slow by {slow} ms for {for_ms} ms"
            ))
        }
        Fault::Compaction => {
            world.sim.store.compact();
            Some("the store forgets its history".to_owned())
        }
        Fault::MesosFailOver => {
            if !world.sim.with_mesos(|side| side.up) {
                return None;
            }
            world.sim.with_mesos(|side| side.model.fail_over_master());
            Some("the Mesos master fails over".to_owned())
        }
        Fault::MesosDown => {
            let up = world.sim.with_mesos(|side| std::mem::replace(&mut side.up, false));
            if !up {
                return None;
            }
            world.sim.with_mesos(|side| side.model.stop_master());
            let for_ms = world.random.within(1_000, 180_000);
            world.undo_after(for_ms, Undo::MesosUp);
            Some(format!("Mesos is down for {for_ms} ms"))
        }
        Fault::AgentPartition | Fault::AgentRestart | Fault::AgentLoss | Fault::AgentGone => {
            of_agent(world, fault)
        }
        Fault::TaskFailure => task_fails(world),
    }
}

fn of_master(world: &mut World, fault: Fault) -> Option<String> {
    let living: Vec<usize> = (0..world.masters.len())
        .filter(|i| world.masters[*i].as_ref().is_some_and(|m| m.link.is_on() && !m.is_stopping()))
        .collect();
    let number = *world.random.pick(&living)?;
    let sim = world.sim.clone();
    let now = sim.now_ms();
    let r = &mut world.random;
    let long = |r: &mut crate::random::Random| {
        if r.coin() { r.within(100, 15_000) } else { r.within(5_000, 400_000) }
    };
    let master = world.masters[number].as_mut()?;
    let (name, link) = (master.link.name.clone(), master.link.clone());
    let words = match fault {
        Fault::MasterCrash => {
            master.kill();
            let for_ms = r.within(10, 60_000);
            world.undo_after(for_ms, Undo::StartMaster(number));
            format!("{name} is killed, and starts again in {for_ms} ms")
        }
        Fault::MasterStop => {
            master.stop();
            let for_ms = r.within(25_000, 60_000);
            world.undo_after(for_ms, Undo::StartMaster(number));
            format!("{name} stops, and starts again in {for_ms} ms")
        }
        Fault::MasterPause => {
            let for_ms = r.within(50, sim.plan.lease_ms * 4);
            link.pause(&sim, now + for_ms);
            format!("{name} stands still for {for_ms} ms")
        }
        Fault::ClockJump => {
            let by = i64::try_from(r.within(0, 120_000)).unwrap_or(0) - 60_000;
            master.clock_off_ms.fetch_add(by, Relaxed);
            format!("the clock of {name} jumps by {by} ms")
        }
        Fault::StoreCut => {
            let for_ms = long(r);
            link.cut(Way::Store, now + for_ms);
            format!("{name} is cut off from the store for {for_ms} ms")
        }
        Fault::MesosCut => {
            let for_ms = long(r);
            link.cut(Way::Mesos, now + for_ms);
            format!("{name} is cut off from Mesos for {for_ms} ms")
        }
        _ => {
            link.reset();
            let streams = lock(&sim.mesos).streams_of(&link);
            for id in streams {
                sim.break_stream(id);
            }
            format!("the connections of {name} to Mesos are reset")
        }
    };
    Some(words)
}

/// A task that runs ends by itself, badly or well.
fn task_fails(world: &mut World) -> Option<String> {
    let running = world.sim.with_mesos(|side| crate::ground::running(&side.model));
    let (agent, framework, task) = world.random.pick(&running)?.clone();
    let state = if world.random.below(4) == 0 {
        v1::TaskState::TaskFinished
    } else {
        v1::TaskState::TaskFailed
    };
    let words = format!("{task} ends as {}", state.as_str_name());
    let report = TaskReport { state, ..TaskReport::default() };
    let framework = v1::FrameworkId { value: framework };
    let task = v1::TaskId { value: task };
    world.sim.with_mesos(|side| side.model.report(agent, &framework, &task, report));
    Some(words)
}

fn of_agent(world: &mut World, fault: Fault) -> Option<String> {
    let well = world.agents.all(AgentIs::Well);
    // Somebody has to be there to take what is placed anew.
    if well.len() < 2 {
        return None;
    }
    let index = *world.random.pick(&well)?;
    let sim = world.sim.clone();
    let r = &mut world.random;
    let for_ms = if r.coin() { r.within(500, 60_000) } else { r.within(30_000, 900_000) };
    world.agents.set(index, AgentIs::Ill);
    let id = crate::ground::agent_id(&lock(&sim.mesos).model, index);
    lock(&sim.checks).agent_is_away(id.as_deref());
    Some(match fault {
        Fault::AgentPartition => {
            sim.with_mesos(|side| side.model.partition_agent(AgentIndex(index), true));
            world.undo_after(for_ms, Undo::HealAgent(index));
            format!("agent {index} is partitioned away for {for_ms} ms")
        }
        Fault::AgentRestart => {
            sim.with_mesos(|side| side.model.stop_agent(AgentIndex(index)));
            let for_ms = r.within(500, 60_000);
            world.undo_after(for_ms, Undo::StartAgent(index));
            format!("the process of agent {index} is away for {for_ms} ms")
        }
        Fault::AgentLoss if r.coin() => {
            sim.with_mesos(|side| side.model.kill_agent_machine(AgentIndex(index)));
            world.undo_after(for_ms, Undo::StartAgent(index));
            format!("the machine of agent {index} is away for {for_ms} ms")
        }
        Fault::AgentLoss => {
            sim.with_mesos(|side| side.model.kill_agent_machine(AgentIndex(index)));
            replace(world, index);
            format!("the machine of agent {index} is lost; another is added")
        }
        _ => {
            let id = sim.with_mesos(|side| crate::ground::agent_id(&side.model, index));
            let Some(id) = id else {
                world.agents.set(index, AgentIs::Well);
                return None;
            };
            let done = sim.with_mesos(|side| side.model.mark_agent_gone(&id));
            replace(world, index);
            format!("agent {index}, {id}, is marked gone ({done:?}); another is added")
        }
    })
}

/// Puts another agent in the place of one that is lost.
fn replace(world: &mut World, index: u32) {
    let spec = world.agents.replace(index, &world.sim.plan);
    world.sim.with_mesos(|side| side.model.add_agent(spec));
}

/// Ends a fault.
pub(crate) fn undo(world: &mut World, undo: &Undo) {
    let sim = world.sim.clone();
    if let Undo::StartAgent(index) | Undo::HealAgent(index) = undo {
        let id = crate::ground::agent_id(&lock(&sim.mesos).model, *index);
        lock(&sim.checks).agent_is_back(id.as_deref(), sim.now_ms());
    }
    match undo {
        Undo::StartMaster(_) => {}
        Undo::StartAgent(index) => {
            world.agents.set(*index, AgentIs::Well);
            sim.with_mesos(|side| side.model.start_agent(AgentIndex(*index)));
        }
        Undo::HealAgent(index) => {
            world.agents.set(*index, AgentIs::Well);
            sim.with_mesos(|side| side.model.partition_agent(AgentIndex(*index), false));
        }
        Undo::MesosUp => sim.with_mesos(|side| {
            side.up = true;
            side.model.start_master();
        }),
        Undo::StoreWell => sim.store.trouble(0, 0),
    }
}

/// An operator says what machines are lost for ever.
pub(crate) fn operator_helps(world: &mut World) {
    for index in world.agents.all(AgentIs::Lost) {
        let done = world.sim.with_mesos(|side| {
            let id = crate::ground::agent_id(&side.model, index)?;
            Some(side.model.mark_agent_gone(&id))
        });
        let words = format!("agent {index} is marked gone: {done:?}");
        world.sim.note("operator", words.as_bytes(), || words.clone());
    }
}

/// Starts the masters that are still stopping.
pub(crate) fn heal_all(world: &mut World) {
    for number in 0..world.masters.len() {
        let gone =
            world.masters[number].as_ref().is_none_or(|m| !m.link.is_on() || m.is_stopping());
        if gone {
            world.undo_now(Undo::StartMaster(number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_does_not_shrink_when_agents_are_lost() {
        let plan = Plan::new(7);
        let mut agents = Agents::new(3);
        let mut lost = 1;
        for next in 3..7 {
            let spec = agents.replace(lost, &plan);
            assert_eq!(spec.resources, agent(1, &plan).resources);
            assert_eq!(spec.attributes, agent(1, &plan).attributes);
            assert_eq!(spec.hostname, format!("agent{next}"));
            lost = next;
        }
        assert_eq!(agents.all(AgentIs::Well), [0, 2, 6]);
        assert_eq!(agents.all(AgentIs::Lost), [1, 3, 4, 5]);
    }
}
