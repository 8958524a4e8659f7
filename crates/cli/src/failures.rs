//! Why instances fail, in their own words: what `job status` and `--watch` show of it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use peloton_client::Client;
use peloton_proto::peloton::job::JobStatus;
use peloton_proto::peloton::task::{ListRequest, RuntimeInfo, TaskInfo, TaskState};

use crate::commands::job_id;
use crate::exit::Failure;
use crate::text;

/// How many different messages are shown: the first ones tell the cause, the rest is for `task list`.
const MAX_MESSAGES: usize = 3;

/// The states of instances of which the last run has failed.
const FAILED: [TaskState; 2] = [TaskState::Failed, TaskState::Throttled];

/// A message, and of how many of the instances that were looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) message: String,
    pub(crate) instances: u32,
}

/// Whether instances have failed, or wait out the back-off after a failure.
pub(crate) fn any(status: &JobStatus) -> bool {
    let count = |state: &TaskState| status.counts_by_state.get(state.as_str_name()).copied();
    FAILED.iter().any(|state| count(state).unwrap_or(0) > 0)
}

/// The most frequent messages of instances that failed. Only one page of instances is asked for: this is
/// an extra to the status, and jobs can be large.
pub(crate) async fn ask(client: &Client, job: &str, stale: bool) -> Result<Vec<Cause>, Failure> {
    let job_id = job_id(job);
    let request = ListRequest { job_id, without_config: true, stale, ..Default::default() };
    let answer = client.tasks().list(request).await?;
    Ok(causes(answer.result.unwrap_or_default().value.values()))
}

fn causes<'a>(tasks: impl Iterator<Item = &'a TaskInfo>) -> Vec<Cause> {
    let mut counts = BTreeMap::<String, u32>::new();
    for runtime in tasks.filter_map(|task| task.runtime.as_ref()) {
        if FAILED.contains(&runtime.state()) {
            *counts.entry(message(runtime)).or_default() += 1;
        }
    }
    let causes = counts.into_iter().map(|(message, instances)| Cause { message, instances });
    let mut causes: Vec<_> = causes.collect();
    causes.sort_by_key(|cause| Reverse(cause.instances));
    causes.truncate(MAX_MESSAGES);
    causes
}

/// What was said of the failure, on one line.
fn message(runtime: &RuntimeInfo) -> String {
    match [&runtime.message, &runtime.reason].into_iter().find(|text| !text.is_empty()) {
        Some(text) => text.replace(['\n', '\r'], " "),
        None => "failed without a message".to_owned(),
    }
}

/// The causes on one line, such as `; failed: no such image (3 instances)`; nothing where there are none.
pub(crate) fn on_one_line(causes: &[Cause]) -> String {
    let mut line = String::new();
    for (index, cause) in causes.iter().enumerate() {
        let start = if index == 0 { "; failed: " } else { ", " };
        let _ = write!(line, "{start}{} ({})", cause.message, text::instances(cause.instances));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(state: TaskState, message: &str, reason: &str) -> TaskInfo {
        let (message, reason) = (message.to_owned(), reason.to_owned());
        let runtime = RuntimeInfo { state: state.into(), message, reason, ..Default::default() };
        TaskInfo { runtime: Some(runtime), ..Default::default() }
    }

    #[test]
    fn the_most_frequent_messages_of_what_failed() {
        use TaskState::{Failed, Running, Throttled};
        let tasks = [
            task(Running, "is up", ""),
            task(Throttled, "a", ""),
            task(Failed, "", "CONTAINER_LAUNCH_FAILED"),
            task(Throttled, "no\nimage", ""),
            task(Failed, "no\nimage", ""),
            task(Failed, "no\nimage", ""),
            task(Throttled, "", ""),
            task(Throttled, "", ""),
        ];
        let causes = causes(tasks.iter());
        let got: Vec<_> = causes.iter().map(|c| (c.message.as_str(), c.instances)).collect();
        let want =
            [("no image", 3), ("failed without a message", 2), ("CONTAINER_LAUNCH_FAILED", 1)];
        assert_eq!(got, want);
        assert_eq!(on_one_line(&causes[..0]), "");
        let line = "; failed: no image (3 instances), failed without a message (2 instances)";
        assert_eq!(on_one_line(&causes[..2]), line);
    }
}
