//! One call creates ten thousand instances.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{Audit, Cluster, Job, PATIENCE, config, shared_mesos, wait_until};

const INSTANCES: u32 = 10_000;

/// All instances, page by page: the number of pages, and every number as often as it came.
fn pages(cluster: &Cluster, job: &str, limit: u32) -> (u32, Vec<u32>) {
    let (mut pages, mut numbers, mut token) = (0, Vec::new(), String::new());
    loop {
        let answer = cluster.yarpc(
            "TaskManager.List",
            json!({"jobId": {"value": job}, "limit": limit, "pageToken": token, "withoutConfig": true}),
        );
        pages += 1;
        let page = answer["result"]["value"].as_object().unwrap();
        assert!(page.len() <= limit as usize, "a page of {} for {limit}", page.len());
        numbers.extend(page.keys().map(|number| number.parse::<u32>().unwrap()));
        match answer.get("nextPageToken").and_then(Value::as_str) {
            Some(next) => token = next.to_owned(),
            None => return (pages, numbers),
        }
    }
}

#[test]
fn ten_thousand_instances_are_created_by_one_call_listed_in_pages_and_deleted() {
    let Some(mesos) = shared_mesos() else { return };
    let cluster = Cluster::start(mesos, "many", &[]);
    let audit = Audit::new(mesos, cluster.role());
    // No agent of the testbed has so many CPUs: everything waits.
    let resource = json!({"resource": {"cpusLimit": 64, "memLimitMb": 32, "diskLimitMb": 16}});
    let wanted = config(INSTANCES, "sleep 1000", resource);
    let asked = Instant::now();
    let job = Job::create(&cluster, "many", &wanted);
    println!("JobManager.Create of {INSTANCES} instances took {:?}", asked.elapsed());

    // What was answered is so at once, on whatever the shard has got to.
    assert_eq!(job.status()["instanceCount"], INSTANCES);
    let (count, mut numbers) = pages(&cluster, "many", 700);
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..INSTANCES), "{} instances", numbers.len());
    assert_eq!(count, INSTANCES.div_ceil(700));

    let waiting = wait_until("reasons for waiting", PATIENCE, || {
        let status = job.status();
        let waiting = status["waiting"].as_array().into_iter().flatten();
        let complete = |one: &&Value| {
            one["instances"] == INSTANCES && one["agentsLookedAt"] == 4 && one["lacking"].is_array()
        };
        waiting.clone().find(complete).cloned().ok_or_else(|| status.to_string())
    });
    assert_eq!(waiting["lacking"], json!([{"reason": "cpus", "agents": 4}]));
    assert!(!waiting["reason"].as_str().unwrap().is_empty());
    let (_, again) = pages(&cluster, "many", 10_000);
    assert_eq!(again.iter().collect::<BTreeSet<_>>().len(), INSTANCES as usize);
    // A range of them.
    let body = json!({"jobId": {"value": "many"}, "range": {"from": 9_990, "to": 20_000}});
    let answer = cluster.yarpc("TaskManager.List", body);
    assert_eq!(answer["result"]["value"].as_object().unwrap().len(), 10);

    let asked = Instant::now();
    job.delete();
    println!("its deletion, to the end, took {:?}", asked.elapsed());
    audit.wait_nothing_left();
}
