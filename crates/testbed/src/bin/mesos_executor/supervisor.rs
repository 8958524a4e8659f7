//! Owns the task, and decides.

use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::agent::{self, Sending};
use crate::health::{Health, Verdict};
use crate::message::{Details, Input, Update, duration_info, grace_period, text};
use crate::settings::Settings;
use crate::task::{Task, ending};

/// Mesos's own where neither the task nor the kill says one.
const DEFAULT_GRACE_PERIOD: Duration = Duration::from_secs(3);

/// An executor whose last update is never acknowledged ends all the same.
const LAST_ACKNOWLEDGEMENT_WITHIN: Duration = Duration::from_secs(60);

/// On SHUTDOWN the SIGKILL comes so long before the agent's own, so that its result can be told.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(1);

/// The first pause before connecting again; it doubles.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);

/// A kill that was begun.
#[derive(Debug)]
struct Kill {
    begun: Instant,
    escalation: Instant,
    escalated: bool,
    by_health: bool,
    by_time: bool,
}

pub(crate) struct Supervisor {
    settings: Settings,
    inputs: Receiver<Input>,
    sender: Sender<Input>,
    connection: u64,
    subscribed: bool,
    ever_subscribed: bool,
    /// What the last SUBSCRIBE carried, by uuid.
    carried: Vec<String>,
    attempts: u32,
    away_since: Instant,
    unacknowledged: Vec<Update>,
    reports_killing: bool,
    info: Option<Value>,
    any_acknowledged: bool,
    task: Option<Task>,
    health: Option<Health>,
    kill: Option<Kill>,
    completion: Option<Instant>,
    /// When the terminal update was made.
    ended: Option<Instant>,
    shutting_down: bool,
}

impl Supervisor {
    pub(crate) fn new(settings: Settings) -> Self {
        let (sender, inputs) = channel();
        Self {
            settings,
            inputs,
            sender,
            connection: 0,
            subscribed: false,
            ever_subscribed: false,
            carried: Vec::new(),
            attempts: 0,
            away_since: Instant::now(),
            unacknowledged: Vec::new(),
            reports_killing: false,
            info: None,
            any_acknowledged: false,
            task: None,
            health: None,
            kill: None,
            completion: None,
            ended: None,
            shutting_down: false,
        }
    }

    /// Until the task has ended and the agent knows, or there is nothing more to do.
    pub(crate) fn run(mut self) -> Result<(), String> {
        let sending = Sending::start(&self.settings, self.sender.clone())?;
        self.connect()?;
        while !self.is_done()? {
            let pause = self.next_timer().saturating_duration_since(Instant::now());
            match self.inputs.recv_timeout(pause) {
                Ok(input) => self.handle(input, &sending)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err("no more inputs".to_owned()),
            }
            self.run_timers(&sending)?;
        }
        Ok(())
    }

    fn is_done(&self) -> Result<bool, String> {
        let told = self.unacknowledged.iter().all(|update| !update.terminal);
        if self.ended.is_some() && told {
            return Ok(true);
        }
        if self.shutting_down && (self.info.is_none() || self.ended.is_some() && !self.subscribed) {
            return Ok(true);
        }
        match self.ended {
            Some(time) if time.elapsed() >= LAST_ACKNOWLEDGEMENT_WITHIN => {
                Err("the agent did not acknowledge the last update".to_owned())
            }
            _ => Ok(false),
        }
    }

    fn next_timer(&self) -> Instant {
        let kill = self.kill.as_ref().filter(|kill| !kill.escalated).map(|kill| kill.escalation);
        let away = (!self.subscribed).then(|| self.away_since + self.settings.recovery_timeout);
        let last = self.ended.map(|time| time + LAST_ACKNOWLEDGEMENT_WITHIN);
        let idle = Instant::now() + Duration::from_secs(3_600);
        let timers = [kill, away.filter(|_| !self.shutting_down), last, self.completion];
        timers.into_iter().flatten().fold(idle, Instant::min)
    }

    fn run_timers(&mut self, sending: &Sending) -> Result<(), String> {
        let now = Instant::now();
        let away = !self.subscribed && now >= self.away_since + self.settings.recovery_timeout;
        if away && !self.shutting_down {
            self.shut_down(sending)?;
        }
        if self.completion.is_some_and(|time| now >= time) {
            self.completion = None;
            self.kill(sending, Duration::ZERO, |kill| kill.by_time = true)?;
        }
        if let (Some(task), Some(kill), None) = (self.task, &mut self.kill, self.ended)
            && !kill.escalated
            && now >= kill.escalation
        {
            kill.escalated = true;
            task.signal(Signal::KILL);
        }
        Ok(())
    }

