//! A cluster to test with, and calls in few words.

use peloton_mesos_sim::{
    AgentIndex, AgentSpec, ConnectionId, Mesos, Output, Refusal, Script, Settings, Tasks,
};
use peloton_proto::mesos::v1;
use v1::framework_info::capability::Type as Capability;
use v1::offer::{Operation, operation};
use v1::scheduler::{Call, Event, call, event};

pub(crate) const ROLE: &str = "prod";

/// A scheduler's side of a subscription.
pub(crate) struct Scheduler {
    pub(crate) connection: ConnectionId,
    pub(crate) stream_id: String,
    pub(crate) id: String,
    /// What came since the last look.
    pub(crate) events: Vec<Event>,
    pub(crate) is_closed: bool,
}

pub(crate) struct Cluster {
    pub(crate) mesos: Mesos,
    pub(crate) outputs: Vec<Output>,
    connections: u64,
}

/// Tasks that start at once and run until they are killed.
pub(crate) const LASTING: Script = Script {
    start_delay_ms: (0, 0),
    run_time_ms: None,
    failures_per_mille: 0,
    kill_delay_ms: (100, 100),
};

pub(crate) fn scalar(name: &str, value: f64) -> v1::Resource {
    let mut resource = v1::Resource { name: name.to_owned(), ..Default::default() };
    resource.set_type(v1::value::Type::Scalar);
    resource.scalar = Some(v1::value::Scalar { value });
    resource
}

pub(crate) fn small() -> Vec<v1::Resource> {
    vec![scalar("cpus", 1.0), scalar("mem", 128.0)]
}

/// Resources reserved to the role, with a label.
pub(crate) fn reserved(resources: &[v1::Resource], label: &str) -> Vec<v1::Resource> {
    let mut info = v1::resource::ReservationInfo { role: Some(ROLE.into()), ..Default::default() };
    info.set_type(v1::resource::reservation_info::Type::Dynamic);
    let value = Some(label.to_owned());
    info.labels = Some(v1::Labels { labels: vec![v1::Label { key: "slot".to_owned(), value }] });
    let reserve = |resource: &v1::Resource| v1::Resource {
        reservations: vec![info.clone()],
        ..resource.clone()
    };
    resources.iter().map(reserve).collect()
}

pub(crate) fn volume(reserved_disk: &v1::Resource, id: &str) -> v1::Resource {
    let mut volume = v1::Volume { container_path: "data".to_owned(), ..Default::default() };
    volume.set_mode(v1::volume::Mode::Rw);
    let persistence =
        Some(v1::resource::disk_info::Persistence { id: id.to_owned(), principal: None });
    let disk = v1::resource::DiskInfo { persistence, volume: Some(volume), source: None };
    v1::Resource { disk: Some(Box::new(disk)), ..reserved_disk.clone() }
}

pub(crate) fn spec(hostname: &str, tasks: Tasks) -> AgentSpec {
    AgentSpec {
        hostname: hostname.to_owned(),
        port: 5051,
        resources: vec![scalar("cpus", 8.0), scalar("mem", 4096.0), scalar("disk", 10_000.0)],
        attributes: Vec::new(),
        domain: None,
        tasks,
    }
}

