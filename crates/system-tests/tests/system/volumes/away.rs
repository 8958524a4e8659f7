//! An instance waits for the agent of its volumes, until somebody says that it need not.

use serde_json::json;

use super::{persistent, wait_held, wait_volumes, with_volumes};
use crate::agents::{SETTINGS, agent_of, mesos};
use crate::support::{Audit, Cluster, Job, State};

#[test]
fn an_instance_waits_for_the_agent_of_its_volume_until_it_is_released() {
    let Some(mut mesos) = mesos() else { return };
    // Without a volume, it would be replaced after ten seconds.
    let cluster = Cluster::start(&mesos, "away", &SETTINGS);
    let audit = Audit::new(&mesos, cluster.role());
    let volumes_of = json!([persistent("data", "DELETE")]);
    let job = Job::create(&cluster, "away", &with_volumes(1, "exec sleep 1000", volumes_of));
    let first = job.wait_running(1).remove(&0).unwrap();
    wait_volumes(&cluster, "away", 1, 2);
    let agent = agent_of(&first);
    mesos.kill_agent_machine(agent).unwrap();
    let waiting = job.wait_task(0, "waits and says so", |task| {
        task.runtime["message"].as_str().unwrap_or_default().contains("waits for its agent")
    });
    assert_eq!(waiting.id, first.id, "nothing was started elsewhere");

    let released = cluster.cli(&["volume", "release", "away", "0", "--yes"]);
    assert!(released.status.success(), "{released:?}");
    let moved =
        job.wait_task(0, "elsewhere", |task| task.run > first.run && task.state == State::Running);
    assert_ne!(agent_of(&moved), agent, "with a new volume");
    // The old one goes when its agent is back.
    mesos.start_agent(agent).unwrap();
    wait_volumes(&cluster, "away", 1, 2);
    wait_held(&audit, 1, 16);
    job.delete();
    audit.wait_nothing_left();
}
