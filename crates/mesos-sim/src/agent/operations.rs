//! Operations on an agent's resources, and the status updates of those.

use super::Agent;
use crate::Output;
use crate::allocator::FrameworkKey;
use crate::link::{Apply, ReportedOperation, ToMaster};
use crate::operations;
use crate::random::Uuid;
use crate::timers::Timer;
use crate::world::World;
use peloton_proto::mesos::v1;
use std::sync::Arc;
use v1::OperationState;
use v1::offer::Operation;

/// An operation whose end the master has not acknowledged.
#[derive(Debug)]
pub(super) struct AgentOperation {
    framework: Option<FrameworkKey>,
    info: Arc<Operation>,
    status: v1::OperationStatus,
    uuid: Uuid,
    retry_ms: u64,
}

impl Agent {
    /// Applies an operation. That cannot fail while master and agent agree; if they do not, the
    /// agent's word counts, as after a registration.
    pub(super) fn apply(&mut self, world: &mut World, apply: Apply) {
        let Apply { operation, framework, info, conversions } = apply;
        let Some(id) = &self.id else { return };
        let agent_id = Some(v1::AgentId { value: id.to_string() });
        let mut status = v1::OperationStatus { agent_id, ..Default::default() };
        status.operation_id.clone_from(&info.id);
        let Ok(total) = operations::apply_all(&self.total, &conversions, None) else {
            status.set_state(OperationState::OperationDropped);
            let message = ToMaster::OperationStatus { operation, framework, status };
            world.send_to_master(self.index, message);
            return;
        };
        self.total = total;
        let destroyed = conversions.iter().filter_map(|conversion| conversion.destroyed.as_ref());
        for volume in destroyed {
            let kind = volume.kind();
            let role = kind.reservation_role().unwrap_or_default().to_owned();
            let id = kind.persistence_id().unwrap_or_default().to_owned();
            world.outputs.push(Output::DestroyVolume { agent: self.index, role, id });
        }
        let uuid = world.random.uuid();
        status.set_state(OperationState::OperationFinished);
        status.uuid = Some(v1::Uuid { value: uuid.to_bytes() });
        let one = AgentOperation { framework, info, status, uuid, retry_ms: 0 };
        self.operations.insert(operation, one);
        self.forward_operation(world, operation, true);
    }

    fn forward_operation(&mut self, world: &mut World, operation: u64, is_first: bool) {
        if !self.is_registered() {
            return;
        }
        let Some(one) = self.operations.get_mut(&operation) else { return };
        one.retry_ms = if is_first {
            world.settings.update_retry_min_ms
        } else {
            one.retry_ms.saturating_mul(2).min(world.settings.update_retry_max_ms)
        };
        let (agent, uuid) = (self.index, one.uuid);
        let (framework, status) = (one.framework, one.status.clone());
        world.set_timer(one.retry_ms, Timer::OperationRetry { agent, operation, uuid });
        world.send_to_master(agent, ToMaster::OperationStatus { operation, framework, status });
    }

    pub(crate) fn operation_retry(&mut self, world: &mut World, operation: u64, uuid: Uuid) {
        if self.operations.get(&operation).is_some_and(|one| one.uuid == uuid) {
            self.forward_operation(world, operation, false);
        }
    }

    pub(super) fn operation_acknowledged(&mut self, operation: u64, uuid: Uuid) {
        if self.operations.get(&operation).is_some_and(|one| one.uuid == uuid) {
            self.operations.remove(&operation);
            self.note_drained();
        }
    }

    /// After a registration: all operations, and again those updates that nobody acknowledged.
    pub(super) fn send_operations(&mut self, world: &mut World) {
        let report = |(operation, one): (&u64, &AgentOperation)| ReportedOperation {
            operation: *operation,
            framework: one.framework,
            info: Arc::clone(&one.info),
            status: one.status.clone(),
        };
        let reports = self.operations.iter().map(report).collect();
        world.send_to_master(self.index, ToMaster::Operations(reports));
        let operations: Vec<u64> = self.operations.keys().copied().collect();
        for operation in operations {
            self.forward_operation(world, operation, true);
        }
    }

    pub(super) fn reconcile_operations(&self, world: &mut World, unknown: &[u64]) {
        let Some(id) = &self.id else { return };
        for operation in unknown.iter().filter(|one| !self.operations.contains_key(one)) {
            let agent_id = Some(v1::AgentId { value: id.to_string() });
            let mut status = v1::OperationStatus { agent_id, ..Default::default() };
            status.set_state(OperationState::OperationDropped);
            let (operation, framework) = (*operation, None);
            let message = ToMaster::OperationStatus { operation, framework, status };
            world.send_to_master(self.index, message);
        }
    }
}
