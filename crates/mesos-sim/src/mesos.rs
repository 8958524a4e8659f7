//! The whole cluster: one master (or none), agents, and what is between them.

use crate::agent::Agent;
use crate::interface::{
    AgentIndex, AgentSpec, ConnectionId, Output, Refusal, Settings, TaskReport,
};
use crate::link::{Link, Message, ToMaster};
use crate::master::Master;
use crate::registry::Registry;
use crate::timers::Timer;
use crate::world::World;
use peloton_proto::mesos::v1;
use v1::scheduler::Call;

const UNAVAILABLE: u16 = 503;

/// A simulated Mesos cluster.
///
/// Whoever drives it calls [`Mesos::advance`] before anything else at a new time, carries out what
/// [`Mesos::drain`] gives after every call, and comes back at [`Mesos::wake_at_ms`] at the latest.
#[derive(Debug)]
pub struct Mesos {
    pub(crate) world: World,
    pub(crate) master: Option<Master>,
    /// What the master left, while there is none.
    registry: Registry,
    /// Counts masters.
    masters: u32,
    pub(crate) agents: Vec<Agent>,
}

impl Mesos {
    /// A cluster with a master and no agents, at time 0.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self::new_at(settings, 0)
    }

    /// A cluster that begins at a time in milliseconds since the epoch: what comes before it is not
    /// lived through.
    #[must_use]
    pub fn new_at(settings: Settings, now_ms: u64) -> Self {
        let mut world = World::new(settings);
        world.now_ms = now_ms;
        let master = Master::new(&mut world, Registry::default(), 0);
        Self {
            world,
            master: Some(master),
            registry: Registry::default(),
            masters: 0,
            agents: Vec::new(),
        }
    }

    /// The time, in milliseconds since the epoch, as it was told last.
    #[must_use]
    pub const fn now_ms(&self) -> u64 {
        self.world.now_ms
    }

    /// How the cluster behaves.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.world.settings
    }

    /// Tells the time, and does all that is due by then, each at its own time. Time does not run
    /// backwards: an earlier one changes nothing.
    pub fn advance(&mut self, now_ms: u64) {
        while let Some(due_ms) = self.wake_at_ms().filter(|due_ms| *due_ms <= now_ms) {
            self.world.now_ms = self.world.now_ms.max(due_ms);
            self.settle();
        }
        self.world.now_ms = self.world.now_ms.max(now_ms);
    }

    /// When [`Mesos::advance`] has something to do next.
    #[must_use]
    pub fn wake_at_ms(&self) -> Option<u64> {
        let timer_ms = self.world.timers.next_ms();
        let allocation_ms = self.master.as_ref().map(Master::next_allocation_ms);
        timer_ms.into_iter().chain(allocation_ms).min()
    }

    /// What is to be carried out, in order.
    #[must_use]
    pub fn drain(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.world.outputs)
    }

    /// Opens a stream with a SUBSCRIBE call, and gives the stream id that further calls need.
    ///
    /// # Errors
    ///
    /// If the call is not one. What Mesos answers with an ERROR event comes as one, and the
    /// connection is closed.
    pub fn subscribe(&mut self, connection: ConnectionId, call: Call) -> Result<String, Refusal> {
        let Some(master) = &mut self.master else { return Err(no_master()) };
        let result = master.subscribe(&mut self.world, connection, call);
        self.settle();
        result
    }

    /// Any call but SUBSCRIBE, with the stream id of the framework's subscription.
    ///
    /// # Errors
    ///
    /// In Mesos's words. What is wrong in the call beyond its form is told in events.
    pub fn call(&mut self, stream_id: Option<&str>, call: Call) -> Result<(), Refusal> {
        self.with_master(|master, world| master.call(world, stream_id, call))
    }

    /// A connection ended at the other side.
    pub fn disconnected(&mut self, connection: ConnectionId) {
        if let Some(master) = &mut self.master {
            master.disconnected(&mut self.world, connection);
            self.settle();
        }
    }

    pub(crate) fn with_master<T>(
        &mut self,
        act: impl FnOnce(&mut Master, &mut World) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let Some(master) = &mut self.master else { return Err(no_master()) };
        let result = act(master, &mut self.world);
        self.settle();
        result
    }

    /// Adds an agent, which registers at once.
    pub fn add_agent(&mut self, spec: AgentSpec) -> AgentIndex {
        // 2^32 agents are out of reach: each has an entry in memory.
        let index = AgentIndex(u32::try_from(self.agents.len()).unwrap_or(u32::MAX));
        self.world.links.push(Link::default());
        let agent = Agent::new(index, spec);
        agent.connect(&mut self.world);
        self.agents.push(agent);
        self.settle();
        index
    }

    /// The driver tells how a task is. What is unknown is ignored.
    pub fn report(
        &mut self,
        agent: AgentIndex,
        framework: &v1::FrameworkId,
        task: &v1::TaskId,
        report: TaskReport,
    ) {
        let Some(framework) = self.world.names.framework_key(&framework.value) else { return };
        let key = (framework, task.value.as_str().into());
        self.with_agent(agent, |agent, world| agent.report(world, &key, report));
    }

    fn with_agent(&mut self, agent: AgentIndex, act: impl FnOnce(&mut Agent, &mut World)) {
        if let Some(agent) = self.agents.get_mut(agent.0 as usize) {
            act(agent, &mut self.world);
            self.settle();
        }
    }

    /// Cuts an agent off the master, or ends that. Messages under way are lost.
    pub fn partition_agent(&mut self, index: AgentIndex, cut: bool) {
        let Some(link) = self.world.links.get_mut(index.0 as usize) else { return };
        if link.cut == cut {
            return;
        }
        link.cut = cut;
        link.epoch += 1;
        link.broken = true;
        if cut {
            if let Some(master) = &mut self.master {
                master.expect_agent(&mut self.world, index);
            }
        } else if let Some(agent) = self.agents.get_mut(index.0 as usize) {
            if agent.is_alive() {
                if let Some(master) = &mut self.master {
                    master.stop_expecting(index);
                }
                agent.disconnect();
                agent.connect(&mut self.world);
            } else if let Some(master) = &mut self.master {
                master.agent_closed(&mut self.world, index);
            }
        }
        self.settle();
    }

    /// Ends an agent's process; its tasks go on.
    pub fn stop_agent(&mut self, index: AgentIndex) {
        let Some(agent) = self.agents.get_mut(index.0 as usize).filter(|one| one.is_alive()) else {
            return;
        };
        agent.stop(&mut self.world);
        self.world.send_to_master(index, ToMaster::Closed);
        self.break_link(index);
        self.settle();
    }

    /// Starts an agent's process, or its machine.
    pub fn start_agent(&mut self, index: AgentIndex) {
        self.with_agent(index, Agent::start);
    }

    /// Removes what an agent that does not run keeps of itself, its id first of all: an agent that was
    /// marked gone comes back no other way. Its reservations and volumes stay.
    pub fn forget_agent(&mut self, index: AgentIndex) {
        self.with_agent(index, Agent::forget);
    }

    /// Ends an agent's machine, tasks and all, without a word to anybody.
    pub fn kill_agent_machine(&mut self, index: AgentIndex) {
        let Some(agent) = self.agents.get_mut(index.0 as usize) else { return };
        agent.stop_machine(&mut self.world);
        self.break_link(index);
        if let Some(link) = self.world.links.get_mut(index.0 as usize) {
            link.epoch += 1;
        }
        if let Some(master) = &mut self.master {
            master.expect_agent(&mut self.world, index);
        }
        self.settle();
    }

    fn break_link(&mut self, index: AgentIndex) {
        if let Some(link) = self.world.links.get_mut(index.0 as usize) {
            link.broken = true;
        }
    }

    /// Ends the master: all connections are closed, and all is lost but the registry.
    pub fn stop_master(&mut self) {
        let Some(master) = self.master.take() else { return };
        for connection in master.open_connections() {
            self.world.outputs.push(Output::Close(connection));
        }
        self.registry = master.registry;
        self.world.has_master = false;
        for link in &mut self.world.links {
            link.epoch += 1;
            link.broken = true;
        }
        self.agents.iter_mut().for_each(Agent::disconnect);
        self.settle();
    }

    /// Starts a master, with another id, on the registry of the one before. Agents register again
    /// after a while, each at its own time.
    pub fn start_master(&mut self) {
        if self.master.is_some() {
            return;
        }
        self.masters += 1;
        let registry = std::mem::take(&mut self.registry);
        self.master = Some(Master::new(&mut self.world, registry, self.masters));
        self.world.has_master = true;
        let backoff_ms = self.world.settings.registration_backoff_ms;
        for agent in &self.agents {
            let after_ms = self.world.random.between((0, backoff_ms));
            agent.connect_after(&mut self.world, after_ms);
        }
        self.settle();
    }

    /// [`Mesos::stop_master`] and [`Mesos::start_master`] at once.
    pub fn fail_over_master(&mut self) {
        self.stop_master();
        self.start_master();
    }

    /// Delivers messages, does what is due, and allocates, until there is nothing left to do at this
    /// time.
    fn settle(&mut self) {
        loop {
            while let Some(message) = self.world.arrived.pop_front() {
                self.receive(message);
            }
            if let Some(timer) = self.world.timers.pop_due(self.world.now_ms) {
                self.fire(timer);
                continue;
            }
            let Some(master) = &mut self.master else { return };
            if master.next_allocation_ms() > self.world.now_ms {
                return;
            }
            master.allocate(&mut self.world);
        }
    }

    fn receive(&mut self, message: Message) {
        let is_current = |world: &World, agent: AgentIndex, epoch: u32| {
            world.links.get(agent.0 as usize).is_some_and(|link| link.epoch == epoch && !link.cut)
        };
        match message {
            Message::ToAgent { agent, epoch, message } => {
                let one = self.agents.get_mut(agent.0 as usize);
                if let Some(one) = one.filter(|_| is_current(&self.world, agent, epoch)) {
                    one.handle(&mut self.world, message);
                }
            }
            Message::ToMaster { agent, epoch, message } => {
                if let Some(master) = &mut self.master
                    && is_current(&self.world, agent, epoch)
                {
                    master.handle(&mut self.world, agent, message);
                }
            }
        }
    }

    fn fire(&mut self, timer: Timer) {
        let world = &mut self.world;
        match timer {
            Timer::Deliver(message) => self.receive(*message),
            Timer::Heartbeat(..)
            | Timer::FrameworkTimeout { .. }
            | Timer::AgentTimeout { .. }
            | Timer::RecoveryTimeout { .. } => {
                if let Some(master) = &mut self.master {
                    fire_master(master, world, timer);
                }
            }
            Timer::Register { agent, .. }
            | Timer::TaskRetry { agent, .. }
            | Timer::OperationRetry { agent, .. }
            | Timer::Script { agent, .. } => {
                if let Some(agent) = self.agents.get_mut(agent.0 as usize) {
                    fire_agent(agent, world, timer);
                }
            }
        }
    }
}

