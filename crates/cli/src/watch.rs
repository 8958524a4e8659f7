//! `--watch`: asks again and again until what was asked for is so, or can not become so.
//!
//! Asking, not a stream: the master that answers may die, and the next question goes to another one.

pub(crate) mod upgrade;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use peloton_client::Client;
use peloton_proto::peloton::job::{GetStatusRequest, JobConfig, JobState, JobStatus, JobType};
use peloton_proto::peloton::task::TaskState;
use tokio::time::{Instant, sleep};

use crate::args::WatchArgs;
use crate::commands::job_id;
use crate::commands::task::list_tasks;
use crate::exit::{Exit, Failure};
use crate::failures::{self, Cause};
use crate::ranges::Instances;
use crate::settle::{Action, Settled, settled};
use crate::ui::Ui;

/// How long to wait between two questions.
const INTERVAL: Duration = Duration::from_millis(500);

/// State and run number of instances.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot(BTreeMap<u32, (TaskState, u64)>);

impl Snapshot {
    pub(crate) async fn take(
        client: &Client,
        job: &str,
        instances: Option<&Instances>,
    ) -> Result<Self, Failure> {
        let (tasks, _) = list_tasks(client, job, instances, false).await?;
        let entry = |(instance, task): (u32, peloton_proto::peloton::task::TaskInfo)| {
            let runtime = task.runtime.unwrap_or_default();
            (instance, (runtime.state(), runtime.run_number))
        };
        Ok(Self(tasks.into_iter().map(entry).collect()))
    }
}

/// What is waited for.
#[derive(Debug)]
pub(crate) enum Goal {
    /// All instances of a service run, all of a batch job have ended.
    Up { batch: bool, checked: bool },
    /// The job has been deleted and nothing is left of it.
    Gone,
    /// What was asked of instances has become of them.
    Tasks { action: Action, batch: bool, before: Snapshot, instances: Option<Instances> },
}

