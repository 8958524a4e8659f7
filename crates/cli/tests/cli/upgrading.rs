//! `upgrade`, `job history` and `job diff`.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use peloton_proto::peloton::job::{JobConfig, JobStatus};
use peloton_proto::peloton::upgrade::{State, UpgradeInfo, WorkflowId};

use crate::data;
use crate::master::{Master, Upgrade};
use crate::transcript::Transcript;

const JOB: &str = "id: web\ninstanceCount: 9\nresource: {cpusLimit: 0.5, memLimitMb: 64}\ncommand: {value: other}\n";

fn master() -> (Master, Transcript) {
    let master = Master::with_jobs();
    let t = Transcript::new(&master.address());
    t.file("job.yaml", JOB);
    (master, t)
}

/// Adds upgrades, each with what is told of it.
fn add(master: &Master, upgrades: impl IntoIterator<Item = Vec<UpgradeInfo>>) {
    for infos in upgrades {
        let id = infos[0].workflow_id.clone().unwrap().value;
        master.state().upgrades.insert(id, infos.into());
    }
}

/// What is told of an upgrade that is created.
fn upgrading(infos: Vec<UpgradeInfo>) -> Upgrade {
    let id = WorkflowId { value: "web-3-0000abcd".into() };
    infos.into_iter().map(|info| UpgradeInfo { workflow_id: Some(id.clone()), ..info }).collect()
}

/// One under way that has begun to go wrong.
fn under_way() -> UpgradeInfo {
    let mut failed = data::in_hand(3, "FAILED", "FAILED", 2);
    (failed.tries, failed.message) = (2, "command exited\nwith status 1".into());
    UpgradeInfo {
        num_tasks_failed: 1,
        num_tasks_remaining: 5,
        message: "2 instances wait for room".into(),
        displaced: vec![0, 1, 5],
        displaced_count: 3,
        changes: data::plan().changes,
        instances: vec![
            failed,
            data::in_hand(4, "PREPARE", "RUNNING", 1),
            data::in_hand(5, "SWITCH", "RUNNING", 2),
        ],
        ..data::upgrade(2, State::RollingForward, 4)
    }
}

#[test]
fn creation() {
    let (master, mut t) = master();
    t.file("two.yaml", "id: a\ncommand: {value: x}\n---\nid: b\ncommand: {value: x}\n");
    let all = "--batch 10% --max-failures 2 --instance-retries 1 --health-deadline 5m --min-healthy 0 \
               --placement-deadline 90s --no-rollback --start-paused --stop-before";
    assert_eq!(t.run("upgrade create -f job.yaml"), 0);
    assert_eq!(t.run("upgrade create index -f job.yaml --batch 3 -o json"), 0);
    assert_eq!(t.run(&format!("upgrade create -f job.yaml {all}")), 0);
    assert_eq!(t.run("upgrade create -f job.yaml --dry-run --expected-version 2"), 0);
    assert_eq!(t.run("upgrade create -f job.yaml --dry-run -o yaml"), 0);
    add(&master, [vec![under_way()]]);
    assert_eq!(t.run("upgrade create -f job.yaml"), 4);
    assert_eq!(t.run("upgrade create -f job.yaml --replace"), 0);
    for (line, code) in [
        ("--expect-version 1", 4),
        ("--batch 0", 2),
        ("--batch 120%", 2),
        ("--health-deadline 500ms", 2),
        ("--dry-run --watch", 2),
    ] {
        assert_eq!(t.run(&format!("upgrade create -f job.yaml {line}")), code, "{line}");
    }
    assert_eq!(t.run("upgrade create nojob -f job.yaml"), 3);
    assert_eq!(t.run("upgrade create -f two.yaml"), 2);
    t.check("upgrade-create.txt");
    let rest = "\"maxInstanceRetries\":1,\"maxFailedInstances\":2,\"healthDeadlineSecs\":300,\
                \"minHealthySecs\":0,\"placementDeadlineSecs\":90,\"rollbackOnFailure\":false,\
                \"startPaused\":true";
    let want = [
        "upgrade web with 9: {}".to_owned(),
        "upgrade index with 9: {\"batchSize\":3}".to_owned(),
        format!("upgrade web with 9: {{\"batchPercentage\":10,\"stopBeforeUpgrade\":true,{rest}}}"),
        "upgrade web with 9, replacing: {}".to_owned(),
    ];
    assert_eq!(master.state().requests, want);
}

