//! One run of a task: owns its process, and decides.
//!
//! A [`Run`] itself does not wait: whoever owns it hands in what its threads tell ([`Input`]) and
//! the time, and passes its [`Report`]s on. So an owner can wait for its own things as well, such as
//! an agent's events.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::command::{Place, ending};
use crate::error::{Error, Result};
use crate::health::{Health, HealthCheck, Verdict};
use crate::thread::spawn;

/// Mesos's own where neither the task nor the kill says one.
pub const DEFAULT_GRACE_PERIOD: Duration = Duration::from_secs(3);

/// What the threads of a run tell.
#[derive(Debug)]
pub enum Input {
    /// The process ended.
    Ended(std::io::Result<ExitStatus>),
    /// A health check's result: fine, or why not.
    Checked(std::result::Result<(), String>),
}

/// The states that a run reports, a part of Mesos's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// `TASK_STARTING`
    Starting,
    /// `TASK_RUNNING`
    Running,
    /// `TASK_KILLING`
    Killing,
    /// `TASK_FINISHED`
    Finished,
    /// `TASK_FAILED`
    Failed,
    /// `TASK_KILLED`
    Killed,
}

impl State {
    /// Mesos's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "TASK_STARTING",
            Self::Running => "TASK_RUNNING",
            Self::Killing => "TASK_KILLING",
            Self::Finished => "TASK_FINISHED",
            Self::Failed => "TASK_FAILED",
            Self::Killed => "TASK_KILLED",
        }
    }

    /// Whether nothing follows it.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Killed)
    }
}

/// What is to be told of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its state.
    pub state: State,
    /// For people.
    pub message: Option<String>,
    /// Mesos's name of the reason.
    pub reason: Option<&'static str>,
    /// What the health check came to.
    pub healthy: Option<bool>,
}

impl Report {
    /// A report of a state and nothing else.
    #[must_use]
    pub fn of(state: State) -> Self {
        Self { state, message: None, reason: None, healthy: None }
    }
}

/// What to run, and under which rules.
#[derive(Debug)]
pub struct Runnable {
    /// The process, with its output directed; it gets a process group of its own.
    pub process: Command,
    /// The command for messages.
    pub command: String,
    /// The health check, and where its commands run.
    pub health: Option<(HealthCheck, Place)>,
    /// The task's own kill policy.
    pub grace_period: Option<Duration>,
    /// It fails when it takes longer.
    pub max_completion_time: Option<Duration>,
    /// Whether `TASK_KILLING` is told.
    pub reports_killing: bool,
}

/// A kill that was begun.
#[derive(Debug)]
struct Kill {
    begun: Instant,
    escalation: Instant,
    escalated: bool,
    by_health: bool,
    by_time: bool,
}

/// A run of a task.
#[derive(Debug)]
pub struct Run {
    group: Option<Pid>,
    health: Option<Health>,
    kill: Option<Kill>,
    grace_period: Option<Duration>,
    completion: Option<Instant>,
    reports_killing: bool,
    ended: Option<Instant>,
    reports: Vec<Report>,
}

impl Run {
    /// Starts the task. A failure is a report, too. `tell` is called by the run's threads, and
    /// answers whether anybody is still there to hear.
    pub fn launch(task: Runnable, tell: impl Fn(Input) -> bool + Clone + Send + 'static) -> Self {
        let mut run = Self {
            group: None,
            health: None,
            kill: None,
            grace_period: task.grace_period,
            completion: None,
            reports_killing: task.reports_killing,
            ended: None,
            reports: vec![Report::of(State::Starting)],
        };
        let limit = task.max_completion_time;
        match run.start(task, tell) {
            Ok(()) => {
                run.completion =
                    limit.filter(|limit| !limit.is_zero()).map(|limit| Instant::now() + limit);
                run.reports.push(Report::of(State::Running));
            }
            Err(error) => {
                run.signal(Signal::KILL);
                run.ended = Some(Instant::now());
                let message = Some(error.to_string());
                run.reports.push(Report { message, ..Report::of(State::Failed) });
            }
        }
        run
    }

    fn start(
        &mut self,
        task: Runnable,
        tell: impl Fn(Input) -> bool + Clone + Send + 'static,
    ) -> Result<()> {
        let Runnable { mut process, command, health, .. } = task;
        process.process_group(0).stdin(Stdio::null());
        let child = process.spawn().map_err(|source| Error::Launch { command, source })?;
        let group = Pid::from_child(&child);
        self.group = Some(group);
        let told = tell.clone();
        spawn("wait", move || {
            told(Input::Ended(wait(child, group)));
        })?;
        if let Some((check, place)) = health {
            self.health = Some(Health::start(check, place, tell)?);
        }
        Ok(())
    }