impl Goal {
    /// That the job is up.
    pub(crate) fn up(config: &JobConfig) -> Self {
        let checked = config.health_check.as_ref().is_some_and(|check| check.enabled);
        Self::Up { batch: config.r#type() == JobType::Batch, checked }
    }

    /// That instances have done what was asked of them.
    pub(crate) fn tasks(
        action: Action,
        config: &JobConfig,
        before: Snapshot,
        instances: Option<Instances>,
    ) -> Self {
        Self::Tasks { action, batch: config.r#type() == JobType::Batch, before, instances }
    }
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Progress {
    done: u64,
    total: u64,
    text: String,
    verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    GoesOn,
    Done,
    Failed(String),
}

/// What one look leaves to the next.
#[derive(Debug, Default)]
struct Memory {
    /// The most tasks and reservations that a deleted job was seen to have.
    most_left: u64,
    /// Whether instances had failed at the last look.
    failed: bool,
    /// Why they failed, as asked when the progress was `causes_at`.
    causes: Vec<Cause>,
    causes_at: String,
}

impl Memory {
    /// Asks why instances fail, once for each state of the progress and not at each look.
    async fn learn_causes(&mut self, client: &Client, job: &str, status: &JobStatus, at: &str) {
        self.failed = failures::any(status);
        if !self.failed {
            self.causes.clear();
            self.causes_at.clear();
        } else if self.causes_at != at {
            // What is told besides must not end the watch; the next look asks again.
            if let Ok(causes) = failures::ask(client, job, false).await {
                self.causes = causes;
                self.causes_at = at.to_owned();
            }
        }
    }

    /// Where to look when the time is up.
    fn hint(&self, job: &str) -> String {
        match self.failed {
            true => format!("it goes on; `peloton task list {job}` shows its instances"),
            false => format!("it goes on; `peloton job status {job}` shows how it is doing"),
        }
    }
}

/// Waits until the goal is reached.
pub(crate) async fn watch(
    client: &Client,
    ui: &Ui,
    args: WatchArgs,
    job: &str,
    goal: &Goal,
) -> Result<(), Failure> {
    let mut meter = Meter::new(ui, job);
    let watched = watch_with(client, &mut meter, args, job, goal);
    let result = tokio::select! {
        result = watched => result,
        _ = tokio::signal::ctrl_c() => {
            let message = format!("stopped watching job {job:?}; the job itself goes on");
            Err(Failure::new(Exit::Interrupted, message)
                .hint(format!("`peloton job status {job}` shows how it is doing")))
        }
    };
    meter.close();
    result
}

async fn watch_with(
    client: &Client,
    meter: &mut Meter<'_>,
    args: WatchArgs,
    job: &str,
    goal: &Goal,
) -> Result<(), Failure> {
    let deadline = args.watch_timeout.map(|timeout| Instant::now() + timeout);
    let mut memory = Memory::default();
    loop {
        let asked = look(client, job, goal, &mut memory);
        let observed = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, asked).await.ok(),
            None => Some(asked.await),
        };
        match observed {
            Some(Ok(progress)) => {
                meter.show(&progress);
                match progress.verdict {
                    Verdict::Done => return Ok(()),
                    Verdict::Failed(why) => {
                        return Err(Failure::new(Exit::Failed, format!("job {job:?}: {why}"))
                            .hint(format!("`peloton task list {job}` shows its instances")));
                    }
                    Verdict::GoesOn => {}
                }
            }
            // Masters may come and go while we watch; the job does not mind, and we need not either.
            Some(Err(failure)) if matches!(failure.exit, Exit::Unreachable | Exit::TimedOut) => {
                meter.trouble("no master answers; trying again");
            }
            Some(Err(failure)) => return Err(failure),
            None => {}
        }
        if deadline.is_some_and(|deadline| Instant::now() + INTERVAL >= deadline) {
            let message = format!("job {job:?} is not there yet: {}", meter.last);
            return Err(Failure::new(Exit::TimedOut, message).hint(memory.hint(job)));
        }
        sleep(INTERVAL).await;
    }
}

/// Looks how far it is.
async fn look(
    client: &Client,
    job: &str,
    goal: &Goal,
    memory: &mut Memory,
) -> Result<Progress, Failure> {
    match goal {
        Goal::Up { batch, checked } => {
            let status = get_status(client, job).await?.ok_or_else(|| Failure::no_job(job))?;
            let mut progress =
                if *batch { batch_progress(&status) } else { service_progress(&status, *checked) };
            memory.learn_causes(client, job, &status, &progress.text).await;
            progress.text.push_str(&failures::on_one_line(&memory.causes));
            Ok(progress)
        }
        Goal::Gone => {
            let left = get_status(client, job).await?;
            Ok(gone_progress(left.as_ref(), &mut memory.most_left))
        }
        Goal::Tasks { action, batch, before, instances } => {
            let now = Snapshot::take(client, job, instances.as_ref()).await?;
            Ok(tasks_progress(*action, *batch, before, &now))
        }
    }
}

async fn get_status(client: &Client, job: &str) -> Result<Option<JobStatus>, Failure> {
    let request = GetStatusRequest { id: job_id(job), stale: false };
    Ok(client.jobs().get_status(request).await?.result)
}

fn count(status: &JobStatus, state: TaskState) -> u32 {
    status.counts_by_state.get(state.as_str_name()).copied().unwrap_or(0)
}

/// What else there is but `states`, and why the first of them wait.
fn others(status: &JobStatus, states: &[TaskState]) -> String {
    let named = |name: &str| states.iter().any(|state| state.as_str_name() == name);
    let others = status.counts_by_state.iter().filter(|(name, count)| **count > 0 && !named(name));
    let mut text: String = others.map(|(name, count)| format!(", {count} {name}")).collect();
    if let Some(waiting) = status.waiting.first() {
        text.push_str(&format!("; waiting: {}", waiting.reason.replace(['\n', '\r'], " ")));
    }
    text
}

fn service_progress(status: &JobStatus, checked: bool) -> Progress {
    let (running, total) = (count(status, TaskState::Running), status.instance_count);
    let mut text = format!("{running} of {total} running");
    if checked {
        text.push_str(&format!(", {} healthy", status.healthy));
    }
    text.push_str(&others(status, &[TaskState::Running]));
    let up = running >= total && (!checked || status.healthy >= total);
    let verdict = match status.state() {
        JobState::Deleted => Verdict::Failed("it was deleted".to_owned()),
        _ if up => Verdict::Done,
        state @ (JobState::Failed | JobState::Killed | JobState::Killing) => {
            Verdict::Failed(format!("it is {}, {text}", state.as_str_name()))
        }
        _ => Verdict::GoesOn,
    };
    let done = if checked { running.min(status.healthy) } else { running };
    Progress { done: done.into(), total: total.into(), text, verdict }
}

fn batch_progress(status: &JobStatus) -> Progress {
    use TaskState::{Failed, Killed, Succeeded};
    let [succeeded, failed, killed] = [Succeeded, Failed, Killed].map(|state| count(status, state));
    let (ended, total) = (succeeded + failed + killed, status.instance_count);
    let text = format!("{ended} of {total} ended{}", others(status, &[Succeeded]));
    let verdict = match status.state() {
        JobState::Deleted => Verdict::Failed("it was deleted".to_owned()),
        _ if ended < total => Verdict::GoesOn,
        _ if failed + killed == 0 => Verdict::Done,
        _ => Verdict::Failed(format!("{failed} of {total} instances failed, {killed} were killed")),
    };
    Progress { done: ended.into(), total: total.into(), text, verdict }
}

fn gone_progress(status: Option<&JobStatus>, most_left: &mut u64) -> Progress {
    let left = match status {
        None => 0,
        // Before the deletion has arrived where the counts are made, all is still there.
        Some(status) if status.state() != JobState::Deleted => u64::from(status.instance_count),
        Some(status) => u64::from(status.leftovers),
    };
    let deleted = status.is_none_or(|status| status.state() == JobState::Deleted);
    *most_left = left.max(*most_left);
    let verdict = if deleted && left == 0 { Verdict::Done } else { Verdict::GoesOn };
    let text = match &verdict {
        Verdict::Done => "deleted; no task and no reservation is left".to_owned(),
        _ => format!("{left} tasks and reservations left"),
    };
    Progress { done: *most_left - left, total: *most_left, text, verdict }
}

fn tasks_progress(action: Action, batch: bool, before: &Snapshot, now: &Snapshot) -> Progress {
    let (mut done, mut bad, mut states) = (0, 0, BTreeMap::<&str, u64>::new());
    for (instance, before) in &before.0 {
        // An instance that is no more is waited for no more.
        let Some(now) = now.0.get(instance) else {
            done += 1;
            continue;
        };
        *states.entry(now.0.as_str_name()).or_default() += 1;
        match settled(action, batch, *before, *now) {
            Settled::No => {}
            Settled::Yes => done += 1,
            Settled::Badly => bad += 1,
        }
    }
    let total = before.0.len() as u64;
    let states: Vec<_> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let text = format!("{done} of {total} {}: {}", action.done(), states.join(", "));
    let verdict = match (done + bad == total, bad) {
        (false, _) => Verdict::GoesOn,
        (true, 0) => Verdict::Done,
        (true, bad) => Verdict::Failed(format!("{bad} of {total} instances did not stay up")),
    };
    Progress { done: done + bad, total, text, verdict }
}

/// Shows the progress: a bar on a terminal, a line for each change elsewhere.
struct Meter<'a> {
    ui: &'a Ui,
    job: &'a str,
    bar: Option<ProgressBar>,
    last: String,
    in_trouble: bool,
}

