//! What a job leaves behind: nothing.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::{Audit, Cluster, Job, PATIENCE, State, shared_mesos, wait_until};

#[test]
fn a_deleted_job_leaves_neither_tasks_nor_reservations() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "deletion", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let doomed = Job::service(&cluster, "doomed", 5, "sleep 1000", json!({}));
    let batch = Job::service(&cluster, "doomed-batch", 3, "sleep 1000", json!({"type": "BATCH"}));
    let stays = Job::service(&cluster, "stays", 2, "sleep 1000", json!({}));
    let staying = stays.wait_running(2);
    doomed.wait_running(5);
    batch.wait_running(3);
    // Only services have slots: batch instances have nothing to come back to.
    audit.wait_slots(7);

    doomed.delete();
    batch.delete();
    audit.wait_tasks(&staying.values().map(|task| task.id.clone()).collect());
    audit.wait_slots(2);
    let found = stays.wait_running(2);
    assert!(found.values().map(|task| &task.id).eq(staying.values().map(|task| &task.id)));

    stays.delete();
    audit.wait_nothing_left();
    assert!(cluster.yarpc("JobManager.Query", json!({})).get("result").is_none());
}

#[test]
fn a_stopped_service_keeps_its_reservations_until_it_is_deleted() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "stopped", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let job = Job::service(&cluster, "sleepy", 3, "sleep 1000", json!({}));
    let before = job.wait_running(3);
    job.call("Stop");
    job.wait_states(&[State::Killed; 3]);
    audit.wait_tasks(&BTreeSet::new());
    audit.wait_slots(3);
    job.call("Start");
    let after = job.wait_running(3);
    for (number, task) in &after {
        assert_eq!(task.slot, before[number].slot, "the slot of instance {number}");
        assert_ne!(task.id, before[number].id, "a run has its own id");
    }
    job.delete();
    audit.wait_nothing_left();
}

#[test]
fn a_job_of_the_same_name_gets_new_task_ids() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "again", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let mut seen = BTreeSet::new();
    for round in 1..=3 {
        let job = Job::service(&cluster, "phoenix", 3, "sleep 1000", json!({}));
        seen.extend(job.wait_running(3).into_values().map(|task| task.id));
        assert_eq!(seen.len(), 3 * round, "task ids of {round} jobs of the name: {seen:?}");
        // At once: the next one is created while the last one's tasks are still ending.
        job.call("Delete");
    }
    wait_until("an audit without the job", PATIENCE, || {
        let left = audit.tasks()?;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    audit.wait_nothing_left();
}

#[test]
fn two_clusters_in_one_role_leave_each_others_reservations_alone() {
    let Some(mesos) = shared_mesos() else { return };
    // An operator's mistake: two stores, one role. Jobs of one name end up with equal slot labels.
    let clusters =
        [Cluster::start(mesos, "shared-role", &[]), Cluster::start(mesos, "shared-role", &[])];
    let audit = Audit::new(mesos, "shared-role");
    let jobs = [0, 1].map(|i| Job::service(&clusters[i], "same", 3, "sleep 1000", json!({})));
    let before = [0, 1].map(|i| jobs[i].wait_running(3));
    for run in 2..5 {
        for job in &jobs {
            job.call("Restart");
        }
        for i in [0, 1] {
            for number in 0..3 {
                let task = jobs[i].wait_task(number, "running again", |task| {
                    task.state == State::Running && task.run == run
                });
                assert_eq!(task.slot, before[i][&number].slot, "the slot of instance {number}");
            }
        }
    }
    audit.wait_slots(6);
    wait_until("a master that names the other cluster", PATIENCE, || {
        let all: Vec<_> = clusters.iter().map(|cluster| cluster.health().to_string()).collect();
        if all.iter().any(|health| health.contains("another cluster has reservations in this role"))
        {
            return Ok(());
        }
        Err(all.join("\n"))
    });
    jobs.iter().for_each(Job::delete);
    audit.wait_nothing_left();
}
