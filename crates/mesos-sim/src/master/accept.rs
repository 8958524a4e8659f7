//! ACCEPT: operations in order, each on what the ones before have left. An operation that fails is
//! dropped, and those behind it are tried all the same; a LAUNCH that counts on it finds its
//! resources missing. What is left over is available again.

use super::Master;
use super::allocation::refuse_ms;
use crate::AgentIndex;
use crate::allocator::FrameworkKey;
use crate::operations::{self, Conversion, Requester};
use crate::resources::{self, Resources};
use crate::status::{self, MasterNews};
use crate::world::World;
use peloton_proto::mesos::v1;
use std::sync::Arc;
use v1::offer::Operation;
use v1::offer::operation::Type;
use v1::scheduler::call;
use v1::task_status::Reason;
use v1::{OperationState, TaskState};

/// An ACCEPT under way.
pub(super) struct Accepting {
    pub(super) framework: FrameworkKey,
    pub(super) agent: AgentIndex,
    pub(super) role: Arc<str>,
    /// What the operations so far have left.
    pub(super) remaining: Resources,
    /// Shared resources do not become fewer by being used.
    pub(super) shared: Resources,
    /// What GROW_VOLUME and SHRINK_VOLUME gave: not for this ACCEPT.
    resized: Resources,
    pub(super) conversions: Vec<Conversion>,
}

impl Master {
    pub(super) fn accept(
        &mut self,
        world: &mut World,
        framework: FrameworkKey,
        accept: call::Accept,
    ) {
        let Some(owner) = self.frameworks.get(&framework) else { return };
        let valid = if accept.offer_ids.is_empty() {
            Err("No offers specified".to_owned())
        } else {
            self.validate_offers(owner, &accept.offer_ids)
        };
        if let Err(why) = valid {
            for id in &accept.offer_ids {
                self.discard_offer(world, id, None);
            }
            self.refuse_operations(world, framework, &accept.operations, &why);
            return;
        }
        let mut offered = Resources::new();
        let mut place = None;
        for id in &accept.offer_ids {
            let Some(offer) = self.take_offer_by_id(id) else { continue };
            offered.add(&offer.resources);
            place = Some((offer.agent, offer.role));
        }
        let Some((agent, role)) = place else { return };
        let mut accepting = Accepting {
            framework,
            agent,
            role,
            shared: offered.shared(),
            remaining: offered.clone(),
            resized: Resources::new(),
            conversions: Vec::new(),
        };
        for mut operation in accept.operations {
            if self.prepare(world, framework, &accepting.role, &mut operation) {
                self.operate(world, &mut accepting, operation);
            }
        }
        self.settle_accept(world, &accepting, &offered, refuse_ms(accept.filters.as_ref()));
    }

    /// Tells the allocator what became of the offers.
    fn settle_accept(
        &mut self,
        world: &World,
        accepting: &Accepting,
        offered: &Resources,
        refuse_ms: u64,
    ) {
        let Accepting { framework, agent, role, remaining, resized, conversions, .. } = accepting;
        if !conversions.is_empty() {
            // The operations were applied to the offers one by one, so the sum cannot fail.
            let _ =
                self.allocator.update_allocation(*framework, role, *agent, offered, conversions);
        }
        // What operations made is offered again at once; what was not touched is filtered.
        let converted = &(remaining + resized) - offered;
        let declined = remaining - &converted;
        self.recover(world, *framework, role, *agent, &converted, None);
        self.recover(world, *framework, role, *agent, &declined, Some(refuse_ms));
    }

    fn refuse_operations(
        &self,
        world: &mut World,
        framework: FrameworkKey,
        operations: &[Operation],
        why: &str,
    ) {
        let is_aware = self.frameworks.get(&framework).is_some_and(|one| one.partition_aware);
        let state = if is_aware { TaskState::TaskDropped } else { TaskState::TaskLost };
        for operation in operations {
            match tasks_of(operation) {
                Some(tasks) => {
                    let message = format!("Task launched with invalid offers: {why}");
                    let reason = Reason::InvalidOffers;
                    self.refuse_tasks(world, framework, tasks, (state, reason, &message));
                }
                None => {
                    let message = format!("Operation attempted with invalid offers: {why}");
                    self.drop_operation(world, framework, operation, &message);
                }
            }
        }
    }

    pub(super) fn refuse_tasks(
        &self,
        world: &mut World,
        framework: FrameworkKey,
        tasks: &[v1::TaskInfo],
        (state, reason, message): (TaskState, Reason, &str),
    ) {
        for task in tasks {
            let news = MasterNews {
                task: &task.task_id.value,
                agent: Some(&task.agent_id.value),
                state,
                message: message.to_owned(),
                reason,
                seconds: world.seconds(),
            };
            self.send(world, framework, status::update(news.status()));
        }
    }