#[test]
fn looking() {
    let (master, mut t) = master();
    let failure = "instance 1: command exited with status 1".to_owned();
    let before = UpgradeInfo { failure, ..data::upgrade(1, State::RolledBack, 10) };
    add(&master, [vec![before], vec![under_way()]]);
    for line in [
        "upgrade get web",
        "upgrade get web-1-00000001",
        "upgrade get web -o json",
        "upgrade list",
        "upgrade list web --limit 1",
        "upgrade list --limit 1 --page 1 -o yaml",
        "upgrade list index",
        "upgrade events web",
        "upgrade events web-1-00000001 -o json",
        "job status web",
    ] {
        assert_eq!(t.run(line), 0, "{line}");
    }
    for (line, code) in [
        ("upgrade get web-9-00000009", 3),
        ("upgrade get index", 3),
        ("upgrade get nojob", 3),
        ("upgrade get a/b", 2),
        ("upgrade events web-9-00000009", 3),
        ("upgrade watch web-9-00000009", 3),
    ] {
        assert_eq!(t.run(line), code, "{line}");
    }
    t.check("upgrade-look.txt");
}

#[test]
fn steering() {
    let (master, mut t) = master();
    add(&master, [vec![data::upgrade(1, State::Succeeded, 10)], vec![under_way()]]);
    for (line, code) in [
        ("upgrade pause web", 0),
        ("upgrade resume web-2-00000002 -o json", 0),
        ("upgrade rollback web", 0),
        ("upgrade abort web", 0),
        ("upgrade abort web --soft -o yaml", 0),
        ("upgrade rollback web-1-00000001", 0),
        ("upgrade pause web-1-00000001", 4),
        ("upgrade abort web-9-00000009", 3),
    ] {
        assert_eq!(t.run(line), code, "{line}");
    }
    t.check("upgrade-steer.txt");
    let want = [
        "pause web-2-00000002",
        "resume web-2-00000002",
        "rollback web-2-00000002",
        "abort web-2-00000002",
        "softly abort web-2-00000002",
        "rollback web-1-00000001",
    ];
    assert_eq!(master.state().requests, want);
}

#[test]
fn watching_until_it_has_ended() {
    let (master, mut t) = master();
    let with = |instances, info| UpgradeInfo { instances, ..info };
    let forward = |done| data::upgrade(3, State::RollingForward, done);
    let hand = data::in_hand;
    master.state().upgrading = upgrading(vec![
        with(vec![hand(0, "PREPARE", "RUNNING", 2), hand(1, "PREPARE", "RUNNING", 2)], forward(0)),
        with(vec![hand(0, "SWITCH", "LAUNCHED", 3), hand(1, "PREPARE", "RUNNING", 2)], forward(0)),
        with(vec![hand(0, "SWITCH", "LAUNCHED", 3), hand(1, "PREPARE", "RUNNING", 2)], forward(0)),
        with((2..27).map(|i| hand(i, "SWITCH", "LAUNCHED", 3)).collect(), forward(2)),
        data::upgrade(3, State::Succeeded, 10),
    ]);
    assert_eq!(t.run("upgrade create -f job.yaml --watch"), 0);
    let failure = "instance 2: command exited\nwith status 1".to_owned();
    let back = UpgradeInfo {
        failure: failure.clone(),
        num_tasks_failed: 1,
        ..data::upgrade(3, State::RollingBack, 8)
    };
    let ended = |state| UpgradeInfo { failure: failure.clone(), ..data::upgrade(3, state, 10) };
    master.state().upgrades.clear();
    master.state().upgrading = upgrading(vec![
        with(vec![hand(2, "SWITCH", "FAILED", 3)], forward(2)),
        with(vec![hand(2, "BACK", "KILLED", 3)], back),
        ended(State::RolledBack),
    ]);
    assert_eq!(t.run("upgrade create -f job.yaml --watch -o json"), 8);
    // Another upgrade of the job is under way; then none is.
    add(&master, [vec![ended(State::Aborted)]]);
    assert_eq!(t.run("upgrade watch web-3-00000003"), 9);
    let status = |active: &str| JobStatus {
        current_version: 3,
        active_upgrade: active.into(),
        ..data::waiting_status()
    };
    let stand = |statuses: &[&str]| {
        let statuses = statuses.iter().map(|active| Some(status(active))).collect();
        master.state().jobs.get_mut("web").unwrap().statuses = statuses;
    };
    stand(&[""]);
    for (state, code) in [(State::Aborted, 9), (State::Failed, 10), (State::Succeeded, 0)] {
        add(&master, [vec![ended(state)]]);
        assert_eq!(t.run("upgrade watch web-3-00000003"), code);
    }
    // One that failed and is asked to go back is not at its end, though its shard has not begun.
    stand(&["web-3-00000003", ""]);
    add(&master, [vec![ended(State::Failed), ended(State::RolledBack)]]);
    assert_eq!(t.run("upgrade watch web-3-00000003"), 8);
    // What was asked for is what is waited for.
    add(&master, [vec![forward(2), ended(State::RolledBack)]]);
    assert_eq!(t.run("upgrade rollback web-3-00000003 --watch"), 0);
    add(&master, [vec![forward(2), ended(State::Aborted)]]);
    assert_eq!(t.run("upgrade abort web-3-00000003 --watch"), 0);
    add(&master, [vec![forward(2), ended(State::Succeeded)]]);
    assert_eq!(t.run("upgrade abort web-3-00000003 --soft --watch"), 4);
    let paused = UpgradeInfo { message: "paused by ann".into(), ..forward(2) };
    add(&master, [vec![UpgradeInfo { state: State::Paused.into(), ..paused }]]);
    assert_eq!(t.run("upgrade watch web-3-00000003 --watch-timeout 1s"), 6);
    add(&master, [vec![data::upgrade(3, State::Succeeded, 10)]]);
    assert_eq!(t.run("upgrade watch web-3-00000003 -o json"), 0);
    t.check("upgrade-watch.txt");
}