    fn handle(&mut self, input: Input, sending: &Sending) -> Result<(), String> {
        match input {
            Input::Event { connection, event } if connection == self.connection => {
                self.handle_event(&event, sending)
            }
            Input::Subscribed { connection } if connection == self.connection => {
                self.subscribed = true;
                self.ever_subscribed = true;
                self.attempts = 0;
                for update in &self.unacknowledged {
                    if !self.carried.contains(&update.uuid) {
                        sending.send(connection, update);
                    }
                }
                Ok(())
            }
            Input::Disconnected { connection } | Input::Unsent { connection }
                if connection == self.connection =>
            {
                self.lost(sending)
            }
            // Of a connection that was given up.
            Input::Event { .. }
            | Input::Subscribed { .. }
            | Input::Disconnected { .. }
            | Input::Unsent { .. } => Ok(()),
            Input::Refused(why) => {
                if let Some(task) = self.task.filter(|_| self.ended.is_none()) {
                    task.signal(Signal::KILL);
                }
                Err(why)
            }
            Input::Ended(status) => self.ended(status, sending),
            Input::Checked(result) => self.checked(result, sending),
        }
    }

    fn handle_event(&mut self, event: &Value, sending: &Sending) -> Result<(), String> {
        match text(event, "type").unwrap_or_default() {
            "SUBSCRIBED" => {
                let capabilities = event.pointer("/subscribed/framework_info/capabilities");
                let capabilities = capabilities.and_then(Value::as_array).into_iter().flatten();
                self.reports_killing = capabilities
                    .filter_map(|capability| text(capability, "type"))
                    .any(|name| name == "TASK_KILLING_STATE");
                Ok(())
            }
            "LAUNCH" => match event.pointer("/launch/task") {
                Some(info) => self.launch(info, sending),
                None => Err("LAUNCH without a task".to_owned()),
            },
            "KILL" => {
                let of_event = event.pointer("/kill/kill_policy").and_then(grace_period);
                let of_task = || grace_period(self.info.as_ref()?.get("kill_policy")?);
                let grace = of_event.or_else(of_task).unwrap_or(DEFAULT_GRACE_PERIOD);
                self.kill(sending, grace, |_| {})
            }
            "ACKNOWLEDGED" => {
                let uuid = event.pointer("/acknowledged/uuid").and_then(Value::as_str);
                self.any_acknowledged = true;
                self.unacknowledged.retain(|update| Some(update.uuid.as_str()) != uuid);
                Ok(())
            }
            "SHUTDOWN" => self.shut_down(sending),
            "LAUNCH_GROUP" => Err("task groups are not for a command executor".to_owned()),
            // HEARTBEAT, MESSAGE, ERROR (the agent closes the stream after it), and what is newer.
            _ => Ok(()),
        }
    }

    fn connect(&mut self) -> Result<(), String> {
        self.connection += 1;
        self.carried = self.unacknowledged.iter().map(|update| update.uuid.clone()).collect();
        let updates: Vec<&Value> = self.unacknowledged.iter().map(|update| &update.body).collect();
        let tasks: Vec<&Value> = self.info.iter().filter(|_| !self.any_acknowledged).collect();
        let call = json!({"unacknowledged_tasks": tasks, "unacknowledged_updates": updates});
        let pause = self.backoff();
        self.attempts += 1;
        agent::subscribe(&self.settings, self.connection, pause, call, self.sender.clone())
    }

    /// None at first; then doubling up to the limit, and a little different for every executor.
    fn backoff(&self) -> Duration {
        if self.attempts == 0 {
            return Duration::ZERO;
        }
        let most = self.settings.max_backoff;
        let doubled = FIRST_BACKOFF.saturating_mul(1 << self.attempts.min(10)).min(most);
        let jitter = std::process::id().wrapping_mul(2_654_435_761) >> 24;
        doubled / 2 + (doubled / 2) * jitter / 256
    }

    fn lost(&mut self, sending: &Sending) -> Result<(), String> {
        if self.subscribed {
            self.subscribed = false;
            self.away_since = Instant::now();
            self.attempts = 1;
        }
        // Without checkpoints, an agent that was lost never takes its executors back.
        if self.ever_subscribed && !self.settings.checkpoint && !self.shutting_down {
            self.shut_down(sending)?;
        }
        self.connect()
    }

    fn update(&mut self, sending: &Sending, state: &str, details: Details) -> Result<(), String> {
        let task = self.info.as_ref().and_then(|info| info.pointer("/task_id/value"));
        let task = task.and_then(Value::as_str).unwrap_or_default();
        let update = Update::new(task, &self.settings.executor_id, state, details)?;
        if self.subscribed {
            sending.send(self.connection, &update);
        }
        self.unacknowledged.push(update);
        Ok(())
    }