    /// The process group of the task, while it runs.
    #[must_use]
    pub fn group(&self) -> Option<Pid> {
        self.group.filter(|_| self.ended.is_none())
    }

    /// When it ended.
    #[must_use]
    pub fn ended(&self) -> Option<Instant> {
        self.ended
    }

    /// What is to be told since the last time.
    pub fn take_reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }

    /// When [`Run::tick`] has to be called next.
    #[must_use]
    pub fn next_timer(&self) -> Option<Instant> {
        if self.ended.is_some() {
            return None;
        }
        let kill = self.kill.as_ref().filter(|kill| !kill.escalated).map(|kill| kill.escalation);
        kill.into_iter().chain(self.completion).min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant) {
        if self.completion.is_some_and(|time| now >= time) {
            self.begin_kill(Duration::ZERO, |kill| kill.by_time = true);
        }
        if self.ended.is_none()
            && let Some(kill) = &mut self.kill
            && !kill.escalated
            && now >= kill.escalation
        {
            kill.escalated = true;
            self.signal(Signal::KILL);
        }
    }

    /// SIGTERM now, SIGKILL after the grace period: the given one, or the task's, or Mesos's.
    pub fn kill(&mut self, grace: Option<Duration>) {
        let grace = grace.or(self.grace_period).unwrap_or(DEFAULT_GRACE_PERIOD);
        self.begin_kill(grace, |_| {});
    }

    /// SIGKILL at once.
    pub fn kill_now(&mut self) {
        if self.ended.is_none() {
            self.signal(Signal::KILL);
        }
    }

    fn begin_kill(&mut self, grace: Duration, cause: impl FnOnce(&mut Kill)) {
        if self.ended.is_some() {
            return;
        }
        let now = Instant::now();
        self.completion = None;
        if let Some(kill) = &mut self.kill {
            // A repeated kill may shorten the time, never lengthen it.
            kill.escalation = kill.escalation.min(kill.begun + grace);
            return;
        }
        let escalation = now + grace;
        let mut kill =
            Kill { begun: now, escalation, escalated: false, by_health: false, by_time: false };
        cause(&mut kill);
        if self.reports_killing && !kill.by_time {
            self.reports.push(Report::of(State::Killing));
        }
        self.kill = Some(kill);
        self.signal(Signal::TERM);
    }

    /// Signals all processes of the task.
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // None is left when it has just ended; the thread that waits tells of that.
            let _ = kill_process_group(group, signal);
        }
    }

    /// Takes in what a thread told.
    pub fn hear(&mut self, input: Input) {
        match input {
            Input::Ended(status) => self.end(status),
            Input::Checked(result) => self.checked(result),
        }
    }

    fn checked(&mut self, result: std::result::Result<(), String>) {
        if self.ended.is_some() || self.kill.is_some() {
            return;
        }
        let Some(health) = &mut self.health else { return };
        let verdict = health.judge(result.is_ok(), Instant::now());
        if verdict == Verdict::Same {
            return;
        }
        self.reports.push(Report {
            state: State::Running,
            message: result.err().map(|why| format!("Health check failed: {why}")),
            reason: Some("REASON_TASK_HEALTH_CHECK_STATUS_UPDATED"),
            healthy: Some(verdict == Verdict::Healthy),
        });
        if verdict == Verdict::Kill {
            let grace = self.grace_period.unwrap_or(DEFAULT_GRACE_PERIOD);
            self.begin_kill(grace, |kill| kill.by_health = true);
        }
    }

    fn end(&mut self, status: std::io::Result<ExitStatus>) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(Instant::now());
        self.completion = None;
        let mut report = Report::of(State::Failed);
        match (&status, &self.kill) {
            (Err(_), _) => {}
            (Ok(_), Some(kill)) if kill.by_time => {
                report.reason = Some("REASON_MAX_COMPLETION_TIME_REACHED");
            }
            (Ok(_), Some(kill)) => {
                report.healthy = kill.by_health.then_some(false);
                report.state = State::Killed;
            }
            (Ok(status), None) if status.success() => report.state = State::Finished,
            (Ok(_), None) => {}
        }
        report.message = Some(match status {
            Ok(status) => format!("Command {}", ending(status)),
            Err(error) => format!("Failed to get exit status for Command: {error}"),
        });
        self.reports.push(report);
    }
}