#[test]
fn ctrl_c_leaves_the_upgrade_alone() {
    let (master, t) = master();
    master.state().upgrading = upgrading(vec![data::upgrade(3, State::RollingForward, 4)]);
    let mut command = t.command("upgrade create -f job.yaml --watch");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    // It watches once it has written its first line.
    let first = lines.next().unwrap().unwrap();
    assert_eq!(first, "web-3-0000abcd: ROLLING_FORWARD, 4 of 10 at version 3");
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let rest: Vec<_> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let want = [
        "error: stopped watching upgrade \"web-3-0000abcd\"; the upgrade itself goes on",
        "hint: `peloton upgrade watch web-3-0000abcd` shows it again",
    ];
    assert_eq!(rest, want);
    assert_eq!(master.state().requests, ["upgrade web with 9: {}"]);
}

#[test]
fn versions() {
    let (master, mut t) = master();
    let made_by = data::upgrade(2, State::Succeeded, 10);
    add(&master, [vec![made_by]]);
    let mut state = master.state();
    let web = state.jobs.get_mut("web").unwrap();
    let mut first = JobConfig { instance_count: 4, ..web.config.clone() };
    first.change_log.as_mut().unwrap().version = 1;
    first.command.as_mut().unwrap().value = Some("echo hi\nsleep 1000\n".into());
    first.description = "the first".into();
    web.versions.push(first);
    drop(state);
    for line in [
        "job history web",
        "job history web --limit 1",
        "job history web --limit 1 -o yaml",
        "job history index",
        "job diff web",
        "job diff web --from 2 --to 1",
        "job diff web --from 2",
        "job diff web --to 2 -o json",
        "job diff -f job.yaml",
        "job diff web -f job.yaml --from 1 -o yaml",
    ] {
        assert_eq!(t.run(line), 0, "{line}");
    }
    t.file("bad.yaml", "id: web\nplacement: {constraints: [{attribute: a}]}\n");
    for (line, code) in [
        ("job diff -f bad.yaml", 2),
        ("job history nojob", 3),
        ("job diff index", 3),
        ("job diff web --from 7", 3),
        ("job diff web --to 1", 3),
        ("job diff nojob -f job.yaml", 3),
        ("job diff", 2),
        ("job diff web --to 1 -f job.yaml", 2),
        ("job diff web --from 0", 2),
    ] {
        assert_eq!(t.run(line), code, "{line}");
    }
    t.check("versions.txt");
}
