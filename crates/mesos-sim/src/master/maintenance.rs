//! Planned maintenance: machines that will be unavailable, and machines that are down.

use super::Master;
use super::calls::{BAD_REQUEST, refuse};
use super::removal::Removal;
use crate::link::ToAgent;
use crate::status::ip_of;
use crate::world::World;
use crate::{AgentIndex, AgentSpec, Refusal};
use peloton_proto::mesos::v1;
use std::collections::BTreeSet;
use std::fmt;

/// A machine, as Mesos tells them apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MachineId {
    /// In lower case, as Mesos compares it.
    pub hostname: String,
    /// Its address.
    pub ip: String,
}

impl fmt::Display for MachineId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({})", self.hostname, self.ip)
    }
}

/// What a machine is in maintenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineMode {
    /// It is scheduled for maintenance.
    Draining,
    /// It is in maintenance: its agents may not register.
    Down,
}

/// A time in which machines are unavailable.
#[derive(Debug, Clone, PartialEq)]
pub struct MaintenanceWindow {
    /// The machines.
    pub machines: Vec<MachineId>,
    /// The time.
    pub unavailability: v1::Unavailability,
}

/// All planned maintenance.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MaintenanceSchedule {
    /// Its parts.
    pub windows: Vec<MaintenanceWindow>,
}

impl MaintenanceSchedule {
    /// When a machine will be unavailable.
    #[must_use]
    pub fn unavailability(&self, machine: &MachineId) -> Option<v1::Unavailability> {
        let window = self.windows.iter().find(|window| window.machines.contains(machine))?;
        Some(window.unavailability)
    }

    fn machines(&self) -> BTreeSet<MachineId> {
        self.windows.iter().flat_map(|window| &window.machines).cloned().collect()
    }
}

/// The machine that an agent is on.
#[must_use]
pub fn machine_of(spec: &AgentSpec) -> MachineId {
    MachineId { hostname: spec.hostname.to_lowercase(), ip: ip_of(spec) }
}

impl Master {
    fn agents_on(&self, machine: &MachineId) -> Vec<AgentIndex> {
        let agents = self.agents.iter().flatten();
        let there = agents.filter(|agent| machine_of(&agent.spec) == *machine);
        there.map(|agent| agent.index).collect()
    }

    pub(crate) fn update_maintenance_schedule(
        &mut self,
        world: &mut World,
        schedule: MaintenanceSchedule,
    ) -> Result<(), Refusal> {
        let mut seen = BTreeSet::new();
        for window in &schedule.windows {
            if window.machines.is_empty() {
                let why = "List of machines in the maintenance window is empty";
                return Err(refuse(BAD_REQUEST, why));
            }
            if let Some(twice) = window.machines.iter().find(|machine| !seen.insert(*machine)) {
                let why = format!("Machine '{twice}' appears more than once in the schedule");
                return Err(refuse(BAD_REQUEST, why));
            }
        }
        let (old, new) = (self.registry.schedule.machines(), schedule.machines());
        let machines = &self.registry.machines;
        let is_down = |machine: &&MachineId| machines.get(*machine) == Some(&MachineMode::Down);
        if let Some(down) = old.difference(&new).find(is_down) {
            let why =
                format!("Machine '{down}' is deactivated and cannot be removed from the schedule");
            return Err(refuse(BAD_REQUEST, why));
        }
        let changed: Vec<MachineId> = old
            .union(&new)
            .filter(|machine| {
                let before = self.registry.schedule.unavailability(machine);
                before != schedule.unavailability(machine)
            })
            .cloned()
            .collect();
        self.registry.schedule = schedule;
        for machine in old.difference(&new) {
            self.registry.machines.remove(machine);
        }
        for machine in &new {
            let mode = self.registry.machines.entry(machine.clone());
            mode.or_insert(MachineMode::Draining);
        }
        for machine in &changed {
            self.availability_changed(world, machine);
        }
        // Mesos goes through all machines that it knows, and takes back the offers of each.
        let others: Vec<AgentIndex> =
            self.agents.iter().flatten().map(|agent| agent.index).collect();
        for agent in others {
            if !changed.iter().any(|machine| self.agents_on(machine).contains(&agent)) {
                self.rescind_offers_on(world, agent);
            }
        }
        Ok(())
    }

    fn availability_changed(&mut self, world: &mut World, machine: &MachineId) {
        let is_planned = self.registry.schedule.unavailability(machine).is_some();
        for agent in self.agents_on(machine) {
            self.rescind_offers_on(world, agent);
            self.allocator.update_unavailability(agent, is_planned);
        }
    }

    pub(crate) fn start_maintenance(
        &mut self,
        world: &mut World,
        machines: &[MachineId],
    ) -> Result<(), Refusal> {
        for machine in machines {
            match self.registry.machines.get(machine) {
                Some(MachineMode::Draining) => {}
                Some(MachineMode::Down) => {
                    let why = format!(
                        "Machine '{machine}' is not in DRAINING mode and cannot be brought down"
                    );
                    return Err(refuse(BAD_REQUEST, why));
                }
                None => {
                    let why = format!("Machine '{machine}' is not part of a maintenance schedule");
                    return Err(refuse(BAD_REQUEST, why));
                }
            }
        }
        for machine in machines {
            self.registry.machines.insert(machine.clone(), MachineMode::Down);
            for index in self.agents_on(machine) {
                let Some(agent) = self.agent(index) else { continue };
                let (id, hostname) = (agent.id.clone(), agent.spec.hostname.clone());
                let cause = "Operator initiated 'Machine DOWN'";
                world.send_to_agent(index, ToAgent::Shutdown);
                self.registry.admitted.remove(&id);
                self.registry.draining.remove(&id);
                self.registry.deactivated.remove(&id);
                let message = format!("Agent {hostname} removed: {cause}");
                self.remove_agent(world, index, &message, Removal::Removed);
            }
        }
        Ok(())
    }

    pub(crate) fn stop_maintenance(&mut self, machines: &[MachineId]) -> Result<(), Refusal> {
        for machine in machines {
            if self.registry.machines.get(machine) != Some(&MachineMode::Down) {
                let why =
                    format!("Machine '{machine}' is not in DOWN mode and cannot be brought up");
                return Err(refuse(BAD_REQUEST, why));
            }
        }
        for machine in machines {
            self.registry.machines.remove(machine);
            for window in &mut self.registry.schedule.windows {
                window.machines.retain(|one| one != machine);
            }
        }
        self.registry.schedule.windows.retain(|window| !window.machines.is_empty());
        Ok(())
    }
}
