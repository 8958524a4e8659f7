//! What stays of a job that is deleted is what was to stay, and can be deleted or used again.

use serde_json::{Value, json};

use super::{ids, persistent, seen, volumes, wait_volumes, with_volumes};
use crate::support::{Audit, Cluster, Job, PATIENCE, State, shared_mesos, wait_until};

fn config() -> Value {
    let volumes = json!([persistent("kept", "RETAIN"), persistent("gone", "DELETE")]);
    with_volumes(2, "echo $PELOTON_INSTANCE_ID >> kept/who; exec sleep 1000", volumes)
}

/// Just so many MB of disk are reserved, and nothing else.
fn wait_disk(audit: &Audit, mb: i64) {
    wait_until(&format!("{mb} MB of disk reserved"), PATIENCE, || {
        let found = audit.reserved()?;
        let wanted = if mb == 0 { vec![] } else { vec![("disk".to_owned(), mb * 1000)] };
        if found.iter().map(|(name, n)| (name.clone(), *n)).eq(wanted) {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    });
}

#[test]
fn retained_volumes_outlive_their_job_until_they_are_deleted_or_adopted() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "retained", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let job = Job::create(&cluster, "retained", &config());
    let first = job.wait_running(2);
    wait_volumes(&cluster, "retained", 4, 2);
    let kept = ids(&volumes(&cluster, "retained"));
    let in_use = cluster.cli(&["volume", "delete", &kept[0], "--yes"]);
    assert_eq!(in_use.status.code(), Some(4), "it is mounted: {in_use:?}");

    job.delete();
    job.wait_gone();
    let left = wait_volumes(&cluster, "retained", 2, 3);
    assert!(left.iter().all(|volume| volume["name"] == "kept"), "{left:?}");
    wait_disk(&audit, 32);

    // One is deleted; the other is what the new job's instance goes on with.
    let of = |instance: u64| {
        let found = left.iter().find(|one| one["instanceId"].as_u64().unwrap_or(0) == instance);
        found.unwrap()["id"]["value"].as_str().unwrap().to_owned()
    };
    let deleted = cluster.cli(&["volume", "delete", &of(0), "--yes"]);
    assert!(deleted.status.success(), "{deleted:?}");
    wait_volumes(&cluster, "retained", 1, 3);
    wait_disk(&audit, 16);
    let unknown = cluster.cli(&["volume", "get", &of(0)]);
    assert!(!unknown.status.success(), "{unknown:?}");

    let job = Job::create(&cluster, "retained", &config());
    job.tasks_call("Stop", 0, 1);
    job.wait_states(&[State::Killed, State::Killed]);
    let released = cluster.cli(&["volume", "release", "retained", "1", "--yes"]);
    let fresh = released.status.success();
    let adopted = wait_until("adoption", PATIENCE, || {
        let adopted = cluster.cli(&["volume", "adopt", &of(1), "retained", "1"]);
        if adopted.status.success() { Ok(adopted) } else { Err(format!("{adopted:?}")) }
    });
    drop(adopted);
    job.tasks_call("Start", 0, 1);
    let again = job.wait_running(2);
    assert_eq!(again[&1].host, first[&1].host, "where its volume is");
    wait_until("what was written by the first job, and then by the second", PATIENCE, || {
        let who = seen(mesos, &again[&1], "kept/who");
        if who == "1\n1\n" { Ok(()) } else { Err(who) }
    });
    let all = volumes(&cluster, "retained");
    let retained = all.iter().filter(|one| one["state"] == 3).count();
    assert!(retained <= usize::from(fresh), "{all:?}");

    job.delete();
    job.wait_gone();
    wait_until("no volume but retained ones", PATIENCE, || {
        let all = volumes(&cluster, "retained");
        if all.iter().all(|one| one["state"] == 3) { Ok(()) } else { Err(format!("{all:?}")) }
    });
    for id in ids(&volumes(&cluster, "retained")) {
        let deleted = cluster.cli(&["volume", "delete", &id, "--yes"]);
        assert!(deleted.status.success(), "{deleted:?}");
    }
    audit.wait_nothing_left();
    wait_volumes(&cluster, "retained", 0, 3);
}
