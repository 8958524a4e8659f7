//! LAUNCH and LAUNCH_GROUP.

use super::Master;
use super::accept::Accepting;
use super::tasks::MasterTask;
use super::validation::Launching;
use crate::link::{ExecutorMeta, Launch, ToAgent};
use crate::operations::Conversion;
use crate::resources::Resources;
use crate::task::TaskMeta;
use crate::world::World;
use peloton_proto::mesos::v1;
use std::sync::Arc;
use v1::TaskState;
use v1::offer::operation::LaunchGroup;
use v1::task_status::Reason;

impl Master {
    /// Launches a task, or says why not.
    pub(super) fn launch(
        &mut self,
        world: &mut World,
        accepting: &mut Accepting,
        mut task: v1::TaskInfo,
    ) {
        let available = &accepting.remaining.non_shared() + &accepting.shared;
        let Some(launching) = self.launching(accepting, &available) else { return };
        let checked = launching.validate(&task).and_then(|resources| {
            let executor = task.executor.as_ref();
            let own = executor.map(|one| launching.executor_resources(one)).transpose()?;
            Ok((resources, own))
        });
        let (resources, executor_resources) = match checked {
            Ok(checked) => checked,
            Err(why) => {
                let news = (TaskState::TaskError, Reason::TaskInvalid, why.as_str());
                self.refuse_tasks(world, accepting.framework, &[task], news);
                return;
            }
        };
        let mut consumed = resources.clone();
        if let Some(own) = &executor_resources {
            consumed.add(own);
        }
        if let Some(executor) = &mut task.executor {
            let id = world.names.framework_id(accepting.framework);
            executor.framework_id.get_or_insert(id);
        }
        // A shared resource that others use already is allocated once more.
        let additional = &consumed.shared() - &accepting.remaining.shared();
        if !additional.is_empty() {
            accepting.conversions.push(Conversion::new(Resources::new(), additional));
        }
        accepting.remaining.subtract(&consumed);
        let executor = self.add_executor(accepting, task.executor.as_deref(), executor_resources);
        let meta = self.new_task(world, accepting, &task, executor.as_ref(), resources);
        let Some(meta) = meta else { return };
        let (framework, tasks) = (accepting.framework, vec![(meta, task)]);
        let launch = Launch { framework, tasks, executor, is_group: false };
        world.send_to_agent(accepting.agent, ToAgent::Launch(Box::new(launch)));
    }

    /// Launches tasks together, or none of them.
    pub(super) fn launch_group(
        &mut self,
        world: &mut World,
        accepting: &mut Accepting,
        group: LaunchGroup,
    ) {
        let LaunchGroup { mut executor, task_group: mut group } = group;
        for task in &mut group.tasks {
            task.executor.get_or_insert_with(|| Box::new(executor.clone()));
        }
        let Some(launching) = self.launching(accepting, &accepting.remaining) else { return };
        let checked = launching
            .validate_group(&group, &executor)
            .and_then(|used| launching.executor_resources(&executor).map(|own| (used, own)));
        let (used, own) = match checked {
            Ok(checked) => checked,
            Err(why) => {
                let news = (TaskState::TaskError, Reason::TaskGroupInvalid, why.as_str());
                self.refuse_tasks(world, accepting.framework, &group.tasks, news);
                return;
            }
        };
        executor.framework_id.get_or_insert(world.names.framework_id(accepting.framework));
        accepting.remaining.subtract(&own);
        let meta = self.add_executor(accepting, Some(&executor), Some(own));
        let mut launched = Vec::with_capacity(group.tasks.len());
        for (task, resources) in group.tasks.into_iter().zip(used) {
            accepting.remaining.subtract(&resources);
            let one = self.new_task(world, accepting, &task, meta.as_ref(), resources);
            launched.extend(one.map(|one| (one, task)));
        }
        let (framework, tasks) = (accepting.framework, launched);
        let launch = Launch { framework, tasks, executor: meta, is_group: true };
        world.send_to_agent(accepting.agent, ToAgent::Launch(Box::new(launch)));
    }

    fn launching<'a>(
        &'a self,
        accepting: &'a Accepting,
        available: &'a Resources,
    ) -> Option<Launching<'a>> {
        Some(Launching {
            framework: self.frameworks.get(&accepting.framework)?,
            agent: self.agent(accepting.agent)?,
            role: &accepting.role,
            available,
        })
    }

    /// Notes an executor, unless it is there.
    fn add_executor(
        &mut self,
        accepting: &Accepting,
        executor: Option<&v1::ExecutorInfo>,
        resources: Option<Resources>,
    ) -> Option<ExecutorMeta> {
        let id: Arc<str> = executor?.executor_id.value.as_str().into();
        let role = Arc::clone(&accepting.role);
        let new = ExecutorMeta { id: Arc::clone(&id), role, resources: resources? };
        let agent = self.agent_mut(accepting.agent)?;
        Some(agent.executors.entry((accepting.framework, id)).or_insert(new).clone())
    }

    fn new_task(
        &mut self,
        world: &mut World,
        accepting: &Accepting,
        task: &v1::TaskInfo,
        executor: Option<&ExecutorMeta>,
        resources: Resources,
    ) -> Option<Arc<TaskMeta>> {
        let agent_id = Arc::clone(&self.agent(accepting.agent)?.id);
        let meta = Arc::new(TaskMeta::new(
            accepting.framework,
            task,
            executor.map(|executor| Arc::clone(&executor.id)),
            (&agent_id, &accepting.role),
            resources,
            world.random.uuid(),
        ));
        self.add_task(MasterTask::new(Arc::clone(&meta), accepting.agent));
        Some(meta)
    }
}
