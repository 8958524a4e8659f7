//! What operators do to the cluster.

use crate::interface::Refusal;
use crate::master::maintenance::{MachineId, MaintenanceSchedule};
use crate::mesos::Mesos;
use peloton_proto::mesos::v1;
use v1::offer::{Operation, operation};

type Answer = Result<(), Refusal>;

/// All of these are refused without a master, and in Mesos's words when Mesos would.
impl Mesos {
    /// Removes an agent for good; its tasks are TASK_GONE_BY_OPERATOR.
    ///
    /// # Errors
    ///
    /// 404 if no such agent is registered, expected back, or unreachable.
    pub fn mark_agent_gone(&mut self, agent_id: &str) -> Answer {
        self.with_master(|master, world| master.mark_agent_gone(world, agent_id))
    }

    /// Kills all tasks of an agent, each with at most `max_grace_ms`, and offers it no more. Then the
    /// agent is drained or, with `mark_gone`, gone.
    ///
    /// # Errors
    ///
    /// 400 if there is no such agent, or it is in a maintenance schedule.
    pub fn drain_agent(
        &mut self,
        agent_id: &str,
        max_grace_ms: Option<u64>,
        mark_gone: bool,
    ) -> Answer {
        self.with_master(|master, world| {
            master.drain_agent(world, agent_id, max_grace_ms, mark_gone)
        })
    }

    /// Offers an agent no more.
    ///
    /// # Errors
    ///
    /// 400 if there is no such agent.
    pub fn deactivate_agent(&mut self, agent_id: &str) -> Answer {
        self.with_master(|master, world| master.deactivate_agent(world, agent_id))
    }

    /// Offers a deactivated or drained agent again.
    ///
    /// # Errors
    ///
    /// 400 if it is neither, or still being drained; 409 if it is not registered.
    pub fn reactivate_agent(&mut self, agent_id: &str) -> Answer {
        self.with_master(|master, world| master.reactivate_agent(world, agent_id))
    }

    /// Ends a framework and all that it has.
    ///
    /// # Errors
    ///
    /// 400 if there is no such framework.
    pub fn teardown(&mut self, framework_id: &str) -> Answer {
        self.with_master(|master, world| master.teardown(world, framework_id))
    }

    fn operate(&mut self, agent_id: &str, operation: Operation) -> Answer {
        self.with_master(|master, world| master.operate_on_agent(world, agent_id, operation))
    }

    /// Reserves resources of an agent.
    ///
    /// # Errors
    ///
    /// 400 if the agent or the operation is wrong, 409 if the resources are not available.
    pub fn reserve(&mut self, agent_id: &str, resources: Vec<v1::Resource>) -> Answer {
        let mut operation = Operation::default();
        operation.set_type(operation::Type::Reserve);
        operation.reserve = Some(operation::Reserve { resources, source: Vec::new() });
        self.operate(agent_id, operation)
    }

    /// Ends reservations on an agent.
    ///
    /// # Errors
    ///
    /// As of [`Mesos::reserve`].
    pub fn unreserve(&mut self, agent_id: &str, resources: Vec<v1::Resource>) -> Answer {
        let mut operation = Operation::default();
        operation.set_type(operation::Type::Unreserve);
        operation.unreserve = Some(operation::Unreserve { resources });
        self.operate(agent_id, operation)
    }

    /// Creates persistent volumes on an agent.
    ///
    /// # Errors
    ///
    /// As of [`Mesos::reserve`].
    pub fn create_volumes(&mut self, agent_id: &str, volumes: Vec<v1::Resource>) -> Answer {
        let mut operation = Operation::default();
        operation.set_type(operation::Type::Create);
        operation.create = Some(operation::Create { volumes });
        self.operate(agent_id, operation)
    }

    /// Destroys persistent volumes on an agent.
    ///
    /// # Errors
    ///
    /// As of [`Mesos::reserve`].
    pub fn destroy_volumes(&mut self, agent_id: &str, volumes: Vec<v1::Resource>) -> Answer {
        let mut operation = Operation::default();
        operation.set_type(operation::Type::Destroy);
        operation.destroy = Some(operation::Destroy { volumes });
        self.operate(agent_id, operation)
    }

    /// Plans maintenance, instead of what was planned before.
    ///
    /// # Errors
    ///
    /// 400 if the schedule is wrong or leaves out a machine that is down.
    pub fn update_maintenance_schedule(&mut self, schedule: MaintenanceSchedule) -> Answer {
        self.with_master(|master, world| master.update_maintenance_schedule(world, schedule))
    }

    /// Takes scheduled machines down: their agents are removed.
    ///
    /// # Errors
    ///
    /// 400 if a machine is not scheduled, or is down.
    pub fn start_maintenance(&mut self, machines: &[MachineId]) -> Answer {
        self.with_master(|master, world| master.start_maintenance(world, machines))
    }

    /// Ends the maintenance of machines.
    ///
    /// # Errors
    ///
    /// 400 if one is not down.
    pub fn stop_maintenance(&mut self, machines: &[MachineId]) -> Answer {
        self.with_master(|master, _| master.stop_maintenance(machines))
    }
}
