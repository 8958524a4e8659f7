//! What may be asked of an upgrade, in which state.

use peloton_model::UpgradeState::{
    self, Aborted, Failed, Paused, RolledBack, RollingBack, RollingForward, Succeeded,
};
use peloton_model::{Abort, UpgradeAsk, UpgradeRecord};
use peloton_store::keys;
use serde_json::{Value, json};

use crate::outcomes::Pair;
use crate::support::upgrade::{World, program, to, version, workflow};
use crate::support::{Fault, put, shard};

/// A state that an upgrade may be in, by what its shard says and what was asked.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Case {
    NotLookedAt,
    Said(UpgradeState),
    PausedBack,
    /// Asked to wait; the shard has not said so.
    Pausing(UpgradeState),
    /// Asked to go on; the shard has not said so.
    Resuming,
    /// Asked to go back; the shard has not said so.
    Turning,
}

impl Case {
    const ALL: [Self; 13] = [
        Self::NotLookedAt,
        Self::Said(RollingForward),
        Self::Said(RollingBack),
        Self::Said(Paused),
        Self::PausedBack,
        Self::Said(Succeeded),
        Self::Said(RolledBack),
        Self::Said(Aborted),
        Self::Said(Failed),
        Self::Pausing(RollingForward),
        Self::Pausing(RollingBack),
        Self::Resuming,
        Self::Turning,
    ];

    async fn set_up(self) -> (World, String) {
        let (world, id) = World::upgraded(3, None).await;
        match self {
            Self::NotLookedAt => {}
            Self::Said(Paused) | Self::PausedBack => {
                world.ask("Pause", &id).await;
                world.say(Paused, |actual| actual.back = self == Self::PausedBack).await;
            }
            Self::Said(Aborted) => {
                world.ask("Abort", &id).await;
                world.say(Aborted, |_| {}).await;
            }
            Self::Said(state) => world.say(state, |_| {}).await,
            Self::Pausing(state) => {
                world.say(state, |_| {}).await;
                world.ask("Pause", &id).await;
            }
            Self::Resuming => {
                world.ask("Pause", &id).await;
                world.say(Paused, |_| {}).await;
                world.ask("Resume", &id).await;
            }
            Self::Turning => {
                world.say(RollingForward, |_| {}).await;
                world.ask("Rollback", &id).await;
            }
        }
        (world, id)
    }

    /// As users see it.
    fn state(self) -> UpgradeState {
        match self {
            Self::NotLookedAt | Self::Turning => RollingForward,
            Self::Said(state) => state,
            Self::PausedBack | Self::Pausing(_) | Self::Resuming => Paused,
        }
    }
}

#[derive(Debug, PartialEq)]
enum Came {
    Asked(Box<UpgradeAsk>),
    /// Asked already.
    Same,
    Refused(u64),
    New(u64),
}

async fn came(control: &str, case: Case) -> Came {
    let (world, id) = case.set_up().await;
    let shown = world.get(&id).await;
    assert_eq!(shown["state"].as_u64().unwrap_or(0), case.state() as u64, "{case:?}");
    let before = world.record().await;
    let answer = world.ask(control, &id).await;
    let after = world.record().await;
    if let Some(refused) = answer.get("invalidState") {
        assert_eq!(after, before);
        assert_eq!(refused["workflowId"], json!({"value": id}));
        return Came::Refused(refused["invalidState"].as_u64().unwrap_or(0));
    }
    let result = answer["result"]["value"].as_str().unwrap_or(&id);
    if result != id {
        return Came::New(version(result));
    }
    if after == before {
        return Came::Same;
    }
    assert_eq!((after.generation, after.version), (before.generation + 1, before.version));
    let mut ask = after.upgrade.unwrap();
    ask.mark = 0;
    assert_eq!((ask.by.as_str(), after.updated_by.as_str()), ("tester", "tester"));
    Came::Asked(ask)
}

#[tokio::test]
async fn every_request_in_every_state() {
    for case in Case::ALL {
        let (world, _) = case.set_up().await;
        let ask = world.record().await.upgrade.unwrap();
        let by = || "tester".to_owned();
        let with = |change: fn(&mut UpgradeAsk)| {
            let mut ask = UpgradeAsk { by: by(), mark: 0, ..(*ask).clone() };
            change(&mut ask);
            Came::Asked(Box::new(ask))
        };
        let refused = || Came::Refused(case.state() as u64);
        let active = case.state().is_active();

        let expected = match case {
            _ if !active || ask.paused => refused(),
            _ => with(|ask| ask.paused = true),
        };
        assert_eq!(came("Pause", case).await, expected, "{case:?}");

        let expected = match case {
            Case::Resuming => Came::Same,
            _ if active && ask.paused => with(|ask| ask.paused = false),
            _ => refused(),
        };
        assert_eq!(came("Resume", case).await, expected, "{case:?}");

        let expected = if active { with(|ask| ask.abort = Some(Abort::Hard)) } else { refused() };
        assert_eq!(came("Abort", case).await, expected, "{case:?}");

        let back = |ask: &mut UpgradeAsk| {
            (ask.rollback, ask.paused, ask.abort) = (true, false, None);
        };
        let expected = match case {
            Case::Said(Succeeded) => Came::New(3),
            Case::Said(RollingBack | RolledBack)
            | Case::PausedBack
            | Case::Pausing(RollingBack) => refused(),
            Case::Turning => Came::Same,
            _ => with(back),
        };
        assert_eq!(came("Rollback", case).await, expected, "{case:?}");
    }
}

