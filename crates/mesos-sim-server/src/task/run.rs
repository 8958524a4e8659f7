//! One run of a task: a thread that prepares it and then waits with it.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use peloton_proto::mesos::v1;
use peloton_task_runner::fetch::{self, Cache, Uri};
use peloton_task_runner::mark::MARK;
use peloton_task_runner::{CommandSpec, Place, Report, Run, Runnable, State};

use super::convert;
use super::sandbox::{self, WorkDir};
use crate::guard::Guard;

/// With nothing due, the thread looks up so often.
const IDLE: Duration = Duration::from_secs(3_600);

/// What a run is told.
#[derive(Debug)]
pub(super) enum Input {
    /// By its own threads.
    Run(peloton_task_runner::Input),
    /// SIGTERM, and SIGKILL after the grace period.
    Kill(Duration),
    /// SIGKILL.
    KillNow,
}

/// What to run.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) work: WorkDir,
    /// The agent's HTTP port.
    pub(super) port: u16,
    pub(super) framework: String,
    pub(super) task: v1::TaskInfo,
    pub(super) directory: PathBuf,
    /// Part of the guard's mark, for the agent.
    pub(super) mark: String,
    pub(super) guard: Arc<Guard>,
}

/// Runs a task to its end. Blocks.
pub(super) fn run(
    job: &Job,
    inputs: &Receiver<Input>,
    sender: &Sender<Input>,
    tell: impl Fn(Report),
) {
    let runnable = match prepare(job) {
        Ok(runnable) => runnable,
        Err(why) => {
            let reason = Some("REASON_CONTAINER_LAUNCH_FAILED");
            return tell(Report { message: Some(why), reason, ..Report::of(State::Failed) });
        }
    };
    if matches!(inputs.try_recv(), Ok(Input::Kill(_) | Input::KillNow)) {
        let message = Some("Killed before the command was launched".to_owned());
        let reason = Some("REASON_TASK_KILLED_DURING_LAUNCH");
        return tell(Report { message, reason, ..Report::of(State::Killed) });
    }
    let sender = sender.clone();
    let mut run = Run::launch(runnable, move |input| sender.send(Input::Run(input)).is_ok());
    let group = run.group();
    if let Some(group) = group {
        job.guard.started(group);
    }
    run.take_reports().into_iter().for_each(&tell);
    let mut is_asked = false;
    while run.ended().is_none() {
        let pause = run.next_timer().map(|time| time.saturating_duration_since(Instant::now()));
        match inputs.recv_timeout(pause.unwrap_or(IDLE)) {
            Ok(Input::Run(input)) => run.hear(input),
            Ok(Input::Kill(grace)) => {
                is_asked = true;
                run.kill(Some(grace));
            }
            Ok(Input::KillNow) => run.kill_now(),
            Err(RecvTimeoutError::Timeout) => {}
            // Cannot be: this thread holds a sender.
            Err(RecvTimeoutError::Disconnected) => run.kill_now(),
        }
        run.tick(Instant::now());
        // The model says TASK_KILLING itself where it asks for a kill.
        let known = |report: &Report| is_asked && report.state == State::Killing;
        run.take_reports().into_iter().filter(|report| !known(report)).for_each(&tell);
    }
    if let Some(group) = group {
        job.guard.ended(group);
    }
}

/// Makes the sandbox, links the volumes, fetches what is to be fetched.
fn prepare(job: &Job) -> Result<Runnable, String> {
    let task = &job.task;
    let text = |error: std::io::Error| format!("{}: {error}", job.directory.display());
    sandbox::create(&job.directory).map_err(text)?;
    let mut stdout = sandbox::output(&job.directory, "stdout").map_err(text)?;
    let mut stderr = sandbox::output(&job.directory, "stderr").map_err(text)?;
    if let Some(why) = task.container.as_ref().and_then(convert::unsupported) {
        return Err(why);
    }
    let custom = task.executor.as_ref().and_then(|executor| executor.command.as_ref());
    if custom.is_some() {
        return Err("the simulated Mesos runs commands, and no executors of frameworks".to_owned());
    }
    let command = task.command.as_ref().ok_or("the task has no command")?;
    sandbox::link_volumes(&job.work, &job.directory, task)?;
    for (uri, cached) in convert::uris(command) {
        match fetch(job, &uri, cached) {
            Ok(done) => drop(writeln!(stdout, "{done}")),
            Err(error) => {
                let _ = writeln!(stderr, "{error}");
                // Why is in the sandbox, as with Mesos.
                let name = job.directory.file_name().unwrap_or_default().to_string_lossy();
                return Err(format!(
                    "Failed to launch container: Failed to fetch all URIs for container '{name}': \
                     exited with status 1"
                ));
            }
        }
    }
    let mut variables = sandbox::variables(&job.directory, task, &job.framework, job.port);
    variables.push((MARK.to_owned(), job.mark.clone()));
    let place = Place { directory: Some(job.directory.clone()), variables: Some(variables) };
    let spec = convert::command(command);
    let value = spec.value.clone().unwrap_or_default();
    let limits = task.container.as_ref().map(convert::limits).transpose()?.unwrap_or_default();
    let spec = if limits.is_empty() { spec } else { limited(spec, &limits)? };
    let mut process = spec.process(&place).map_err(|error| error.to_string())?;
    process.stdout(stdout).stderr(stderr);
    let health = task.health_check.as_ref().map(convert::health_check).transpose()?;
    let grace = task.kill_policy.as_ref().and_then(|policy| policy.grace_period.as_ref());
    Ok(Runnable {
        process,
        command: value,
        health: health.map(|check| (check, place)),
        grace_period: grace.map(convert::duration),
        max_completion_time: task.max_completion_time.as_ref().map(convert::duration),
        reports_killing: true,
    })
}

/// Fetches a file into the sandbox, by way of the agent's cache where that is wanted.
fn fetch(job: &Job, uri: &Uri, cached: bool) -> peloton_task_runner::Result<String> {
    if !cached {
        return fetch::fetch(uri, &job.directory, &Cache::Bypass);
    }
    let file = job.work.cached(&uri.value);
    if file.exists() {
        return fetch::fetch(uri, &job.directory, &Cache::Use(file));
    }
    // Several runs may be at it: what has the name is whole.
    let name = job.directory.file_name().unwrap_or_default();
    let own = file.with_extension(name);
    let failed = |source| peloton_task_runner::Error::Path { path: own.clone(), source };
    if let Some(directory) = own.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    let done = fetch::fetch(uri, &job.directory, &Cache::Fill(own.clone()));
    match &done {
        Ok(_) => fs::rename(&own, &file).map_err(failed)?,
        // Whatever there is of it; mostly nothing.
        Err(_) => drop(fs::remove_file(&own)),
    }
    done
}

/// The command behind a shell that sets limits and then becomes the command.
fn limited(spec: CommandSpec, limits: &str) -> Result<CommandSpec, String> {
    let value = spec.value.ok_or("the command has no value")?;
    if spec.shell {
        return Ok(CommandSpec { value: Some(format!("{limits}{value}")), ..spec });
    }
    // The shell's $0 is of no use; its arguments are the program and the program's arguments, of
    // which the first is a name that only execv could set.
    let mut arguments = vec!["sh".to_owned(), "-c".to_owned(), format!("{limits}exec \"$@\"")];
    arguments.extend(["sh".to_owned(), value]);
    arguments.extend(spec.arguments.into_iter().skip(1));
    Ok(CommandSpec { value: Some("/bin/sh".to_owned()), arguments, ..spec })
}