    /// An operation cannot be done; whoever gave it an id is told.
    fn drop_operation(
        &self,
        world: &mut World,
        framework: FrameworkKey,
        operation: &Operation,
        message: &str,
    ) {
        let Some(id) = &operation.id else { return };
        let mut status = v1::OperationStatus {
            operation_id: Some(id.clone()),
            message: Some(message.to_owned()),
            ..Default::default()
        };
        status.set_state(OperationState::OperationError);
        self.send(world, framework, status::operation_update(status));
    }

    /// Checks what can be checked before any operation is done, and completes the resources: the
    /// newer form of reservations, and the role that the offers were for.
    fn prepare(
        &self,
        world: &mut World,
        framework: FrameworkKey,
        role: &str,
        operation: &mut Operation,
    ) -> bool {
        let is_update = operation.reserve.as_ref().is_some_and(|one| !one.source.is_empty());
        let wrong = resources_of(operation)
            .into_iter()
            .find_map(|list| resources::validate(list).err())
            .or_else(|| {
                let why = "Reservation updates are not yet implemented for the scheduler API.";
                is_update.then(|| why.to_owned())
            });
        let is_group = operation.r#type() == Type::LaunchGroup;
        if let Some(tasks) = tasks_of(operation) {
            let name = if is_group { "LAUNCH_GROUP" } else { "LAUNCH" };
            let has_id = operation.id.is_some();
            let reason = if is_group && wrong.is_some() {
                Reason::TaskGroupInvalid
            } else {
                Reason::TaskInvalid
            };
            let wrong = wrong.or_else(|| {
                has_id.then(|| format!("The `id` field cannot be set on {name} operations"))
            });
            if let Some(why) = wrong {
                let reason = if is_group { Reason::TaskGroupInvalid } else { reason };
                self.refuse_tasks(world, framework, tasks, (TaskState::TaskError, reason, &why));
                return false;
            }
        } else if let Some(why) = wrong {
            let message = format!("Operation attempted with invalid resources: {why}");
            self.drop_operation(world, framework, operation, &message);
            return false;
        }
        for_each_resource(operation, |resource| {
            resources::upgrade(resource);
            resource.allocation_info.get_or_insert_with(|| v1::resource::AllocationInfo {
                role: Some(role.to_owned()),
            });
        });
        true
    }

    fn operate(&mut self, world: &mut World, accepting: &mut Accepting, operation: Operation) {
        match operation.r#type() {
            Type::Unknown => {}
            Type::Launch => {
                if let Some(launch) = operation.launch {
                    launch.task_infos.into_iter().for_each(|t| self.launch(world, accepting, t));
                }
            }
            Type::LaunchGroup => {
                if let Some(group) = operation.launch_group {
                    self.launch_group(world, accepting, *group);
                }
            }
            Type::Reserve
            | Type::Unreserve
            | Type::Create
            | Type::Destroy
            | Type::GrowVolume
            | Type::ShrinkVolume => {
                let framework = accepting.framework;
                if let Err(message) = self.convert(world, accepting, &operation) {
                    match world.settings.sabotage {
                        Some(crate::Sabotage::SwallowFailures) => return,
                        Some(crate::Sabotage::StopAtFailedOperation) => {
                            accepting.remaining = Resources::default();
                        }
                        _ => {}
                    }
                    self.drop_operation(world, framework, &operation, &message);
                }
            }
        }
    }

    /// An operation on resources.
    fn convert(
        &mut self,
        world: &mut World,
        accepting: &mut Accepting,
        operation: &Operation,
    ) -> Result<(), String> {
        let Accepting { framework, agent, role, .. } = accepting;
        let (framework, agent, role) = (*framework, *agent, Arc::clone(role));
        self.validate_operation(framework, agent, operation)?;
        if operation.r#type() == Type::Destroy {
            self.rescind_destroyed(world, agent, operation);
        }
        let conversions = operations::conversions(operation)?;
        if matches!(operation.r#type(), Type::GrowVolume | Type::ShrinkVolume) {
            for Conversion { consumed, converted, .. } in &conversions {
                let Some(rest) = accepting.remaining.checked_sub(consumed) else {
                    let name = operation.r#type().as_str_name();
                    let remaining = accepting.remaining.display(Some(&role));
                    let consumed = consumed.display(Some(&role));
                    return Err(format!(
                        "Invalid {name} operation: {remaining} does not contain {consumed}"
                    ));
                };
                accepting.remaining = rest;
                accepting.resized.add(converted);
            }
        } else {
            accepting.remaining =
                operations::apply_all(&accepting.remaining, &conversions, Some(&role))?;
            if matches!(operation.r#type(), Type::Create | Type::Destroy) {
                accepting.shared = accepting.remaining.shared();
            }
        }
        self.start_operation(world, agent, Some(framework), operation, &conversions);
        accepting.conversions.extend(conversions);
        Ok(())
    }

    fn validate_operation(
        &self,
        framework: FrameworkKey,
        agent: AgentIndex,
        operation: &Operation,
    ) -> Result<(), String> {
        let (Some(owner), Some(one)) = (self.frameworks.get(&framework), self.agent(agent)) else {
            return Err("Agent removed".to_owned());
        };
        let principal = owner.info.principal.as_deref();
        let requester = Requester { framework: Some(&owner.info), principal };
        let in_use = match operation.r#type() {
            Type::Destroy => self.in_use(agent),
            _ => Vec::new(),
        };
        operations::validate(operation, requester, &one.total, &in_use)
            .map_err(|why| format!("{why}; on agent {}", one.description()))
    }

    /// Copies of a volume may be offered to others, too.
    fn rescind_destroyed(&mut self, world: &mut World, agent: AgentIndex, operation: &Operation) {
        let Some(destroy) = &operation.destroy else { return };
        let Ok(volumes) = Resources::from_proto(&destroy.volumes) else { return };
        let Some(one) = self.agent(agent) else { return };
        let holds = |number: &&u64| {
            let offer = self.offers.get(number);
            offer.is_some_and(|offer| volumes.iter().any(|one| offer.resources.contains_one(one)))
        };
        let offers: Vec<u64> = one.offers.iter().filter(holds).copied().collect();
        for number in offers {
            self.rescind_offer(world, number, None);
        }
    }
}