#[tokio::test]
async fn what_is_asked_and_not_done_yet_is_said() {
    let (world, id) = World::upgraded(3, Some(RollingForward)).await;
    let message = async || world.get(&id).await["message"].as_str().unwrap().to_owned();
    assert_eq!(message().await, "is ROLLING_FORWARD");
    let behind = "by tester; its shard has not written that down yet";
    for (control, text) in [
        ("Pause", "asked to wait"),
        ("Rollback", "asked to go back"),
        ("Abort", "asked to end where it is"),
    ] {
        world.ask(control, &id).await;
        assert_eq!(message().await, format!("{text} {behind}"));
    }
    // Once hard is hard; back is a way out of it.
    let mut soft = workflow(&id);
    soft["softAbort"] = json!(true);
    world.master.call("UpgradeManager.Abort", soft).await;
    assert_eq!(world.record().await.upgrade.unwrap().abort, Some(Abort::Hard));
    world.say(Aborted, |_| {}).await;
    assert_eq!(message().await, "is ABORTED");
    world.ask("Rollback", &id).await;
    assert_eq!(message().await, format!("asked to go back {behind}"));
    // On its way, so another one has to say that it takes its place.
    let answer = world.master.call("UpgradeManager.Create", to(program(3, 3))).await;
    assert_eq!(answer["alreadyExists"]["id"]["value"], id);
    let status = world.master.call("JobManager.GetStatus", json!({"id": {"value": "a"}})).await;
    assert_eq!(status["result"]["activeUpgrade"], id);

    let (world, id) = World::upgraded(3, None).await;
    let mut soft = workflow(&id);
    soft["softAbort"] = json!(true);
    world.master.call("UpgradeManager.Abort", soft).await;
    assert_eq!(world.record().await.upgrade.unwrap().abort, Some(Abort::Soft));
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let (world, id) = World::upgraded(3, None).await;
    let other_mark = format!("{}{}", &id[..id.len() - 8], "ffffffff");
    for control in ["Get", "GetEvents", "Pause", "Resume", "Rollback", "Abort"] {
        for none in ["none-1-00000000", "a-3-00000000", &other_mark] {
            let answer = world.ask(control, none).await;
            assert_eq!(answer["notFound"]["id"], json!({"value": none}), "{control}: {answer}");
        }
        let procedure = format!("UpgradeManager.{control}");
        for (request, text) in [
            (json!({}), "workflowId: missing"),
            (workflow("x"), "workflowId.value: upgrade id \"x\" is not of the form"),
        ] {
            let reply = world.master.yarpc(&procedure, &request).await;
            assert!(reply.status == 400 && reply.body.contains(text), "{}", reply.body);
        }
    }
}

#[tokio::test]
async fn a_finished_upgrade_is_taken_back_by_a_new_one() {
    let (world, id) = World::upgraded(5, None).await;
    world.say(Succeeded, |actual| actual.finished_at = 7).await;
    let goals = json!({"id": {"value": "a"}});
    world.master.call("JobManager.Restart", goals).await;
    let answer = world.ask("Rollback", &id).await;
    let new = answer["result"]["value"].as_str().unwrap();
    let record = world.record().await;
    let ask = record.upgrade.clone().unwrap();
    assert_eq!((version(new), record.version, record.instance_count), (3, 3, 3));
    assert_eq!((ask.from, ask.from_count), (2, 5), "what it falls back to itself");
    let shown = world.get(new).await;
    assert_eq!(shown["takesBack"], json!({"value": id}));
    assert_eq!((&shown["fromVersion"], &shown["toVersion"]), (&json!(2), &json!(3)));
    let old = world.get(&id).await;
    assert_eq!((&old["state"], &old["finishedAt"]), (&json!(3), &json!(7)), "history stays");
    let got = world.master.call("JobManager.Get", json!({"id": {"value": "a"}})).await;
    assert_eq!(got["result"]["command"]["value"], "sleep 1");
    // It is not the last any more.
    assert_eq!(world.ask("Rollback", &id).await["invalidState"]["invalidState"], 3);
    // And can itself be taken back.
    world.say(Succeeded, |_| {}).await;
    let answer = world.ask("Rollback", new).await;
    assert_eq!(version(answer["result"]["value"].as_str().unwrap()), 4);
    let got = world.master.call("JobManager.Get", json!({"id": {"value": "a"}})).await;
    assert_eq!(got["result"]["command"]["value"], "sleep 2");
}

