//! Whether an instance has done what was asked of it, told from what was so before and is so now.

use peloton_proto::peloton::task::TaskState;

/// What can be asked of all or some instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Stop,
    Start,
    Restart,
}

impl Action {
    /// The command's name.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Restart => "restart",
        }
    }

    /// What happens once the request is durable.
    pub(crate) fn going_on(self) -> &'static str {
        match self {
            Self::Stop => "stopping",
            Self::Start => "starting",
            Self::Restart => "restarting",
        }
    }

    /// What has happened in the end.
    pub(crate) fn done(self) -> &'static str {
        match self {
            Self::Stop => "stopped",
            Self::Start => "started",
            Self::Restart => "restarted",
        }
    }
}

/// What has become of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Not what was asked for, yet.
    No,
    /// What was asked for.
    Yes,
    /// It can not become what was asked for.
    Badly,
}

fn has_ended(state: TaskState) -> bool {
    matches!(state, TaskState::Succeeded | TaskState::Failed | TaskState::Killed)
}

/// Compares state and run number before the request with those now.
pub(crate) fn settled(
    action: Action,
    batch: bool,
    before: (TaskState, u64),
    now: (TaskState, u64),
) -> Settled {
    use TaskState::{Failed, Initialized, Killed, Running, Scheduling, Succeeded};
    let started_already = match action {
        Action::Stop if has_ended(now.0) => return Settled::Yes,
        Action::Stop => return Settled::No,
        // What was successful to its end is not started once more.
        Action::Start if batch && before.0 == Succeeded && now == before => return Settled::Yes,
        Action::Start => !has_ended(before.0),
        // A run that was not launched yet serves as the new one.
        Action::Restart => matches!(before.0, Initialized | Scheduling),
    };
    let fresh = now.1 > before.1 || started_already;
    match (fresh, now.0) {
        (false, _) => Settled::No,
        (true, Running) if !batch => Settled::Yes,
        (true, Succeeded) if batch => Settled::Yes,
        (true, Succeeded | Failed | Killed) => Settled::Badly,
        (true, _) => Settled::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Action::{Restart, Start, Stop};
    use Settled::{Badly, No, Yes};
    use TaskState::{Failed, Killed, Running, Scheduling, Succeeded, Throttled};

    #[test]
    fn what_has_become_of_instances() {
        for (action, batch, before, now, want) in [
            (Stop, false, (Running, 1), (Running, 1), No),
            (Stop, false, (Running, 1), (Killed, 1), Yes),
            (Stop, true, (Running, 1), (Succeeded, 1), Yes),
            (Start, false, (Killed, 1), (Killed, 1), No),
            (Start, false, (Killed, 1), (Scheduling, 1), No),
            (Start, false, (Killed, 1), (Running, 2), Yes),
            (Start, false, (Running, 1), (Running, 1), Yes),
            (Start, false, (Killed, 1), (Failed, 2), Badly),
            (Start, true, (Succeeded, 1), (Succeeded, 1), Yes),
            (Start, true, (Failed, 1), (Running, 2), No),
            (Start, true, (Failed, 1), (Succeeded, 2), Yes),
            (Restart, false, (Running, 1), (Running, 1), No),
            (Restart, false, (Running, 1), (Killed, 1), No),
            (Restart, false, (Running, 1), (Running, 2), Yes),
            (Restart, false, (Scheduling, 0), (Running, 1), Yes),
            (Restart, false, (Throttled, 3), (Running, 4), Yes),
            (Restart, true, (Succeeded, 1), (Succeeded, 1), No),
            (Restart, true, (Succeeded, 1), (Succeeded, 2), Yes),
            (Restart, true, (Running, 1), (Failed, 2), Badly),
        ] {
            let got = settled(action, batch, before, now);
            assert_eq!(got, want, "{action:?} {batch} {before:?} {now:?}");
        }
    }
}