/// The tasks of a LAUNCH or LAUNCH_GROUP.
fn tasks_of(operation: &Operation) -> Option<&[v1::TaskInfo]> {
    match operation.r#type() {
        Type::Launch => Some(operation.launch.as_ref().map_or(&[], |one| &one.task_infos)),
        Type::LaunchGroup => {
            Some(operation.launch_group.as_ref().map_or(&[], |one| &one.task_group.tasks))
        }
        _ => None,
    }
}

/// All lists of resources in an operation.
fn resources_of(operation: &Operation) -> Vec<&[v1::Resource]> {
    let mut lists: Vec<&[v1::Resource]> = Vec::new();
    if let Some(reserve) = &operation.reserve {
        lists.extend([&reserve.source[..], &reserve.resources]);
    }
    lists.extend(operation.unreserve.iter().map(|one| &one.resources[..]));
    lists.extend(operation.create.iter().map(|one| &one.volumes[..]));
    lists.extend(operation.destroy.iter().map(|one| &one.volumes[..]));
    if let Some(grow) = &operation.grow_volume {
        lists.push(std::slice::from_ref(&grow.volume));
        lists.push(std::slice::from_ref(&grow.addition));
    }
    lists.extend(operation.shrink_volume.iter().map(|one| std::slice::from_ref(&one.volume)));
    for task in tasks_of(operation).unwrap_or_default() {
        lists.push(&task.resources);
        lists.extend(task.executor.iter().map(|executor| &executor.resources[..]));
    }
    lists.extend(operation.launch_group.iter().map(|one| &one.executor.resources[..]));
    lists
}

pub(super) fn for_each_resource(operation: &mut Operation, mut act: impl FnMut(&mut v1::Resource)) {
    if let Some(reserve) = &mut operation.reserve {
        reserve.source.iter_mut().chain(&mut reserve.resources).for_each(&mut act);
    }
    let unreserve = operation.unreserve.iter_mut().flat_map(|one| &mut one.resources);
    unreserve.for_each(&mut act);
    operation.create.iter_mut().flat_map(|one| &mut one.volumes).for_each(&mut act);
    operation.destroy.iter_mut().flat_map(|one| &mut one.volumes).for_each(&mut act);
    if let Some(grow) = &mut operation.grow_volume {
        act(&mut grow.volume);
        act(&mut grow.addition);
    }
    operation.shrink_volume.iter_mut().for_each(|one| act(&mut one.volume));
    let launched = operation.launch.iter_mut().flat_map(|one| &mut one.task_infos);
    let grouped = operation.launch_group.iter_mut().flat_map(|one| &mut one.task_group.tasks);
    for task in launched.chain(grouped) {
        let executor = task.executor.iter_mut().flat_map(|executor| &mut executor.resources);
        task.resources.iter_mut().chain(executor).for_each(&mut act);
    }
    let executor = operation.launch_group.iter_mut().flat_map(|one| &mut one.executor.resources);
    executor.for_each(&mut act);
}