#[tokio::test]
async fn a_finished_upgrade_that_is_behind_is_not_taken_back() {
    let (world, id) = World::upgraded(3, Some(Succeeded)).await;
    let mut config = program(2, 3);
    config["description"] = json!("changed since");
    let update = json!({"id": {"value": "a"}, "config": config});
    world.master.call("JobManager.Update", update).await;
    for control in ["Rollback", "Pause", "Resume", "Abort"] {
        let answer = world.ask(control, &id).await;
        assert_eq!(answer["invalidState"]["invalidState"], 3, "{control}");
    }

    // From 10 instances of which 3 must be up to 3, and back: none might be down.
    let world = World::start().await;
    let promise = |n, count: u32| -> Value {
        let mut config = program(n, count);
        config["sla"] = json!({"minimumInstanceCount": 3});
        config
    };
    let update = json!({"id": {"value": "a"}, "config": promise(1, 10)});
    world.master.call("JobManager.Update", update).await;
    let id = world.upgrade(to(promise(2, 3))).await;
    world.say(Succeeded, |_| {}).await;
    let reply = world.master.yarpc("UpgradeManager.Rollback", &workflow(&id)).await;
    assert_eq!(reply.headers["rpc-error-code"], "failed-precondition");
    assert!(reply.body.contains("sla.minimumInstanceCount: 3 is not allowed"), "{}", reply.body);
}

#[tokio::test]
async fn the_record_of_another_job_of_the_name_says_nothing() {
    let (world, id) = World::upgraded(3, Some(Succeeded)).await;
    world.master.call("JobManager.Delete", json!({"id": {"value": "a"}})).await;
    assert!(world.ask("Get", &id).await.get("notFound").is_some());
    let create = json!({"id": {"value": "a"}, "config": program(1, 3)});
    world.master.call("JobManager.Create", create).await;
    let new = world.upgrade(to(program(2, 3))).await;
    assert_eq!((version(&new), version(&id)), (2, 2));
    let shown = world.get(&new).await;
    assert_eq!(shown.get("state"), None, "rolling forward");
    assert_eq!(shown["message"], "its shard has not looked at it yet");
    assert!(world.ask("Get", &id).await.get("notFound").is_some());
    let event = json!({"at": 1, "kind": "STARTED"});
    put(&world.store, keys::actual_event(shard("a"), "a", 2, 0), &event).await;
    assert_eq!(world.ask("GetEvents", &new).await, json!({}));
}

/// Asks for it, and lets the upgrade go on before the asked master is told what became of its commit.
async fn asked_while(control: &'static str, fault: Fault, state: UpgradeState) -> (Value, u64) {
    let pair = Pair::start().await;
    let create = json!({"id": {"value": "a"}, "config": program(1, 3)});
    pair.b.call("JobManager.Create", create).await;
    let answer = pair.b.call("UpgradeManager.Create", to(program(2, 3))).await;
    let id = answer["result"]["value"].as_str().unwrap().to_owned();
    pair.faulty.set(Some(fault));
    let a = pair.a.clone();
    let asked =
        tokio::spawn(
            async move { a.call(&format!("UpgradeManager.{control}"), workflow(&id)).await },
        );
    pair.faulty.held().await;
    let mark = pair.record().await.unwrap().upgrade.unwrap().mark;
    let actual = UpgradeRecord { mark, from: 1, to: 2, state, ..Default::default() };
    put(&pair.store, keys::actual_upgrade(shard("a"), "a", 2), &actual).await;
    pair.faulty.tell();
    let answer = asked.await.unwrap();
    (answer, pair.record().await.unwrap().generation)
}

#[tokio::test]
async fn what_ends_while_a_request_is_in_doubt() {
    let refused = |answer: &Value| answer["invalidState"]["invalidState"].clone();
    // It was done, whatever has become of the upgrade since.
    for control in ["Pause", "Rollback", "Abort"] {
        for state in [RollingBack, RolledBack, Succeeded] {
            let (answer, generation) = asked_while(control, Fault::HoldAnswer, state).await;
            assert_eq!((refused(&answer), generation), (Value::Null, 3), "{control}: {answer}");
        }
    }
    // It was not. To go back is refused then; to wait or to end may still land, and does no harm.
    let (answer, generation) = asked_while("Rollback", Fault::HoldCommit, RolledBack).await;
    assert_eq!((refused(&answer), generation), (json!(4), 2));
    let (answer, _) = asked_while("Rollback", Fault::HoldCommit, Succeeded).await;
    assert_eq!(version(answer["result"]["value"].as_str().unwrap()), 3);
    for control in ["Pause", "Abort"] {
        let (answer, generation) = asked_while(control, Fault::HoldCommit, RolledBack).await;
        assert_eq!((answer, generation), (json!({}), 3), "{control}");
    }
}
