//! The command line against the real API over a store in memory: no Mesos, so nothing runs, but
//! every request and answer is the real one. The first master of the list is not there. That jobs
//! run is for the system tests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that panics fails"
)]

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use peloton_api::cluster_view::{
    ClusterStatus, ClusterView, Connection, MasterStatus, ShardStatus,
};
use peloton_api::domain::system_clock;
use peloton_api::{Api, ApiServer, Options};
use peloton_store::MemoryStore;
use peloton_telemetry::{BuildInfo, Health, Metrics};
use tokio::runtime::Runtime;

/// What a master knows of the cluster.
struct Known(ClusterStatus);

impl ClusterView for Known {
    fn status(&self) -> ClusterStatus {
        self.0.clone()
    }
}

/// A master without Mesos, until it is dropped.
struct Master {
    address: SocketAddr,
    _runtime: Runtime,
}

impl Master {
    fn start() -> Self {
        Self::who_knows(ClusterStatus::default())
    }

    fn who_knows(cluster: ClusterStatus) -> Self {
        let runtime = Runtime::new().unwrap();
        let build = BuildInfo::default();
        let metrics = Metrics::new(&build);
        let store = Arc::new(MemoryStore::new());
        let api = Api::new(store, 8, system_clock(), Arc::new(Known(cluster)), &metrics);
        let options = Options { listen: "127.0.0.1".into(), port: 0, ..Options::default() };
        let bound = ApiServer::bind(options, api, Health::new(), metrics, build);
        let (server, address) = runtime.block_on(bound).unwrap();
        runtime.spawn(server.serve(std::future::pending()));
        Self { address, _runtime: runtime }
    }

    fn run(&self, line: &str) -> Output {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Command::new(env!("CARGO_BIN_EXE_peloton"))
            .args(line.split_whitespace())
            .env_clear()
            .env("PELOTON_MASTERS", format!("{nobody},{}", self.address))
            .env("USER", "ann")
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples"))
            .output()
            .unwrap()
    }