pub(crate) fn framework(capabilities: &[Capability]) -> v1::FrameworkInfo {
    let capability =
        |one: &Capability| v1::framework_info::Capability { r#type: Some(*one as i32) };
    v1::FrameworkInfo {
        user: "nobody".to_owned(),
        name: "test".to_owned(),
        roles: vec![ROLE.to_owned()],
        failover_timeout: Some(3_600.0),
        checkpoint: Some(true),
        capabilities: capabilities.iter().map(capability).collect(),
        ..Default::default()
    }
}

pub(crate) const CAPABLE: [Capability; 4] = [
    Capability::MultiRole,
    Capability::ReservationRefinement,
    Capability::PartitionAware,
    Capability::TaskKillingState,
];

/// A framework without PARTITION_AWARE.
pub(crate) const UNAWARE: [Capability; 2] =
    [Capability::MultiRole, Capability::ReservationRefinement];

pub(crate) fn task(id: &str, offer: &v1::Offer, resources: Vec<v1::Resource>) -> v1::TaskInfo {
    v1::TaskInfo {
        name: id.to_owned(),
        task_id: v1::TaskId { value: id.to_owned() },
        agent_id: offer.agent_id.clone(),
        resources,
        command: Some(v1::CommandInfo { value: Some("./serve".to_owned()), ..Default::default() }),
        ..Default::default()
    }
}

pub(crate) fn launch(tasks: Vec<v1::TaskInfo>) -> Operation {
    let mut operation = Operation::default();
    operation.set_type(operation::Type::Launch);
    operation.launch = Some(operation::Launch { task_infos: tasks });
    operation
}

pub(crate) fn reserve(resources: Vec<v1::Resource>, id: Option<&str>) -> Operation {
    let mut operation = Operation::default();
    operation.set_type(operation::Type::Reserve);
    operation.reserve = Some(operation::Reserve { resources, source: Vec::new() });
    operation.id = id.map(|id| v1::OperationId { value: id.to_owned() });
    operation
}

pub(crate) fn unreserve(resources: Vec<v1::Resource>) -> Operation {
    let mut operation = Operation::default();
    operation.set_type(operation::Type::Unreserve);
    operation.unreserve = Some(operation::Unreserve { resources });
    operation
}

pub(crate) fn create(volumes: Vec<v1::Resource>) -> Operation {
    let mut operation = Operation::default();
    operation.set_type(operation::Type::Create);
    operation.create = Some(operation::Create { volumes });
    operation
}

pub(crate) fn destroy(volumes: Vec<v1::Resource>) -> Operation {
    let mut operation = Operation::default();
    operation.set_type(operation::Type::Destroy);
    operation.destroy = Some(operation::Destroy { volumes });
    operation
}

pub(crate) fn call_of(scheduler: &Scheduler, kind: call::Type) -> Call {
    let framework_id = Some(v1::FrameworkId { value: scheduler.id.clone() });
    Call { framework_id, r#type: Some(kind as i32), ..Default::default() }
}

impl Cluster {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { mesos: Mesos::new(settings), outputs: Vec::new(), connections: 0 }
    }

    /// A cluster of one agent with lasting tasks, and one scheduler.
    pub(crate) fn with_one_agent() -> (Self, Scheduler, AgentIndex) {
        Self::with_agent(Tasks::Script(LASTING), &CAPABLE)
    }

    pub(crate) fn with_agent(
        tasks: Tasks,
        capabilities: &[Capability],
    ) -> (Self, Scheduler, AgentIndex) {
        let mut cluster = Self::new(Settings::default());
        cluster.mesos.advance(1_000_000);
        let agent = cluster.mesos.add_agent(spec("10.0.0.1", tasks));
        let scheduler = cluster.subscribe(framework(capabilities));
        (cluster, scheduler, agent)
    }

    pub(crate) fn next_connection(&mut self) -> ConnectionId {
        self.connections += 1;
        ConnectionId(self.connections)
    }

    pub(crate) fn subscribe(&mut self, info: v1::FrameworkInfo) -> Scheduler {
        let mut scheduler = self.try_subscribe(info, &[]);
        let event = scheduler.events.first().unwrap();
        assert_eq!(event.r#type(), event::Type::Subscribed, "{event:?}");
        let id = event.subscribed.as_ref().unwrap().framework_id.clone().unwrap();
        scheduler.id = id.value;
        scheduler
    }

    /// Subscribes, and lets the answer be what it is.
    pub(crate) fn try_subscribe(
        &mut self,
        info: v1::FrameworkInfo,
        suppressed: &[&str],
    ) -> Scheduler {
        let connection = self.next_connection();
        let call = Call {
            framework_id: info.id.clone(),
            r#type: Some(call::Type::Subscribe as i32),
            subscribe: Some(Box::new(call::Subscribe {
                framework_info: info,
                suppressed_roles: suppressed.iter().map(|role| (*role).to_owned()).collect(),
                offer_constraints: None,
            })),
            ..Default::default()
        };
        let stream_id = self.mesos.subscribe(connection, call).unwrap();
        let mut scheduler = Scheduler {
            connection,
            stream_id,
            id: String::new(),
            events: Vec::new(),
            is_closed: false,
        };
        self.look(&mut scheduler);
        scheduler
    }

    /// Takes a scheduler's events out of what the cluster gave.
    pub(crate) fn look(&mut self, scheduler: &mut Scheduler) {
        self.mesos.check().unwrap();
        self.outputs.extend(self.mesos.drain());
        let mut rest = Vec::new();
        for output in std::mem::take(&mut self.outputs) {
            match output {
                Output::Event(connection, event) if connection == scheduler.connection => {
                    scheduler.events.push(*event);
                }
                Output::Close(connection) if connection == scheduler.connection => {
                    scheduler.is_closed = true;
                }
                other => rest.push(other),
            }
        }
        self.outputs = rest;
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.mesos.advance(self.mesos.now_ms() + ms);
    }

    pub(crate) fn send(&mut self, scheduler: &Scheduler, call: Call) -> Result<(), Refusal> {
        self.mesos.call(Some(&scheduler.stream_id), call)
    }

    pub(crate) fn offers(&mut self, scheduler: &mut Scheduler) -> Vec<v1::Offer> {
        self.look(scheduler);
        let (offers, rest): (Vec<Event>, Vec<Event>) = std::mem::take(&mut scheduler.events)
            .into_iter()
            .partition(|event| event.r#type() == event::Type::Offers);
        scheduler.events = rest;
        offers.into_iter().flat_map(|event| event.offers.unwrap().offers).collect()
    }

    /// The only offer that came.
    pub(crate) fn offer(&mut self, scheduler: &mut Scheduler) -> v1::Offer {
        let mut offers = self.offers(scheduler);
        assert_eq!(offers.len(), 1, "{offers:?}");
        offers.remove(0)
    }

    /// The status updates that came.
    pub(crate) fn updates(&mut self, scheduler: &mut Scheduler) -> Vec<v1::TaskStatus> {
        self.look(scheduler);
        let (updates, rest): (Vec<Event>, Vec<Event>) = std::mem::take(&mut scheduler.events)
            .into_iter()
            .partition(|event| event.r#type() == event::Type::Update);
        scheduler.events = rest;
        updates.into_iter().map(|event| event.update.unwrap().status.unwrap()).collect()
    }

    pub(crate) fn operation_updates(
        &mut self,
        scheduler: &mut Scheduler,
    ) -> Vec<v1::OperationStatus> {
        self.look(scheduler);
        let kind = event::Type::UpdateOperationStatus;
        let (updates, rest): (Vec<Event>, Vec<Event>) = std::mem::take(&mut scheduler.events)
            .into_iter()
            .partition(|event| event.r#type() == kind);
        scheduler.events = rest;
        updates.into_iter().map(|e| e.update_operation_status.unwrap().status.unwrap()).collect()
    }

    /// The kinds of events that came, heartbeats apart.
    pub(crate) fn kinds(&mut self, scheduler: &mut Scheduler) -> Vec<event::Type> {
        self.look(scheduler);
        let kinds = std::mem::take(&mut scheduler.events).into_iter().map(|event| event.r#type());
        kinds.filter(|kind| *kind != event::Type::Heartbeat).collect()
    }

    pub(crate) fn accept(
        &mut self,
        scheduler: &Scheduler,
        offers: &[&v1::Offer],
        operations: Vec<Operation>,
    ) {
        let offer_ids = offers.iter().map(|offer| offer.id.clone()).collect();
        let accept = call::Accept { offer_ids, operations, filters: None };
        let call = Call { accept: Some(accept), ..call_of(scheduler, call::Type::Accept) };
        self.send(scheduler, call).unwrap();
    }

    pub(crate) fn acknowledge(&mut self, scheduler: &Scheduler, status: &v1::TaskStatus) {
        let acknowledge = call::Acknowledge {
            agent_id: status.agent_id.clone().unwrap(),
            task_id: status.task_id.clone(),
            uuid: status.uuid.clone().unwrap(),
        };
        let call = call_of(scheduler, call::Type::Acknowledge);
        self.send(scheduler, Call { acknowledge: Some(acknowledge), ..call }).unwrap();
    }

    /// Acknowledges all that comes, until nothing does; gives the states by order.
    pub(crate) fn acknowledge_all(&mut self, scheduler: &mut Scheduler) -> Vec<v1::TaskStatus> {
        let mut all = Vec::new();
        loop {
            let updates = self.updates(scheduler);
            if updates.is_empty() {
                return all;
            }
            for status in updates {
                if status.uuid.is_some() {
                    self.acknowledge(scheduler, &status);
                }
                all.push(status);
            }
        }
    }

    pub(crate) fn kill(&mut self, scheduler: &Scheduler, task: &str, agent: Option<&str>) {
        let kill = call::Kill {
            task_id: v1::TaskId { value: task.to_owned() },
            agent_id: agent.map(|id| v1::AgentId { value: id.to_owned() }),
            kill_policy: None,
        };
        let call = call_of(scheduler, call::Type::Kill);
        self.send(scheduler, Call { kill: Some(kill), ..call }).unwrap();
    }

    /// Asks about tasks, by id and agent; about none is about all.
    pub(crate) fn reconcile(&mut self, scheduler: &Scheduler, tasks: &[(&str, Option<&str>)]) {
        let task = |&(id, agent): &(&str, Option<&str>)| call::reconcile::Task {
            task_id: v1::TaskId { value: id.to_owned() },
            agent_id: agent.map(|id| v1::AgentId { value: id.to_owned() }),
        };
        let reconcile = call::Reconcile { tasks: tasks.iter().map(task).collect() };
        let call = call_of(scheduler, call::Type::Reconcile);
        self.send(scheduler, Call { reconcile: Some(reconcile), ..call }).unwrap();
    }

    /// Launches tasks on the agent's only offer; they run and are acknowledged.
    pub(crate) fn run(&mut self, scheduler: &mut Scheduler, ids: &[&str]) -> v1::Offer {
        let offer = self.offer(scheduler);
        let tasks = ids.iter().map(|id| task(id, &offer, small())).collect();
        self.accept(scheduler, &[&offer], vec![launch(tasks)]);
        self.acknowledge_all(scheduler);
        offer
    }
}

pub(crate) fn states(updates: &[v1::TaskStatus]) -> Vec<v1::TaskState> {
    updates.iter().map(v1::TaskStatus::state).collect()
}

/// A quantity in an offer.
pub(crate) fn amount(resources: &[v1::Resource], name: &str) -> f64 {
    let named = resources.iter().filter(|resource| resource.name == name);
    named.filter_map(|resource| resource.scalar.as_ref()).map(|scalar| scalar.value).sum()
}
