//! Owns the task, and decides.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use peloton_task_runner::{Report, Run, State};
use serde_json::{Value, json};

use crate::agent::{self, Sending};
use crate::message::{Input, Update, grace_period, text};
use crate::settings::Settings;
use crate::task::runnable;

/// An executor whose last update is never acknowledged ends all the same.
const LAST_ACKNOWLEDGEMENT_WITHIN: Duration = Duration::from_secs(60);

/// On SHUTDOWN the SIGKILL comes so long before the agent's own, so that its result can be told.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(1);

/// The first pause before connecting again; it doubles.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);

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
    run: Option<Run>,
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
            run: None,
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
        let run = self.run.as_ref().and_then(Run::next_timer);
        let away = (!self.subscribed).then(|| self.away_since + self.settings.recovery_timeout);
        let last = self.ended.map(|time| time + LAST_ACKNOWLEDGEMENT_WITHIN);
        let idle = Instant::now() + Duration::from_secs(3_600);
        let timers = [run, away.filter(|_| !self.shutting_down), last];
        timers.into_iter().flatten().fold(idle, Instant::min)
    }

    fn run_timers(&mut self, sending: &Sending) -> Result<(), String> {
        let now = Instant::now();
        let away = !self.subscribed && now >= self.away_since + self.settings.recovery_timeout;
        if away && !self.shutting_down {
            self.shut_down(sending)?;
        }
        if let Some(run) = &mut self.run {
            run.tick(now);
        }
        self.pass_on(sending)
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
                if let Some(run) = &mut self.run {
                    run.kill_now();
                }
                Err(why)
            }
            Input::Run(input) => {
                if let Some(run) = &mut self.run {
                    run.hear(input);
                }
                self.pass_on(sending)
            }
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
                let grace = event.pointer("/kill/kill_policy").and_then(grace_period);
                self.kill(sending, grace)
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

    fn update(&mut self, sending: &Sending, report: Report) -> Result<(), String> {
        let task = self.info.as_ref().and_then(|info| info.pointer("/task_id/value"));
        let task = task.and_then(Value::as_str).unwrap_or_default();
        if report.state.is_terminal() {
            self.ended = Some(Instant::now());
        }
        let update = Update::new(task, &self.settings.executor_id, report)?;
        if self.subscribed {
            sending.send(self.connection, &update);
        }
        self.unacknowledged.push(update);
        Ok(())
    }

    /// Tells what the run has to report.
    fn pass_on(&mut self, sending: &Sending) -> Result<(), String> {
        let reports = self.run.as_mut().map(Run::take_reports).unwrap_or_default();
        reports.into_iter().try_for_each(|report| self.update(sending, report))
    }

    fn launch(&mut self, info: &Value, sending: &Sending) -> Result<(), String> {
        if self.info.is_some() {
            // The agent sends a task once; a second one is a mistake of somebody's.
            return Err("a command executor runs one task only".to_owned());
        }
        self.info = Some(info.clone());
        match runnable(info, self.reports_killing) {
            Ok(task) => {
                let sender = self.sender.clone();
                let tell = move |input| sender.send(Input::Run(input)).is_ok();
                self.run = Some(Run::launch(task, tell));
                self.pass_on(sending)
            }
            Err(why) => {
                self.update(sending, Report::of(State::Starting))?;
                let message = Some(why);
                self.update(sending, Report { message, ..Report::of(State::Failed) })
            }
        }
    }

    fn kill(&mut self, sending: &Sending, grace: Option<Duration>) -> Result<(), String> {
        match &mut self.run {
            Some(run) => run.kill(grace),
            None if self.ended.is_some() => {}
            None => return Err("asked to kill a task that was not launched".to_owned()),
        }
        self.pass_on(sending)
    }

    fn shut_down(&mut self, sending: &Sending) -> Result<(), String> {
        self.shutting_down = true;
        if self.run.is_none() {
            return Ok(());
        }
        let grace = self.settings.shutdown_grace_period.saturating_sub(SHUTDOWN_MARGIN);
        self.kill(sending, Some(grace))
    }
}