    fn launch(&mut self, info: &Value, sending: &Sending) -> Result<(), String> {
        if self.info.is_some() {
            // The agent sends a task once; a second one is a mistake of somebody's.
            return Err("a command executor runs one task only".to_owned());
        }
        self.info = Some(info.clone());
        self.update(sending, "TASK_STARTING", Details::default())?;
        match Task::launch(info, self.sender.clone()) {
            Ok(task) => self.task = Some(task),
            Err(why) => return self.fail(sending, why),
        }
        if let Some(check) = info.get("health_check") {
            match Health::start(check, self.sender.clone()) {
                Ok(health) => self.health = Some(health),
                Err(why) => {
                    if let Some(task) = self.task {
                        task.signal(Signal::KILL);
                    }
                    return self.fail(sending, why);
                }
            }
        }
        let limit = info.get("max_completion_time").and_then(duration_info);
        self.completion =
            limit.filter(|limit| !limit.is_zero()).map(|limit| Instant::now() + limit);
        self.update(sending, "TASK_RUNNING", Details::default())
    }

    fn fail(&mut self, sending: &Sending, why: String) -> Result<(), String> {
        self.ended = Some(Instant::now());
        self.update(sending, "TASK_FAILED", Details { message: Some(why), ..Details::default() })
    }

    fn kill(
        &mut self,
        sending: &Sending,
        grace: Duration,
        cause: impl FnOnce(&mut Kill),
    ) -> Result<(), String> {
        let now = Instant::now();
        let Some(task) = self.task else {
            return Err("asked to kill a task that was not launched".to_owned());
        };
        if self.ended.is_some() {
            return Ok(());
        }
        self.completion = None;
        if let Some(kill) = &mut self.kill {
            // A repeated kill may shorten the time, never lengthen it.
            kill.escalation = kill.escalation.min(kill.begun + grace);
            return Ok(());
        }
        let mut kill = Kill {
            begun: now,
            escalation: now + grace,
            escalated: false,
            by_health: false,
            by_time: false,
        };
        cause(&mut kill);
        if self.reports_killing && !kill.by_time {
            self.update(sending, "TASK_KILLING", Details::default())?;
        }
        self.kill = Some(kill);
        task.signal(Signal::TERM);
        Ok(())
    }

    fn shut_down(&mut self, sending: &Sending) -> Result<(), String> {
        self.shutting_down = true;
        if self.task.is_none() {
            return Ok(());
        }
        let grace = self.settings.shutdown_grace_period.saturating_sub(SHUTDOWN_MARGIN);
        self.kill(sending, grace, |_| {})
    }

    fn checked(&mut self, result: Result<(), String>, sending: &Sending) -> Result<(), String> {
        let Some(health) = self.health.as_mut().filter(|_| self.kill.is_none()) else {
            return Ok(());
        };
        if self.ended.is_some() {
            return Ok(());
        }
        let verdict = health.judge(result.is_ok(), Instant::now());
        if verdict == Verdict::Same {
            return Ok(());
        }
        let details = Details {
            message: result.err().map(|why| format!("Health check failed: {why}")),
            reason: Some("REASON_TASK_HEALTH_CHECK_STATUS_UPDATED"),
            healthy: Some(verdict == Verdict::Healthy),
        };
        self.update(sending, "TASK_RUNNING", details)?;
        if verdict == Verdict::Kill {
            let policy = self.info.as_ref().and_then(|info| info.get("kill_policy"));
            let grace = policy.and_then(grace_period).unwrap_or(DEFAULT_GRACE_PERIOD);
            self.kill(sending, grace, |kill| kill.by_health = true)?;
        }
        Ok(())
    }

    fn ended(
        &mut self,
        status: std::io::Result<ExitStatus>,
        sending: &Sending,
    ) -> Result<(), String> {
        if self.ended.is_some() {
            return Ok(());
        }
        self.ended = Some(Instant::now());
        self.completion = None;
        let mut details = Details::default();
        let state = match (&status, &self.kill) {
            (Err(_), _) => "TASK_FAILED",
            (Ok(_), Some(kill)) if kill.by_time => {
                details.reason = Some("REASON_MAX_COMPLETION_TIME_REACHED");
                "TASK_FAILED"
            }
            (Ok(_), Some(kill)) => {
                details.healthy = kill.by_health.then_some(false);
                "TASK_KILLED"
            }
            (Ok(status), None) if status.success() => "TASK_FINISHED",
            (Ok(_), None) => "TASK_FAILED",
        };
        details.message = Some(match status {
            Ok(status) => format!("Command {}", ending(status)),
            Err(error) => format!("Failed to get exit status for Command: {error}"),
        });
        self.update(sending, state, details)
    }
}
