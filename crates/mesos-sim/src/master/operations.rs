//! Operations on resources that an agent has not confirmed, or a framework has not acknowledged.

use super::Master;
use crate::AgentIndex;
use crate::allocator::FrameworkKey;
use crate::link::{Apply, ReportedOperation, ToAgent};
use crate::operations::{self, Conversion};
use crate::random::Uuid;
use crate::status;
use crate::task::is_terminal_operation;
use crate::world::World;
use peloton_proto::mesos::v1;
use std::sync::Arc;
use v1::OperationState;
use v1::offer::Operation as OperationInfo;
use v1::scheduler::call;

/// An operation as the master knows it.
#[derive(Debug)]
pub(crate) struct MasterOperation {
    pub(super) framework: Option<FrameworkKey>,
    pub(super) info: Arc<OperationInfo>,
    /// The newest status: without a uuid while it is pending.
    pub(super) status: v1::OperationStatus,
}

/// An operation for those who look.
#[derive(Debug, Clone, Copy)]
pub struct OperationView<'a> {
    /// Its number, never used twice.
    pub number: u64,
    /// Whose it is; `None` is an operator's.
    pub framework: Option<FrameworkKey>,
    /// On which agent.
    pub agent: AgentIndex,
    /// What is done.
    pub info: &'a OperationInfo,
    /// The newest status.
    pub status: &'a v1::OperationStatus,
}

impl Master {
    /// Notes an operation, applies it to what the master knows of the agent, and tells the agent.
    pub(super) fn start_operation(
        &mut self,
        world: &mut World,
        agent: AgentIndex,
        framework: Option<FrameworkKey>,
        operation: &OperationInfo,
        conversions: &[Conversion],
    ) {
        let number = world.new_operation();
        let info = Arc::new(operation.clone());
        let Some(one) = self.agent_mut(agent) else { return };
        if let Ok(total) = operations::apply_all(&one.total, conversions, None) {
            one.total = total;
        }
        let mut status = v1::OperationStatus {
            operation_id: operation.id.clone(),
            agent_id: Some(status::agent_id(&one.id)),
            ..Default::default()
        };
        status.set_state(OperationState::OperationPending);
        let new = MasterOperation { framework, info: Arc::clone(&info), status };
        self.add_operation(agent, number, new);
        let conversions = conversions.to_vec();
        let apply = Apply { operation: number, framework, info, conversions };
        world.send_to_agent(agent, ToAgent::Apply(Box::new(apply)));
    }

    fn add_operation(&mut self, agent: AgentIndex, number: u64, new: MasterOperation) {
        let owner = new.framework.and_then(|framework| self.frameworks.get_mut(&framework));
        if let (Some(owner), Some(id)) = (owner, &new.info.id) {
            owner.operations.insert(id.value.as_str().into(), (agent, number));
        }
        if let Some(one) = self.agent_mut(agent) {
            one.operations.insert(number, new);
        }
    }

    pub(super) fn remove_operation(
        &mut self,
        agent: AgentIndex,
        number: u64,
    ) -> Option<MasterOperation> {
        let operation = self.agent_mut(agent)?.operations.remove(&number)?;
        let owner = operation.framework.and_then(|framework| self.frameworks.get_mut(&framework));
        if let (Some(owner), Some(id)) = (owner, &operation.info.id)
            && owner.operations.get(id.value.as_str()) == Some(&(agent, number))
        {
            owner.operations.remove(id.value.as_str());
        }
        Some(operation)
    }

    /// An agent tells how an operation ended.
    pub(super) fn operation_status(
        &mut self,
        world: &mut World,
        agent: AgentIndex,
        number: u64,
        framework: Option<FrameworkKey>,
        mut status: v1::OperationStatus,
    ) {
        let Some(one) = self.agent_mut(agent) else { return };
        let Some(operation) = one.operations.get_mut(&number) else {
            if let Some(framework) = framework {
                self.send(world, framework, status::operation_update(status));
            }
            return;
        };
        status.operation_id.clone_from(&operation.info.id);
        if !is_terminal_operation(operation.status.state()) {
            operation.status.clone_from(&status);
        }
        let owner = operation.framework.filter(|_| operation.info.id.is_some());
        let owner = owner.filter(|owner| self.frameworks.contains_key(owner));
        let uuid = status.uuid.as_ref().and_then(|uuid| Uuid::from_bytes(&uuid.value));
        let is_terminal = is_terminal_operation(status.state());
        if let Some(owner) = owner {
            self.send(world, owner, status::operation_update(status));
            if is_terminal && uuid.is_none() {
                self.remove_operation(agent, number);
            }
        } else {
            // Nobody but the master itself is there to acknowledge it.
            if let Some(uuid) = uuid {
                let acknowledge = ToAgent::AcknowledgeOperation { operation: number, uuid };
                world.send_to_agent(agent, acknowledge);
            }
            if is_terminal {
                self.remove_operation(agent, number);
            }
        }
        self.check_drained(world, agent);
    }