fn fire_agent(agent: &mut Agent, world: &mut World, timer: Timer) {
    match timer {
        Timer::Register { epoch, .. } => agent.register_timer(world, epoch),
        Timer::TaskRetry { framework, task, uuid, .. } => {
            agent.task_retry(world, &(framework, task), uuid);
        }
        Timer::OperationRetry { operation, uuid, .. } => {
            agent.operation_retry(world, operation, uuid);
        }
        Timer::Script { framework, task, container, event, .. } => {
            agent.script_event(world, &(framework, task), container, event);
        }
        Timer::Deliver(_)
        | Timer::Heartbeat(..)
        | Timer::FrameworkTimeout { .. }
        | Timer::AgentTimeout { .. }
        | Timer::RecoveryTimeout { .. } => {}
    }
}

fn fire_master(master: &mut Master, world: &mut World, timer: Timer) {
    match timer {
        Timer::Heartbeat(framework, connection) => master.heartbeat(world, framework, connection),
        Timer::FrameworkTimeout { framework, master: number, epoch } => {
            master.framework_timeout(world, framework, (number, epoch));
        }
        Timer::AgentTimeout { agent, master: number, epoch } => {
            master.agent_timeout(world, agent, (number, epoch));
        }
        Timer::RecoveryTimeout { master: number } => master.recovery_timeout(world, number),
        Timer::Deliver(_)
        | Timer::Register { .. }
        | Timer::TaskRetry { .. }
        | Timer::OperationRetry { .. }
        | Timer::Script { .. } => {}
    }
}

fn no_master() -> Refusal {
    Refusal { status: UNAVAILABLE, body: "There is no leading master".to_owned() }
}
