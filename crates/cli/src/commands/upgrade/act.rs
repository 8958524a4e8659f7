//! `upgrade pause|resume|rollback|abort`.

use peloton_client::Client;
use peloton_proto::peloton::upgrade::{
    AbortRequest, InvalidState, PauseRequest, ResumeRequest, RollbackRequest, State,
    UpgradeNotFound,
};

use super::create::Done;
use super::{find, id_of, state_name, watching, workflow_id};
use crate::args::{UpgradeAbortArgs, UpgradeArg, UpgradeWaitArgs, WatchArgs};
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// An answer that says that nothing was done is a failure.
fn refused(
    id: &str,
    verb: &str,
    not_found: Option<&UpgradeNotFound>,
    invalid: Option<&InvalidState>,
) -> Result<(), Failure> {
    match (not_found, invalid) {
        (Some(_), _) => Err(Failure::no_upgrade(id)),
        (None, Some(invalid)) => {
            let state = state_name(invalid.invalid_state);
            let message = format!("upgrade {id:?} is {state} and can not be {verb} now");
            Err(Failure::new(Exit::Conflict, message)
                .hint(format!("`peloton upgrade get {id}` shows it as it is")))
        }
        (None, None) => Ok(()),
    }
}

pub(super) async fn pause(client: &Client, ui: &Ui, args: &UpgradeArg) -> Result<(), Failure> {
    let id = find(client, &args.upgrade).await?;
    let answer = client.upgrades().pause(PauseRequest { workflow_id: workflow_id(&id) }).await?;
    refused(&id, "paused", answer.not_found.as_ref(), answer.invalid_state.as_ref())?;
    ui.show(&Done::one(&id, "pausing"), || {
        format!("upgrade {id}: pausing; instances in hand are finished, no others begun")
    })
}

pub(super) async fn resume(
    client: &Client,
    ui: &Ui,
    args: &UpgradeWaitArgs,
) -> Result<(), Failure> {
    let id = find(client, &args.upgrade.upgrade).await?;
    let answer = client.upgrades().resume(ResumeRequest { workflow_id: workflow_id(&id) }).await?;
    refused(&id, "resumed", answer.not_found.as_ref(), answer.invalid_state.as_ref())?;
    ui.show(&Done::one(&id, "resuming"), || format!("upgrade {id}: resuming"))?;
    watch_if_asked(client, ui, args.watch, &id, State::Succeeded).await
}

pub(super) async fn rollback(
    client: &Client,
    ui: &Ui,
    args: &UpgradeWaitArgs,
) -> Result<(), Failure> {
    let id = find(client, &args.upgrade.upgrade).await?;
    let request = RollbackRequest { workflow_id: workflow_id(&id) };
    let answer = client.upgrades().rollback(request).await?;
    refused(&id, "rolled back", answer.not_found.as_ref(), answer.invalid_state.as_ref())?;
    let back = id_of(answer.result.as_ref());
    if back.is_empty() || back == id {
        ui.show(&Done::one(&id, "rolling back"), || format!("upgrade {id}: rolling back"))?;
        return watch_if_asked(client, ui, args.watch, &id, State::RolledBack).await;
    }
    ui.show(&Done::one(&back, "created"), || {
        format!("upgrade {back} created; it takes back {id}, which had succeeded")
    })?;
    watch_if_asked(client, ui, args.watch, &back, State::Succeeded).await
}

pub(super) async fn abort(
    client: &Client,
    ui: &Ui,
    args: &UpgradeAbortArgs,
) -> Result<(), Failure> {
    let id = find(client, &args.upgrade.upgrade).await?;
    let request = AbortRequest { workflow_id: workflow_id(&id), soft_abort: args.soft };
    let answer = client.upgrades().abort(request).await?;
    refused(&id, "aborted", answer.not_found.as_ref(), answer.invalid_state.as_ref())?;
    ui.show(&Done::one(&id, "aborting"), || match args.soft {
        true => format!("upgrade {id}: aborting, once the instances in hand are finished"),
        false => format!("upgrade {id}: aborting"),
    })?;
    watch_if_asked(client, ui, args.watch, &id, State::Aborted).await
}

async fn watch_if_asked(
    client: &Client,
    ui: &Ui,
    args: WatchArgs,
    id: &str,
    goal: State,
) -> Result<(), Failure> {
    if args.watch {
        return watching::watch(client, ui, args.watch_timeout, id, goal).await;
    }
    if ui.for_people() {
        ui.note(&format!("hint: `peloton upgrade watch {id}` shows its progress"));
    }
    Ok(())
}
