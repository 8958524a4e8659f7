//! Watching an upgrade: how far it is as a whole, and where the instances in hand are.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use peloton_client::Client;
use peloton_proto::peloton::upgrade::{InstanceProgress, State, UpgradeInfo};
use tokio::time::{Instant, sleep};

use super::{INTERVAL, get_status};
use crate::commands::upgrade::{aim, info, state_name, total};
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// Instances in hand that have a line of their own on a terminal: with the bar above they fit a small one.
const MAX_ROWS: usize = 10;
/// Lines written at once for instances that moved on, where there is no terminal: a batch may be large.
const MAX_LINES: usize = 20;

/// Waits until an upgrade has ended; well if in the state that is the goal.
pub(crate) async fn watch(
    client: &Client,
    ui: &Ui,
    timeout: Option<Duration>,
    id: &str,
    goal: State,
) -> Result<(), Failure> {
    let mut board = Board::new(ui, id);
    let watched = watch_with(client, &mut board, timeout, id, goal);
    let result = tokio::select! {
        result = watched => result,
        _ = tokio::signal::ctrl_c() => {
            let message = format!("stopped watching upgrade {id:?}; the upgrade itself goes on");
            Err(Failure::new(Exit::Interrupted, message)
                .hint(format!("`peloton upgrade watch {id}` shows it again")))
        }
    };
    board.close();
    result
}

async fn watch_with(
    client: &Client,
    board: &mut Board<'_>,
    timeout: Option<Duration>,
    id: &str,
    goal: State,
) -> Result<(), Failure> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    loop {
        let asked = look(client, id);
        let answer = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, asked).await.ok(),
            None => Some(asked.await),
        };
        match answer {
            Some(Ok((info, after))) => {
                board.show(&info);
                if let Some(end) = end(id, &info, &after, goal) {
                    return end;
                }
            }
            // Masters may come and go while we watch; the upgrade does not mind, and we need not either.
            Some(Err(failure)) if matches!(failure.exit, Exit::Unreachable | Exit::TimedOut) => {
                board.trouble("no master answers; trying again");
            }
            Some(Err(failure)) => return Err(failure),
            None => {}
        }
        if deadline.is_some_and(|deadline| Instant::now() + INTERVAL >= deadline) {
            let message = format!("upgrade {id:?} has not ended yet: {}", board.last);
            return Err(Failure::new(Exit::TimedOut, message)
                .hint(format!("it goes on; `peloton upgrade watch {id}` shows it again")));
        }
        sleep(INTERVAL).await;
    }
}

/// What may follow on an upgrade that ended half way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct After {
    /// It is asked to go back, and its shard has not begun yet.
    turns: bool,
    /// It may be asked to.
    may_turn: bool,
    /// The upgrade that took its place; empty if none did.
    replaced_by: String,
}

/// Looks how far it is; where it ended half way, also whether that is the end.
async fn look(client: &Client, id: &str) -> Result<(UpgradeInfo, After), Failure> {
    let seen = info(client, id).await?;
    if !matches!(seen.state(), State::Aborted | State::Failed) {
        return Ok((seen, After::default()));
    }
    let job = seen.job_id.clone().unwrap_or_default().value;
    let Some(status) = get_status(client, &job).await? else {
        return Ok((seen, After::default()));
    };
    if status.active_upgrade == id {
        return Ok((seen, After { turns: true, ..After::default() }));
    }
    // It may have gone all the way back between the two questions.
    let seen = info(client, id).await?;
    let replaced_by = status.active_upgrade;
    let may_turn = replaced_by.is_empty() && status.current_version == seen.to_version;
    Ok((seen, After { turns: false, may_turn, replaced_by }))
}

