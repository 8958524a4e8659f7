//! What goes in and comes out, apart from the messages of the scheduler API themselves.

use peloton_proto::mesos::v1;
use peloton_proto::mesos::v1::scheduler::Event;

/// A scheduler's streaming connection, numbered by the driver; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// An agent's place in the cluster, counted from 0 in the order in which agents were added. It stays
/// the same when the agent registers anew under another agent id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentIndex(pub u32);

/// How the cluster behaves. Times are in milliseconds; the defaults are those of Mesos 1.11.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Seeds everything that is drawn: offer order among equals, scripted tasks, message delays.
    pub seed: u64,
    /// Between two allocations of everything: 1,000.
    pub allocation_interval_ms: u64,
    /// Between two HEARTBEAT events: 15,000.
    pub heartbeat_interval_ms: u64,
    /// From the loss of an agent's connection to TASK_UNREACHABLE: 5 pings of 15 s, 75,000.
    pub agent_timeout_ms: u64,
    /// After a master's fail-over, how long agents have to re-register: 600,000.
    pub agent_reregister_timeout_ms: u64,
    /// First wait for an acknowledgement of a status update, which doubles each time: 10,000.
    pub update_retry_min_ms: u64,
    /// Longest such wait: 600,000.
    pub update_retry_max_ms: u64,
    /// How long a message between the master and an agent takes, drawn from this range for each; the
    /// order on one connection is kept. 0 to 0 delivers at once.
    pub message_delay_ms: (u64, u64),
    /// After a master's fail-over, an agent waits up to so long before it registers again: 1,000.
    pub registration_backoff_ms: u64,
    /// What the master says it is: `127.0.0.1:5050`. Goes into SUBSCRIBED's MasterInfo.
    pub address: (String, u16),
    /// A rule that is broken on purpose, for tests of tests: none.
    pub sabotage: Option<Sabotage>,
}

/// Rules of Mesos that can be broken, to show that tests find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Reserved resources are offered to every role.
    OfferReservedToOthers,
    /// A call is taken with any stream id.
    AcceptAnyStreamId,
    /// An agent whose process starts again has forgotten its reservations.
    ForgetReservationsAtRestart,
    /// An operation that fails takes those behind it with it, LAUNCH too, without a word.
    StopAtFailedOperation,
    /// What a refused operation asks for is told to nobody.
    SwallowFailures,
    /// Reservations that differ in nothing but their labels are merged in offers.
    MergeDifferentLabels,
}

impl Default for Settings {
    /// As Mesos 1.11 does without flags, and without delays.
    fn default() -> Self {
        Self {
            seed: 0,
            allocation_interval_ms: 1_000,
            heartbeat_interval_ms: 15_000,
            agent_timeout_ms: 75_000,
            agent_reregister_timeout_ms: 600_000,
            update_retry_min_ms: 10_000,
            update_retry_max_ms: 600_000,
            message_delay_ms: (0, 0),
            registration_backoff_ms: 1_000,
            address: ("127.0.0.1".to_owned(), 5050),
            sabotage: None,
        }
    }
}

/// An agent as its flags would describe it.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentSpec {
    /// Its host name.
    pub hostname: String,
    /// Where its HTTP API is: shown in offers.
    pub port: u16,
    /// All it has, unreserved or statically reserved.
    pub resources: Vec<v1::Resource>,
    /// Its attributes.
    pub attributes: Vec<v1::Attribute>,
    /// Its fault domain.
    pub domain: Option<v1::DomainInfo>,
    /// What runs its tasks.
    pub tasks: Tasks,
}

/// What runs the tasks of an agent.
#[derive(Debug, Clone, PartialEq)]
pub enum Tasks {
    /// The driver: it gets [`Output::Launch`] and [`Output::Kill`], and answers by
    /// `Mesos::report`.
    Driver,
    /// The model itself, by a script that is the same for all tasks of the agent except where a task's
    /// command says otherwise (see the `script` module).
    Script(Script),
}

/// How scripted tasks behave. Times in milliseconds, drawn evenly from each range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Script {
    /// From launch to TASK_RUNNING.
    pub start_delay_ms: (u64, u64),
    /// From TASK_RUNNING to the end; `None` runs until killed.
    pub run_time_ms: Option<(u64, u64)>,
    /// Of a thousand tasks that end by themselves, or start, how many fail.
    pub failures_per_mille: u16,
    /// From a kill to TASK_KILLED.
    pub kill_delay_ms: (u64, u64),
}

/// What the driver has to carry out, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send an event down a connection.
    Event(ConnectionId, Box<Event>),
    /// End a connection, after the events before.
    Close(ConnectionId),
    /// Start a task on an agent whose tasks the driver runs.
    Launch {
        /// The agent.
        agent: AgentIndex,
        /// The framework that the task belongs to.
        framework: v1::FrameworkId,
        /// The task, or the tasks of a group (more than one, or of `LAUNCH_GROUP`).
        tasks: Vec<v1::TaskInfo>,
    },
    /// Kill a task: SIGTERM, then SIGKILL after the grace period.
    Kill {
        /// The agent.
        agent: AgentIndex,
        /// The framework that the task belongs to.
        framework: v1::FrameworkId,
        /// The task.
        task: v1::TaskId,
        /// Between the two signals.
        grace_ms: u64,
    },
    /// Remove a persistent volume's directory and all in it.
    DestroyVolume {
        /// The agent.
        agent: AgentIndex,
        /// The persistence id, with its role.
        role: String,
        /// The id.
        id: String,
    },
}

/// What a driver reports of a task that it runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TaskReport {
    /// The new state: starting, running, finished, failed, killed, lost.
    pub state: v1::TaskState,
    /// For humans.
    pub message: Option<String>,
    /// The result of the health check, where there is one.
    pub healthy: Option<bool>,
    /// Why, where it is not plain.
    pub reason: Option<v1::task_status::Reason>,
    /// Where the container is on the network.
    pub container_status: Option<v1::ContainerStatus>,
}

/// An HTTP answer that is not a success, as Mesos gives it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("HTTP {status}: {body}")]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// Mesos's words.
    pub body: String,
}
