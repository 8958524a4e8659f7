//! Where something is missing, it is said what.

use peloton_testbed::Options;
use serde_json::json;

use super::{options, persistent, remote, wait_held, with_volumes};
use crate::support::{
    Audit, Cluster, FileServer, Job, PATIENCE, Upgrade, shared_mesos, wait_until,
};

#[test]
fn too_little_disk_is_said_and_so_are_volumes_that_can_not_be_filled() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "nodisk", &[]);
    let audit = Audit::new(mesos, cluster.role());
    let mut huge = persistent("huge", "DELETE");
    huge["sizeMb"] = json!(100_000_000);
    let job = Job::create(&cluster, "nodisk", &with_volumes(1, "exec sleep 1000", json!([huge])));
    wait_until("why it waits", PATIENCE, || {
        let status = job.status().to_string();
        if status.contains("\"disk\"") { Ok(()) } else { Err(status) }
    });
    job.delete();
    job.wait_gone();

    let server = FileServer::start(&[]);
    let volume = remote("data", &server.url("/nothing"), json!({}));
    let job = Job::create(&cluster, "empty", &with_volumes(1, "exec sleep 1000", json!([volume])));
    wait_until("why it waits", PATIENCE, || {
        let status = job.status().to_string();
        let told = status.contains("waits for its volumes: volume data")
            && status.contains("could not be fetched");
        if told { Ok(()) } else { Err(status) }
    });
    job.delete();
    audit.wait_nothing_left();
}

#[test]
fn an_agent_without_free_cpus_for_the_task_that_fetches_is_named() {
    let mut agents = Options::agents(1);
    agents.agents[0].resources = Some("cpus:0.15;mem:1024;disk:1024".to_owned());
    let Some(mesos) = peloton_testbed::start(&agents) else { return };
    let cluster = Cluster::start(&mesos, "nocpu", &[]);
    let audit = Audit::new(&mesos, cluster.role());
    let server = FileServer::start(&[("/a", "a\n"), ("/b", "b\n")]);
    let of = |path: &str| {
        let volume = remote("data", &server.url(path), json!({}));
        with_volumes(1, "exec sleep 1000", json!([volume]))
    };
    // The first volume is filled in the slot itself, before anything else runs there.
    let job = Job::create(&cluster, "nocpu", &of("/a"));
    let before = job.wait_running(1);
    wait_held(&audit, 1, 8);
    let places = audit.places().unwrap();
    let mut quick = options(1);
    quick["placementDeadlineSecs"] = json!(5);
    let upgrade = Upgrade::create(&job, &of("/b"), quick);
    let info = upgrade.wait(&cluster, "ROLLED_BACK");
    let failure = info["failure"].as_str().unwrap_or_default();
    assert!(failure.contains("lacks cpus for the task that fetches"), "{info}");
    assert_eq!(job.wait_running(1)[&0].id, before[&0].id, "nothing was stopped");
    audit.wait_places(&places);
    job.delete();
    audit.wait_nothing_left();
}