/// How it ended, once it has.
fn end(id: &str, info: &UpgradeInfo, after: &After, goal: State) -> Option<Result<(), Failure>> {
    // A state that this program does not know is none that it can tell the end by.
    let state = State::try_from(info.state).ok()?;
    let (from, to) = (info.from_version, info.to_version);
    // Who aborted it says more of that than what had failed before.
    let whys = match state {
        State::Aborted => [&info.message, &info.failure],
        _ => [&info.failure, &info.message],
    };
    let why = match whys.into_iter().find(|text| !text.is_empty()) {
        Some(why) => format!(": {}", why.replace(['\n', '\r'], " ")),
        None => String::new(),
    };
    let events = || format!("`peloton upgrade events {id}` shows what happened");
    let next = || match after.replaced_by.as_str() {
        "" if after.may_turn => format!(
            "`peloton upgrade rollback {id}` goes back to version {from}; what that needs is reserved"
        ),
        "" => events(),
        other => format!("`peloton upgrade watch {other}` shows the one that took its place"),
    };
    let failure = |exit, message: String| Failure::new(exit, format!("upgrade {id:?} {message}"));
    let failure = match state {
        State::RollingForward | State::RollingBack | State::Paused => return None,
        State::Aborted | State::Failed if after.turns => return None,
        state if state == goal => return Some(Ok(())),
        State::Succeeded => {
            failure(Exit::Conflict, format!("has succeeded; all instances run version {to}"))
                .hint(format!("`peloton upgrade rollback {id}` takes it back"))
        }
        State::RolledBack => {
            let message = format!("was rolled back; all instances run version {from}{why}");
            failure(Exit::RolledBack, message).hint(events())
        }
        State::Aborted => {
            failure(Exit::Aborted, format!("was ended where it was{why}")).hint(next())
        }
        State::Failed => {
            failure(Exit::UpgradeFailed, format!("failed and stays where it is{why}")).hint(next())
        }
    };
    Some(Err(failure))
}

/// Instances that are in hand: those that failed are no more.
fn in_hand(info: &UpgradeInfo) -> impl Iterator<Item = &InstanceProgress> {
    info.instances.iter().filter(|instance| instance.stage != "FAILED")
}

/// How far it is, in words.
fn overall(info: &UpgradeInfo) -> String {
    let (state, aim) = (state_name(info.state), aim(info));
    let mut text = format!("{state}, {} of {} at version {aim}", info.num_tasks_done, total(info));
    let hand = in_hand(info).count();
    if hand > 0 {
        let _ = write!(text, ", {hand} in hand");
    }
    if info.num_tasks_failed > 0 {
        let _ = write!(text, ", {} failed", info.num_tasks_failed);
    }
    if info.displaced_count > 0 {
        let _ = write!(text, ", {} displaced", info.displaced_count);
    }
    for (name, why) in [("failure: ", &info.failure), ("", &info.message)] {
        if !why.is_empty() && !text.contains(why.as_str()) {
            let _ = write!(text, "; {name}{}", why.replace(['\n', '\r'], " "));
        }
    }
    text
}

/// Where an instance is, in words.
fn place(instance: &InstanceProgress) -> String {
    let mut text = instance.stage.clone();
    if !instance.task_state.is_empty() {
        let _ = write!(text, ", version {} {}", instance.version, instance.task_state);
    }
    if !instance.host.is_empty() {
        let _ = write!(text, " on {}", instance.host);
    }
    match instance.tries {
        0 => {}
        1 => text.push_str(", 1 run failed"),
        tries => {
            let _ = write!(text, ", {tries} runs failed");
        }
    }
    if !instance.message.is_empty() {
        let _ = write!(text, ": {}", instance.message.replace(['\n', '\r'], " "));
    }
    text
}

/// Shows the progress: a bar on a terminal, a line for each change elsewhere.
struct Board<'a> {
    ui: &'a Ui,
    id: &'a str,
    bar: Option<ProgressBar>,
    last: String,
    /// Where the instances in hand were at the last look.
    places: BTreeMap<u32, String>,
    in_trouble: bool,
}

