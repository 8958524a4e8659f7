//! The jobs: created, counted, stopped, deleted.

use crate::Args;
use anyhow::{Result, ensure};
use peloton_client::Client;
use peloton_proto::mesos::v1::CommandInfo;
use peloton_proto::peloton::job::{
    CreateRequest, DeleteRequest, GetStatusRequest, JobConfig, JobId, JobStatus, JobType,
    ResourceConfig, StopRequest,
};
use peloton_proto::peloton::upgrade::{
    CreateRequest as CreateRequestOfUpgrade, ListRequest, State, UpgradeOptions, UpgradeSpec,
};

/// The jobs of one run.
pub(crate) struct Jobs {
    client: Client,
    count: u32,
    instances: u32,
    batch: bool,
}

impl Jobs {
    pub(crate) fn new(client: Client, args: &Args) -> Self {
        Self { client, count: args.jobs, instances: args.instances, batch: args.batch }
    }

    fn id(job: u32) -> Option<JobId> {
        Some(JobId { value: format!("scale-{job:05}") })
    }

    /// The instances of one: all have as many, but for the first ones, which take what is left over.
    fn size(&self, job: u32) -> u32 {
        self.instances / self.count + u32::from(job < self.instances % self.count)
    }

    fn config(&self, job: u32, command: &str) -> JobConfig {
        JobConfig {
            name: format!("scale-{job:05}"),
            owning_team: "scale".into(),
            instance_count: self.size(job),
            resource: Some(ResourceConfig {
                cpus_limit: 0.1,
                mem_limit_mb: 32.0,
                disk_limit_mb: 16.0,
                ..Default::default()
            }),
            command: Some(CommandInfo {
                shell: Some(true),
                value: Some(command.into()),
                ..Default::default()
            }),
            r#type: if self.batch { JobType::Batch } else { JobType::Service }.into(),
            ..Default::default()
        }
    }

    pub(crate) async fn create(&self) -> Result<()> {
        for job in 0..self.count {
            let config = self.config(job, "serve --forever");
            let request = CreateRequest { id: Self::id(job), config: Some(config) };
            let answer = self.client.jobs().create(request).await?;
            ensure!(answer.result.is_some(), "job {job} was not created: {answer:?}");
        }
        Ok(())
    }

    /// Takes all jobs to another command, a tenth of each at a time.
    pub(crate) async fn upgrade(&self) -> Result<()> {
        for job in 0..self.count {
            let spec = UpgradeSpec {
                job_id: Self::id(job),
                job_config: Some(self.config(job, "serve --for-ever")),
                options: Some(UpgradeOptions {
                    batch_percentage: 10.0,
                    min_healthy_secs: Some(0),
                    ..Default::default()
                }),
                ..Default::default()
            };
            let request = CreateRequestOfUpgrade { spec: Some(spec), ..Default::default() };
            let answer = self.client.upgrades().create(request).await?;
            ensure!(answer.result.is_some(), "job {job} is not upgraded: {answer:?}");
        }
        Ok(())
    }

    /// Instances that have arrived at the new version, of upgrades that did not fail.
    pub(crate) async fn upgraded(&self) -> Result<u64> {
        let mut sum = 0;
        for job in 0..self.count {
            let request = ListRequest { job_id: Self::id(job), limit: 1, ..Default::default() };
            let answer = self.client.upgrades().list(request).await?;
            for upgrade in answer.result.unwrap_or_default().value {
                let good = matches!(upgrade.state(), State::RollingForward | State::Succeeded);
                ensure!(good, "an upgrade failed: {upgrade:?}");
                let size = self.size(job);
                let done = match upgrade.state() {
                    State::Succeeded => size,
                    // The last one is not there before the upgrade has ended.
                    _ => u32::try_from(upgrade.num_tasks_done)
                        .unwrap_or(0)
                        .min(size.saturating_sub(1)),
                };
                sum += u64::from(done);
            }
        }
        Ok(sum)
    }

    pub(crate) async fn stop(&self) -> Result<()> {
        for job in 0..self.count {
            let answer = self
                .client
                .jobs()
                .stop(StopRequest { id: Self::id(job), ..Default::default() })
                .await?;
            ensure!(answer.not_found.is_none(), "job {job} was not stopped: {answer:?}");
        }
        Ok(())
    }

    pub(crate) async fn delete(&self) -> Result<()> {
        for job in 0..self.count {
            let answer = self
                .client
                .jobs()
                .delete(DeleteRequest { id: Self::id(job), ..Default::default() })
                .await?;
            ensure!(answer.not_found.is_none(), "job {job} was not deleted: {answer:?}");
        }
        Ok(())
    }

    /// The sum over all jobs' statuses; a job that is not there counts as `gone`.
    async fn sum(&self, gone: u64, of: impl Fn(&JobStatus) -> u64) -> Result<u64> {
        let mut sum = 0;
        for job in 0..self.count {
            let request = GetStatusRequest { id: Self::id(job), ..Default::default() };
            let answer = self.client.jobs().get_status(request).await?;
            sum += answer.result.as_ref().map_or(gone, &of);
        }
        Ok(sum)
    }

    /// Instances that run.
    pub(crate) async fn running(&self) -> Result<u64> {
        self.sum(0, |status| count(status, "RUNNING")).await
    }

    /// Instances that were running and do not any more.
    pub(crate) async fn stopped(&self) -> Result<u64> {
        self.sum(0, |status| count(status, "KILLED")).await
    }

    /// Jobs that are gone, with all that they held.
    pub(crate) async fn deleted(&self) -> Result<u64> {
        self.sum(1, |_| 0).await
    }
}

fn count(status: &JobStatus, state: &str) -> u64 {
    status.counts_by_state.get(state).copied().unwrap_or(0).into()
}
