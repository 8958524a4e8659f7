//! `task logs`: what an instance wrote, read piece by piece from its sandbox on the agent.

use std::time::Duration;

use peloton_client::Client;
use peloton_proto::peloton::task::{GetHistoryRequest, RuntimeInfo, TaskState};
use tokio::time::sleep;

use crate::agent::{Files, PIECE_BYTES};
use crate::args::LogsArgs;
use crate::commands::{job_id, task};
use crate::exit::{Exit, Failure};
use crate::text;
use crate::ui::Ui;

/// How often the end of a file is looked at for more.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(500);

pub(crate) async fn logs(client: &Client, ui: &Ui, args: &LogsArgs) -> Result<(), Failure> {
    let runtime = find(client, ui, args).await?;
    let files = Files::new(&runtime.agent_url)?;
    let stream = if args.stderr { "stderr" } else { "stdout" };
    let path = format!("{}/{stream}", runtime.sandbox_path.trim_end_matches('/'));
    let mut offset = match (args.offset, args.tail) {
        (Some(offset), _) => offset,
        (None, Some(lines)) => tail(&files, &path, lines).await?,
        (None, None) => 0,
    };
    let mut ended = !args.follow;
    loop {
        loop {
            let piece = files.read(&path, offset).await?;
            if piece.is_empty() {
                break;
            }
            offset += piece.len() as u64;
            ui.bytes(&piece)?;
        }
        if ended {
            return Ok(());
        }
        // Whether it has ended is asked before the last look, so that nothing written until then is missed.
        ended = has_ended(client, args, &runtime).await?;
        if !ended {
            sleep(FOLLOW_INTERVAL).await;
        }
    }
}

/// The run whose output is asked for. With --follow, waits until it has a sandbox.
async fn find(client: &Client, ui: &Ui, args: &LogsArgs) -> Result<RuntimeInfo, Failure> {
    let mut told = false;
    loop {
        let runtime = match args.run {
            Some(run) => earlier_run(client, args, run).await?,
            None => current_run(client, args).await?,
        };
        if !runtime.sandbox_path.is_empty() && !runtime.agent_url.is_empty() {
            return Ok(runtime);
        }
        let (job, instance) = (&args.job, args.instance);
        let (state, note) = (text::task_state(&runtime), text::note(&runtime));
        let because = if note.is_empty() { state } else { format!("{state}: {note}") };
        let message = format!("instance {instance} of job {job:?} has no sandbox ({because})");
        if !args.follow || is_over(&runtime) {
            let hint = match runtime.run_number {
                0 => "try again when it runs, or wait for it with --follow",
                _ => "--follow waits for it; --run N shows an earlier run",
            };
            return Err(Failure::new(Exit::Failed, message).hint(hint));
        }
        if !told {
            ui.note(&format!("{message}; waiting for it"));
            told = true;
        }
        sleep(FOLLOW_INTERVAL).await;
    }
}

async fn current_run(client: &Client, args: &LogsArgs) -> Result<RuntimeInfo, Failure> {
    let (task, _) = task::get_task(client, &args.job, args.instance, false).await?;
    Ok(task.runtime.unwrap_or_default())
}

async fn earlier_run(client: &Client, args: &LogsArgs, run: u64) -> Result<RuntimeInfo, Failure> {
    let (job_id, instance_id) = (job_id(&args.job), args.instance);
    let request = GetHistoryRequest { job_id, instance_id, ..Default::default() };
    let answer = client.tasks().get_history(request).await?;
    if answer.not_found.is_some() {
        return Err(Failure::no_job(&args.job));
    }
    if let Some(out) = answer.out_of_range {
        let what = format!("instance {}", args.instance);
        return Err(Failure::no_instance(&args.job, &what, out.instance_count));
    }
    let runs = answer.result.unwrap_or_default().runs;
    let kept: Vec<_> = runs.iter().map(|run| run.run_number.to_string()).collect();
    runs.into_iter().find(|runtime| runtime.run_number == run).ok_or_else(|| {
        let (job, instance) = (&args.job, args.instance);
        let message = format!("run {run} of instance {instance} of job {job:?} is not kept");
        Failure::new(Exit::NotFound, message).hint(match kept.is_empty() {
            true => "it has not run yet".to_owned(),
            false => format!("these are: {}", kept.join(", ")),
        })
    })
}

/// Whether the run will write nothing more.
async fn has_ended(client: &Client, args: &LogsArgs, of: &RuntimeInfo) -> Result<bool, Failure> {
    if args.run.is_some() && is_over(of) {
        return Ok(true);
    }
    match task::get_task(client, &args.job, args.instance, false).await {
        Ok((task, _)) => {
            let now = task.runtime.unwrap_or_default();
            Ok(now.run_number != of.run_number || is_over(&now))
        }
        Err(failure) if failure.exit == Exit::NotFound => Ok(true),
        // Masters may come and go; the agent is what we read from.
        Err(failure) if failure.exit == Exit::Unreachable => Ok(false),
        Err(failure) => Err(failure),
    }
}

fn is_over(runtime: &RuntimeInfo) -> bool {
    use TaskState::{Failed, Killed, Succeeded, Throttled};
    matches!(runtime.state(), Failed | Killed | Succeeded | Throttled)
}

/// Where the last `lines` lines start.
async fn tail(files: &Files, path: &str, lines: u64) -> Result<u64, Failure> {
    let size = files.size(path).await?;
    let mut wanted = lines;
    let mut end = size;
    while end > 0 && lines > 0 {
        let start = end.saturating_sub(PIECE_BYTES);
        let mut piece = Vec::new();
        while (piece.len() as u64) < end - start {
            let more = files.read(path, start + piece.len() as u64).await?;
            if more.is_empty() {
                break;
            }
            piece.extend(more);
        }
        piece.truncate(usize::try_from(end - start).unwrap_or(usize::MAX));
        for (index, byte) in piece.iter().enumerate().rev() {
            let after = start + index as u64 + 1;
            // A newline at the very end closes the last line and starts none.
            if *byte == b'\n' && after < size {
                wanted -= 1;
                if wanted == 0 {
                    return Ok(after);
                }
            }
        }
        end = start;
    }
    Ok(if lines == 0 { size } else { 0 })
}