/// A bar of the whole, and below it a line for each of some instances in hand.
fn bar(id: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{prefix} [{bar:24}] {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(id.to_owned());
    bar
}

fn show_on(bar: &ProgressBar, info: &UpgradeInfo, text: &str) {
    bar.set_length(u64::try_from(total(info)).unwrap_or(0));
    bar.set_position(u64::try_from(info.num_tasks_done).unwrap_or(0));
    // All in one message, so that it is drawn at once.
    let mut message = text.to_owned();
    for instance in in_hand(info).take(MAX_ROWS) {
        let _ = write!(message, "\n  instance {}: {}", instance.instance_id, place(instance));
    }
    let more = in_hand(info).skip(MAX_ROWS).count();
    if more > 0 {
        let _ = write!(message, "\n  and {more} more in hand");
    }
    bar.set_message(message);
}

impl<'a> Board<'a> {
    fn new(ui: &'a Ui, id: &'a str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| bar(id));
        let last = "nothing is known of it yet".to_owned();
        Self { ui, id, bar, last, places: BTreeMap::new(), in_trouble: false }
    }

    fn show(&mut self, info: &UpgradeInfo) {
        self.in_trouble = false;
        let text = overall(info);
        match &self.bar {
            Some(bar) => show_on(bar, info, &text),
            None => self.write_lines(info, &text),
        }
        self.last = text;
    }

    /// What has changed since the last look: instances, then the whole.
    fn write_lines(&mut self, info: &UpgradeInfo, text: &str) {
        let now = info.instances.iter().map(|instance| (instance.instance_id, place(instance)));
        let now: BTreeMap<u32, String> = now.collect();
        let moved = now.iter().filter(|(instance, place)| self.places.get(instance) != Some(place));
        let moved: Vec<_> = moved.collect();
        for (instance, place) in moved.iter().take(MAX_LINES) {
            self.ui.note(&format!("{}: instance {instance}: {place}", self.id));
        }
        if let more @ 1.. = moved.len().saturating_sub(MAX_LINES) {
            self.ui.note(&format!("{}: {more} more instances moved on", self.id));
        }
        self.places = now;
        if self.last != text {
            self.ui.note(&format!("{}: {text}", self.id));
        }
    }

    fn trouble(&mut self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        } else if !self.in_trouble {
            self.ui.note(&format!("{}: {text}", self.id));
        }
        self.in_trouble = true;
    }

    /// Leaves the whole on the screen.
    fn close(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon_with_message(self.last.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(state: State) -> UpgradeInfo {
        UpgradeInfo {
            state: state.into(),
            from_version: 2,
            to_version: 3,
            num_tasks_done: 4,
            num_tasks_remaining: 6,
            ..UpgradeInfo::default()
        }
    }

    #[test]
    fn every_end_has_its_exit_code() {
        use State::{Aborted, Failed, Paused, RolledBack, RollingBack, RollingForward, Succeeded};
        let none = After::default();
        for state in [RollingForward, RollingBack, Paused] {
            assert_eq!(end("w", &info(state), &none, Succeeded), None);
        }
        for (state, goal, want) in [
            (Succeeded, Succeeded, Exit::Ok),
            (RolledBack, Succeeded, Exit::RolledBack),
            (RolledBack, RolledBack, Exit::Ok),
            (Aborted, Succeeded, Exit::Aborted),
            (Aborted, Aborted, Exit::Ok),
            (Failed, Succeeded, Exit::UpgradeFailed),
            (Succeeded, Aborted, Exit::Conflict),
            (Failed, RolledBack, Exit::UpgradeFailed),
        ] {
            let got = end("w", &info(state), &none, goal).unwrap();
            assert_eq!(got.map_or_else(|failure| failure.exit, |()| Exit::Ok), want, "{state:?}");
        }
        assert_eq!(end("w", &UpgradeInfo { state: 99, ..info(Failed) }, &none, Succeeded), None);
        let turns = After { turns: true, ..After::default() };
        assert_eq!(end("w", &info(Failed), &turns, RolledBack), None);
    }

    #[test]
    fn progress_in_words() {
        let failed = InstanceProgress { stage: "FAILED".into(), ..InstanceProgress::default() };
        let hand = InstanceProgress {
            instance_id: 7,
            stage: "SWITCH".into(),
            tries: 2,
            task_state: "RUNNING".into(),
            version: 3,
            host: "agent-1".into(),
            message: "it\nruns".into(),
            ..InstanceProgress::default()
        };
        assert_eq!(place(&hand), "SWITCH, version 3 RUNNING on agent-1, 2 runs failed: it runs");
        let now = UpgradeInfo {
            instances: vec![failed, hand],
            num_tasks_failed: 1,
            rolling_back: true,
            failure: "instance 0: no".into(),
            message: "going back: instance 0: no".into(),
            ..info(State::RollingBack)
        };
        let want = "ROLLING_BACK, 4 of 10 at version 2, 1 in hand, 1 failed; failure: instance 0: no; \
                    going back: instance 0: no";
        assert_eq!(overall(&now), want);
        let same = UpgradeInfo { message: now.failure.clone(), ..now };
        assert!(overall(&same).ends_with("; failure: instance 0: no"));
    }
}