/// Waits for the leader, then ends what it left behind, before its id can go to another group.
fn wait(mut child: Child, group: Pid) -> std::io::Result<ExitStatus> {
    let leader = WaitId::Pid(group);
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(rustix::io::Errno::INTR) = waitid(leader.clone(), ended) {}
    let _ = kill_process_group(group, Signal::KILL);
    child.wait()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::CommandSpec;
    use crate::health::HealthKind;
    use std::sync::mpsc::{Receiver, channel};

    fn shell(value: &str) -> CommandSpec {
        CommandSpec {
            shell: true,
            value: Some(value.to_owned()),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    fn runnable(value: &str) -> Runnable {
        let mut process = shell(value).process(&Place::default()).unwrap();
        process.stdout(Stdio::null());
        Runnable {
            process,
            command: value.to_owned(),
            health: None,
            grace_period: None,
            max_completion_time: None,
            reports_killing: true,
        }
    }

    fn launch(task: Runnable) -> (Run, Receiver<Input>) {
        let (sender, inputs) = channel();
        (Run::launch(task, move |input| sender.send(input).is_ok()), inputs)
    }

    /// All states until the end, in order.
    fn finish(run: &mut Run, inputs: &Receiver<Input>) -> Vec<Report> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut reports = run.take_reports();
        while run.ended().is_none() {
            assert!(Instant::now() < deadline, "it does not end: {reports:?}");
            let wait = run.next_timer().map_or(deadline, |time| time.min(deadline));
            if let Ok(input) = inputs.recv_timeout(wait.saturating_duration_since(Instant::now())) {
                run.hear(input);
            }
            run.tick(Instant::now());
            reports.extend(run.take_reports());
        }
        reports
    }

    fn states(reports: &[Report]) -> Vec<State> {
        reports.iter().map(|report| report.state).collect()
    }

    #[test]
    fn a_run_tells_its_beginning_and_its_end() {
        let (mut run, inputs) = launch(runnable("exit 3"));
        let reports = finish(&mut run, &inputs);
        assert_eq!(states(&reports), [State::Starting, State::Running, State::Failed]);
        assert_eq!(reports[2].message.as_deref(), Some("Command exited with status 3"));
        let mut missing = runnable("");
        missing.process = Command::new("/no/such/program");
        missing.command = "/no/such/program".to_owned();
        let (mut run, inputs) = launch(missing);
        let reports = finish(&mut run, &inputs);
        assert_eq!(states(&reports), [State::Starting, State::Failed]);
        assert!(reports[1].message.as_ref().unwrap().contains("/no/such/program"));
    }

    #[test]
    fn a_kill_escalates_once_and_a_second_one_only_shortens() {
        let (mut run, inputs) = launch(runnable("trap '' TERM; while :; do sleep 0.05; done"));
        run.kill(Some(Duration::from_secs(3_600)));
        run.kill(Some(Duration::from_millis(100)));
        let reports = finish(&mut run, &inputs);
        let expected = [State::Starting, State::Running, State::Killing, State::Killed];
        assert_eq!(states(&reports), expected);
        assert!(reports[3].message.as_ref().unwrap().contains("terminated with signal"));
    }

    #[test]
    fn a_bad_check_ends_the_task_and_so_does_time() {
        let check = HealthCheck {
            delay: Duration::ZERO,
            interval: Duration::ZERO,
            grace_period: Duration::ZERO,
            consecutive_failures: 2,
            ..HealthCheck::new(HealthKind::Command(shell("false")))
        };
        let health = Some((check, Place::default()));
        let (mut run, inputs) = launch(Runnable { health, ..runnable("exec sleep 600") });
        let reports = finish(&mut run, &inputs);
        assert_eq!(
            states(&reports)[2..],
            [State::Running, State::Running, State::Killing, State::Killed]
        );
        assert_eq!(reports.last().unwrap().healthy, Some(false));
        let max_completion_time = Some(Duration::from_millis(50));
        let overtime = Runnable { max_completion_time, ..runnable("exec sleep 600") };
        let (mut run, inputs) = launch(overtime);
        let last = finish(&mut run, &inputs).pop().unwrap();
        assert_eq!(last.reason, Some("REASON_MAX_COMPLETION_TIME_REACHED"));
        assert_eq!(last.state, State::Failed);
    }
}