    /// What a command that must succeed writes.
    fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, line: &str) -> serde_json::Value {
        serde_json::from_str(&self.ok(&format!("-o json {line}"))).unwrap()
    }

    fn fails(&self, line: &str, code: i32) -> String {
        let output = self.run(line);
        assert_eq!(output.status.code(), Some(code), "{line}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

#[test]
fn jobs_from_creation_to_deletion() {
    let master = Master::start();
    assert_eq!(master.ok("job create -f service.yaml --strict"), "job hello-service created\n");
    master.ok("job create -f batch.yaml --strict");
    master.ok("job create myjob12345 -f original-2016.yaml --strict");
    // Once more is the same job; another one of the name is refused.
    assert_eq!(master.ok("job create -f service.yaml"), "job hello-service created\n");
    let other = master.fails("job create hello-service -f original-2016.yaml", 4);
    assert!(other.contains("exists already, with another configuration"), "{other}");

    let job = master.json("job get myjob12345");
    assert_eq!((&job["id"], &job["instanceCount"]), (&"myjob12345".into(), &10.into()));
    let by = job["changeLog"]["updatedBy"].as_str().unwrap();
    assert!(by.starts_with("ann@"), "{by}");

    let jobs = master.json("job list -l team=examples");
    let ids: Vec<_> = jobs["jobs"].as_array().unwrap().iter().map(|job| &job["id"]).collect();
    assert_eq!(ids, ["hello-batch", "hello-service"]);
    assert_eq!(master.json("job status hello-batch")["instanceCount"], 10);
    assert_eq!(master.json("task list hello-service -i 0-2")["tasks"].as_array().unwrap().len(), 3);
    assert_eq!(master.json("task get hello-service 9")["instanceId"], 9);

    master.ok("job stop hello-service --instances 1-3");
    master.ok("job start hello-service");
    master.ok("job restart hello-batch");
    assert!(master.fails("job stop hello-service -i 10", 3).contains("instances 0 to 9"));
    assert_eq!(master.json("job status hello-batch --stale")["instanceCount"], 10);
    assert!(master.json("job list --stale")["asOfRevision"].as_i64().unwrap() > 0);
    let conflict = master.fails("job delete hello-batch --yes --expect-version 9", 4);
    assert!(conflict.contains("has version 1, not 9"), "{conflict}");
    assert_eq!(master.ok("job delete hello-batch --yes --expect-version 1").lines().count(), 1);
    assert!(master.fails("job get hello-batch", 3).contains("hello-batch"));
}

#[test]
fn updates_keep_to_what_needs_no_upgrade() {
    let master = Master::start();
    master.ok("job create -f service.yaml");
    let more = "job update hello-service -f service.yaml --expect-version";
    assert!(master.fails(&format!("{more} 7"), 4).contains("has version 1, not 7"));
    let stderr = master.fails("job update hello-service -f original-2016.yaml", 4);
    assert!(stderr.contains("command"), "{stderr}");
    let upgrade = "`peloton upgrade create hello-service -f original-2016.yaml`";
    assert!(stderr.contains(upgrade), "{stderr}");
    assert_eq!(master.json("job get hello-service")["changeLog"]["version"], 1);
}

#[test]
fn a_file_does_not_differ_from_the_job_that_it_made() {
    let master = Master::start();
    for file in ["service.yaml", "batch.yaml"] {
        master.ok(&format!("job create -f {file}"));
        let diff = master.json(&format!("job diff -f {file}"));
        assert_eq!(diff["changes"], serde_json::json!([]), "{file}");
    }
    let other = master.json("job diff hello-service -f original-2016.yaml");
    let fields = other["changes"].as_array().unwrap().iter().map(|change| &change["field"]);
    assert!(fields.into_iter().any(|field| field == "command.value"), "{other}");
}

#[test]
fn upgrades_from_their_plan_to_their_history() {
    let master = Master::start();
    master.ok("job create -f service.yaml");
    let create = "upgrade create hello-service -f original-2016.yaml";
    let plan = master.json(&format!("{create} --batch 30% --dry-run"));
    assert_eq!((&plan["toVersion"], &plan["batch"]), (&2.into(), &3.into()));
    assert_eq!(master.json("upgrade list")["upgrades"], serde_json::json!([]));
    assert!(master.fails("upgrade get hello-service", 3).contains("no upgrade of job"));
    let conflict = master.fails(&format!("{create} --expect-version 7"), 4);
    assert!(conflict.contains("has version 1, not 7"), "{conflict}");

    let options = "--batch 30% --max-failures 1 --health-deadline 2m --no-rollback";
    let created = master.json(&format!("{create} {options}"));
    let id = created["upgrades"][0]["id"].as_str().unwrap();
    assert!(id.starts_with("hello-service-2-"), "{id}");
    assert!(master.fails(&format!("{create} --batch 1"), 4).contains(id));
    let info = master.json("upgrade get hello-service");
    assert_eq!(info["state"], "ROLLING_FORWARD");
    assert_eq!(info["options"]["healthDeadlineSecs"], 120);
    assert_eq!(info["options"]["rollbackOnFailure"], false);
    // What the plan said would change is what the versions differ in.
    assert_eq!(info["changes"], plan["changes"]);
    assert_eq!(master.json("job diff hello-service")["changes"], plan["changes"]);
    let page = master.ok("job status hello-service");
    assert!(page.contains(&format!("{id}: ROLLING_FORWARD, 0 of 10 at version 2")), "{page}");

    master.ok("upgrade pause hello-service");
    assert_eq!(master.json(&format!("upgrade get {id}"))["state"], "PAUSED");
    assert!(master.fails("upgrade pause hello-service", 4).contains("is PAUSED"));
    master.ok("upgrade resume hello-service");
    let replaced = master.json("upgrade create hello-service -f service.yaml --replace");
    let second = replaced["upgrades"][0]["id"].as_str().unwrap().to_owned();
    let ended = master.fails(&format!("upgrade watch {id}"), 9);
    assert!(ended.contains(&format!("`peloton upgrade watch {second}`")), "{ended}");
    master.ok("upgrade rollback hello-service");
    master.ok("upgrade abort hello-service --soft");
    let late = master.fails("upgrade watch hello-service --watch-timeout 1s", 6);
    assert!(late.contains("asked to end where it is"), "{late}");
    assert_eq!(master.json(&format!("upgrade events {second}"))["events"], serde_json::json!([]));
    let list = master.json("upgrade list hello-service");
    let ids = list["upgrades"].as_array().unwrap().iter().map(|u| u["workflowId"]["value"].clone());
    assert_eq!(ids.collect::<Vec<_>>(), [second.as_str(), id]);
    let history = master.json("job history hello-service");
    let made_by = [0, 1, 2].map(|i| history["versions"][i]["upgrade"]["id"].as_str());
    assert_eq!(made_by, [Some(second.as_str()), Some(id), None]);
    master.fails("upgrade get hello-service-2-00000000", 3);
}

#[test]
fn the_status_has_what_each_master_knows_of_itself() {
    let member = |id: &str, address: &str, answering| MasterStatus {
        id: id.into(),
        address: address.into(),
        answering,
        accepting: true,
        lease_left_ms: answering.then_some(1234),
        ..MasterStatus::default()
    };
    let shard = |number, owner: &str, connection| ShardStatus {
        number,
        owner: owner.into(),
        connection,
        ..ShardStatus::default()
    };
    let b = Master::who_knows(ClusterStatus {
        masters: vec![member("b", "here", true)],
        shards: vec![
            shard(0, "a", Connection::Disconnected),
            shard(1, "b", Connection::Subscribed),
        ],
        ..ClusterStatus::default()
    });
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let a = Master::who_knows(ClusterStatus {
        masters: vec![
            member("a", "there", true),
            member("b", &b.address.to_string(), false),
            member("c", &gone, false),
            // It has been replaced: whoever answers there is not it.
            member("d", &b.address.to_string(), false),
        ],
        shards: vec![
            shard(0, "a", Connection::Subscribed),
            shard(1, "b", Connection::Unknown),
            shard(2, "c", Connection::Unknown),
            shard(3, "d", Connection::Unknown),
        ],
        ..ClusterStatus::default()
    });
    let status = &a.json("cluster status")["status"];
    let connections = [0, 1, 2, 3].map(|shard| status["shards"][shard]["connection"].clone());
    assert_eq!(connections, ["SUBSCRIBED", "SUBSCRIBED", "UNKNOWN", "UNKNOWN"]);
    let leases = [0, 1, 2, 3].map(|master| status["masters"][master]["leaseLeftMs"].as_u64());
    assert_eq!(leases, [Some(1234), Some(1234), None, None]);
}

#[test]
fn what_is_not_there_is_said_by_exit_code() {
    let master = Master::start();
    for line in
        ["job get no", "job status no", "job stop no", "job delete no --yes", "task list no"]
    {
        master.fails(line, 3);
    }
    assert_eq!(master.json("job list")["jobs"], serde_json::json!([]));
    master.ok("cluster status");
    assert_eq!(master.json("cluster status")["cluster"]["shardCount"], 8);
}