impl<'a> Meter<'a> {
    fn new(ui: &'a Ui, job: &'a str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template("{prefix} [{bar:24}] {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(job.to_owned());
            bar
        });
        Self { ui, job, bar, last: "nothing is known of it yet".to_owned(), in_trouble: false }
    }

    fn show(&mut self, progress: &Progress) {
        self.in_trouble = false;
        if let Some(bar) = &self.bar {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
            bar.set_message(progress.text.clone());
        } else if self.last != progress.text {
            self.ui.note(&format!("{}: {}", self.job, progress.text));
        }
        self.last.clone_from(&progress.text);
    }

    fn trouble(&mut self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        } else if !self.in_trouble {
            self.ui.note(&format!("{}: {text}", self.job));
        }
        self.in_trouble = true;
    }

    fn close(&mut self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: JobState, counts: &[(&str, u32)], healthy: u32) -> JobStatus {
        JobStatus {
            state: state.into(),
            instance_count: 10,
            counts_by_state: counts.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect(),
            healthy,
            ..Default::default()
        }
    }

    #[test]
    fn services() {
        let on = Verdict::GoesOn;
        for (status, checked, want) in [
            (status(JobState::Uninitialized, &[], 0), false, on.clone()),
            (status(JobState::Pending, &[("RUNNING", 9), ("SCHEDULING", 1)], 0), false, on.clone()),
            (status(JobState::Running, &[("RUNNING", 10)], 0), false, Verdict::Done),
            (status(JobState::Running, &[("RUNNING", 10)], 9), true, on),
            (status(JobState::Running, &[("RUNNING", 10)], 10), true, Verdict::Done),
        ] {
            assert_eq!(service_progress(&status, checked).verdict, want, "{status:?}");
        }
        for state in [JobState::Killed, JobState::Killing, JobState::Failed, JobState::Deleted] {
            let progress = service_progress(&status(state, &[("RUNNING", 1)], 0), false);
            assert!(matches!(progress.verdict, Verdict::Failed(_)), "{progress:?}");
        }
    }

    #[test]
    fn batches() {
        let going = status(JobState::Running, &[("SUCCEEDED", 9), ("RUNNING", 1)], 0);
        assert_eq!(batch_progress(&going).verdict, Verdict::GoesOn);
        let good = status(JobState::Succeeded, &[("SUCCEEDED", 10)], 0);
        assert_eq!(batch_progress(&good).verdict, Verdict::Done);
        let bad = status(JobState::Failed, &[("SUCCEEDED", 9), ("FAILED", 1)], 0);
        assert!(matches!(batch_progress(&bad).verdict, Verdict::Failed(_)));
    }

    #[test]
    fn deletions() {
        let mut most = 0;
        let before = status(JobState::Running, &[("RUNNING", 10)], 0);
        assert_eq!(gone_progress(Some(&before), &mut most).verdict, Verdict::GoesOn);
        let half = JobStatus { leftovers: 4, ..status(JobState::Deleted, &[], 0) };
        let progress = gone_progress(Some(&half), &mut most);
        assert_eq!((progress.done, progress.total, &progress.verdict), (6, 10, &Verdict::GoesOn));
        let gone = status(JobState::Deleted, &[], 0);
        assert_eq!(gone_progress(Some(&gone), &mut most).verdict, Verdict::Done);
        assert_eq!(gone_progress(None, &mut most).verdict, Verdict::Done);
    }
}