    /// All operations that an agent knows: those that the master does not are added, those that the
    /// agent does not are asked for.
    pub(super) fn reported_operations(
        &mut self,
        world: &mut World,
        agent: AgentIndex,
        reported: Vec<ReportedOperation>,
    ) {
        let Some(one) = self.agent(agent) else { return };
        let is_reported =
            |number: &&u64| reported.iter().any(|report| report.operation == **number);
        let unknown: Vec<u64> =
            one.operations.keys().filter(|number| !is_reported(number)).copied().collect();
        for ReportedOperation { operation, framework, info, status } in reported {
            let is_known =
                self.agent(agent).is_some_and(|one| one.operations.contains_key(&operation));
            if !is_known {
                self.add_operation(agent, operation, MasterOperation { framework, info, status });
            }
        }
        if !unknown.is_empty() {
            world.send_to_agent(agent, ToAgent::ReconcileOperations(unknown));
        }
        self.check_drained(world, agent);
    }

    pub(super) fn acknowledge_operation(
        &mut self,
        world: &mut World,
        framework: FrameworkKey,
        acknowledge: &call::AcknowledgeOperationStatus,
    ) {
        let agent_id = acknowledge.agent_id.as_ref().map_or("", |id| id.value.as_str());
        let Some(agent) = self.agent_by_id(world, agent_id).filter(|agent| agent.connected) else {
            return;
        };
        let index = agent.index;
        let Some(owner) = self.frameworks.get(&framework) else { return };
        let id = acknowledge.operation_id.value.as_str();
        let Some((_, number)) = owner.operations.get(id).filter(|(agent, _)| *agent == index)
        else {
            return;
        };
        let number = *number;
        let Some(operation) = agent.operations.get(&number) else { return };
        let known = operation.status.uuid.as_ref().map(|uuid| uuid.value.as_slice());
        if known != Some(acknowledge.uuid.as_slice()) {
            return;
        }
        if is_terminal_operation(operation.status.state()) {
            self.remove_operation(index, number);
        }
        if let Some(uuid) = Uuid::from_bytes(&acknowledge.uuid) {
            world.send_to_agent(index, ToAgent::AcknowledgeOperation { operation: number, uuid });
        }
        self.check_drained(world, index);
    }

    /// Frameworks are told that their operations went with the agent.
    pub(super) fn fail_operations(
        &mut self,
        world: &mut World,
        agent: AgentIndex,
        state: OperationState,
        message: &str,
    ) {
        let Some(one) = self.agent(agent) else { return };
        let numbers: Vec<u64> = one.operations.keys().copied().collect();
        let agent_id = Arc::clone(&one.id);
        for number in numbers {
            let Some(operation) = self.remove_operation(agent, number) else { continue };
            let (Some(framework), Some(id)) = (operation.framework, &operation.info.id) else {
                continue;
            };
            let mut status = v1::OperationStatus {
                operation_id: Some(id.clone()),
                agent_id: Some(status::agent_id(&agent_id)),
                message: Some(message.to_owned()),
                ..Default::default()
            };
            status.set_state(state);
            self.send(world, framework, status::operation_update(status));
        }
    }

    /// All operations, by agent and number.
    pub(crate) fn operations(&self) -> impl Iterator<Item = OperationView<'_>> {
        self.agents.iter().flatten().flat_map(|agent| {
            agent.operations.iter().map(|(number, operation)| OperationView {
                number: *number,
                framework: operation.framework,
                agent: agent.index,
                info: &operation.info,
                status: &operation.status,
            })
        })
    }
}
