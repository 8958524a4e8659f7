//! The HTTP APIs: what is refused and how, JSON streams, and what operators see.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use peloton_mesos::Credential;
use peloton_proto::mesos::v1::TaskState;
use serde_json::{Value, json};

use crate::support::{
    DEADLINE, ROLE, Scheduler, ask, eventually, get, operate, options, settings, start,
};
use peloton_mesos_sim_server::Server;

const JSON: &str = "application/json";
const SCHEDULER: &str = "/api/v1/scheduler";

fn subscribe() -> Value {
    let info = json!({
        "user": "root", "name": "json", "roles": [ROLE],
        "capabilities": [{"type": "MULTI_ROLE"}, {"type": "RESERVATION_REFINEMENT"}],
    });
    json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}})
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_wrong_are_refused_as_mesos_refuses_them() {
    let server = start(1).await;
    let address = server.address();
    let headers = [("Content-Type", JSON), ("Accept", JSON)];
    let text = subscribe().to_string();
    let status = async |method, path, headers: &[(&'static str, &'static str)], body: &str| {
        ask(method, &address, path, headers, body).await
    };
    assert_eq!(status("GET", SCHEDULER, &headers, "").await.0, 405);
    let (code, words) = status("POST", SCHEDULER, &[], &text).await;
    assert_eq!((code, words.as_str()), (400, "Expecting 'Content-Type' to be present"));
    assert_eq!(status("POST", SCHEDULER, &[("Content-Type", "text/plain")], &text).await.0, 415);
    let wrong = [("Content-Type", JSON), ("Accept", "text/html")];
    assert_eq!(status("POST", SCHEDULER, &wrong, &text).await.0, 406);
    let (code, words) = status("POST", SCHEDULER, &headers, "{").await;
    assert!(code == 400 && words.contains("Failed to parse body into JSON"), "{words}");
    let (code, words) = status("POST", SCHEDULER, &headers, "{\"type\":\"PRAY\"}").await;
    assert!(code == 400 && words.contains("Failed to convert JSON into Call"), "{words}");
    let (code, words) = status("POST", SCHEDULER, &headers, "{\"type\":\"SUBSCRIBE\"}").await;
    assert!(code == 400 && words.contains("Failed to validate scheduler::Call"), "{words}");
    let with_id = [headers[0], headers[1], ("Mesos-Stream-Id", "x")];
    assert_eq!(status("POST", SCHEDULER, &with_id, &text).await.0, 400);
    let protobuf = [("Content-Type", "application/x-protobuf")];
    let (code, words) = status("POST", SCHEDULER, &protobuf, "nonsense").await;
    assert!(code == 400 && words.contains("Failed to parse body into Call protobuf"), "{words}");
    let revive = json!({"type": "REVIVE", "framework_id": {"value": "nobody"}}).to_string();
    let (code, words) = status("POST", SCHEDULER, &headers, &revive).await;
    assert_eq!((code, words.as_str()), (400, "Framework cannot be found"));
    assert_eq!(status("GET", "/nowhere", &[], "").await.0, 404);
    assert!(status("GET", "/", &[], "").await.1.contains("simulated Mesos"));
    assert_eq!(status("GET", "/master/redirect", &[], "").await.0, 307);
    server.stop().await.unwrap();
}

/// A SUBSCRIBE by hand, so that calls can follow on other connections.
struct Stream(BufReader<TcpStream>, String);

impl Stream {
    fn open(address: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let body = subscribe().to_string();
        let head = format!(
            "POST {SCHEDULER} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nAccept: {JSON}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut stream = BufReader::new(stream);
        let mut id = String::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("mesos-stream-id: ") {
                id = value.trim().to_owned();
            }
            if line == "\r\n" {
                return Self(stream, id);
            }
        }
    }

    /// The records of one chunk: the server does not split what it sends at once.
    fn chunk(&mut self) -> Vec<Value> {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let mut chunk = vec![0; usize::from_str_radix(line.trim(), 16).unwrap() + 2];
        self.0.read_exact(&mut chunk).unwrap();
        let mut rest = std::str::from_utf8(&chunk).unwrap().trim_end_matches("\r\n");
        let mut records = Vec::new();
        while let Some((length, after)) = rest.split_once('\n') {
            let (record, left) = after.split_at(length.parse().unwrap());
            records.push(serde_json::from_str(record).unwrap());
            rest = left;
        }
        records
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_spoken_with_mesos_names() {
    let server = start(1).await;
    let address = server.address();
    let (mut stream, first) = tokio::task::spawn_blocking({
        let address = address.clone();
        move || {
            let mut stream = Stream::open(&address);
            let mut events = stream.chunk();
            while !events.iter().any(|event| event["type"] == "OFFERS") {
                events.extend(stream.chunk());
            }
            (stream, events)
        }
    })
    .await
    .unwrap();
    assert_eq!(first[0]["type"], "SUBSCRIBED");
    assert_eq!(first[0]["subscribed"]["heartbeat_interval_seconds"], 15);
    let framework = first[0]["subscribed"]["framework_id"].clone();
    let offer = first.iter().find(|event| event["type"] == "OFFERS").unwrap();
    let offer = &offer["offers"]["offers"][0];
    assert_eq!(offer["resources"][0]["type"], "SCALAR");
    let task = json!({
        "name": "t", "task_id": {"value": "t"}, "agent_id": offer["agent_id"],
        "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.1}}],
        "command": {"value": "exec sleep 600"},
    });
    let accept = json!({
        "type": "ACCEPT", "framework_id": framework,
        "accept": {"offer_ids": [offer["id"]], "operations": [
            {"type": "LAUNCH", "launch": {"task_infos": [task]}},
        ]},
    });
    let id: &'static str = stream.1.clone().leak();
    let headers = [("Content-Type", JSON), ("Mesos-Stream-Id", id)];
    let (status, words) = ask("POST", &address, SCHEDULER, &headers, &accept.to_string()).await;
    assert_eq!((status, words.as_str()), (202, ""));
    let update = tokio::task::spawn_blocking(move || {
        loop {
            let events = stream.chunk();
            let update = events.into_iter().find(|event| event["type"] == "UPDATE");
            if let Some(update) = update {
                return update["update"]["status"].clone();
            }
        }
    });
    let update = update.await.unwrap();
    assert_eq!(
        (&update["task_id"]["value"], &update["state"]),
        (&json!("t"), &json!("TASK_STARTING"))
    );
    assert!(update["uuid"].as_str().unwrap().ends_with("=="), "{update}");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_decide_who_may_subscribe() {
    let mut options = options(0);
    options.credentials = vec![("peloton".into(), "geheim".into())];
    let server = Server::start(options).await.unwrap();
    let body = subscribe().to_string();
    let basic = ["", "Basic eDp5", "Basic cGVsb3RvbjpmYWxzY2g="];
    for authorization in basic {
        let headers = [("Content-Type", JSON), ("Authorization", authorization)];
        let (status, _) = ask("POST", &server.address(), SCHEDULER, &headers, &body).await;
        assert_eq!(status, 401, "{authorization}");
    }
    let credential = Credential { principal: "peloton".into(), secret: "geheim".into() };
    let mut options = peloton_mesos::Options::new(vec![server.address()], settings());
    options.credential = Some(credential);
    let scheduler = Scheduler::with(options).await;
    assert!(!scheduler.subscribed.framework_id.is_empty());
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_the_cluster() {
    let server = start(2).await;
    let address = server.address();
    let mut scheduler = Scheduler::subscribe(&address).await;
    scheduler.run("t", "exec sleep 600").await;
    scheduler.reach("t", TaskState::TaskRunning).await;
    let slaves = get(&address, "/master/slaves").await;
    let first = &slaves["slaves"][0];
    assert_eq!(slaves["slaves"].as_array().unwrap().len(), 2);
    assert_eq!((&first["hostname"], &first["active"]), (&json!("agent-0"), &json!(true)));
    assert_eq!(
        (&first["resources"]["cpus"], &first["resources"]["mem"]),
        (&json!(4.0), &json!(4096.0))
    );
    assert_eq!(first["attributes"]["rack"], "rack-0");
    assert!(first["resources"]["ports"].as_str().unwrap().starts_with('['));
    let state = get(&address, "/master/state").await;
    let framework = &state["frameworks"][0];
    assert_eq!(framework["id"].as_str(), Some(scheduler.subscribed.framework_id.as_str()));
    assert_eq!(framework["tasks"][0]["id"], "t");
    assert_eq!(framework["tasks"][0]["state"], "TASK_RUNNING");
    assert_eq!(framework["tasks"][0]["resources"]["cpus"], json!(0.1));
    assert_eq!((&state["activated_slaves"], &state["version"]), (&json!(2), &json!("1.11.0")));
    let tasks = get(&address, "/master/tasks").await;
    assert_eq!(tasks["tasks"][0]["name"], "t");
    let frameworks = get(&address, "/master/frameworks").await;
    assert_eq!(frameworks["frameworks"][0]["name"], "test");
    let metrics = get(&address, "/metrics/snapshot").await;
    assert_eq!(metrics["master/slaves_active"], json!(2.0));
    assert_eq!(metrics["master/tasks_running"], json!(1.0));

    for (kind, field, inner) in [
        ("GET_HEALTH", "get_health", "healthy"),
        ("GET_VERSION", "get_version", "version_info"),
        ("GET_STATE", "get_state", "get_tasks"),
        ("GET_AGENTS", "get_agents", "agents"),
        ("GET_FRAMEWORKS", "get_frameworks", "frameworks"),
        ("GET_TASKS", "get_tasks", "tasks"),
        ("GET_ROLES", "get_roles", "roles"),
        ("GET_MASTER", "get_master", "master_info"),
        ("GET_METRICS", "get_metrics", "metrics"),
        ("GET_OPERATIONS", "get_operations", "operations"),
        ("GET_MAINTENANCE_SCHEDULE", "get_maintenance_schedule", "schedule"),
    ] {
        let (status, text) = operate(&address, &json!({"type": kind})).await;
        assert_eq!(status, 200, "{kind}: {text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["type"], kind);
        assert!(!answer[field][inner].is_null(), "{kind}: {text}");
    }
    assert_eq!(operate(&address, &json!({"type": "PRAY"})).await.0, 400);
    assert_eq!(operate(&address, &json!({"type": "GET_QUOTA"})).await.0, 501);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_act_on_the_cluster() {
    let server = start(1).await;
    let address = server.address();
    let agent = get(&address, "/master/slaves").await["slaves"][0]["id"].clone();
    let act = async |kind: &str, field: &str, mut content: Value| {
        content["agent_id"] = json!({"value": agent});
        operate(&address, &json!({"type": kind, field: content})).await
    };
    let reserved = json!([{
        "name": "cpus", "type": "SCALAR", "scalar": {"value": 1.0},
        "reservations": [{"type": "DYNAMIC", "role": "ops"}],
    }]);
    let content = json!({"resources": reserved});
    let (status, words) = act("RESERVE_RESOURCES", "reserve_resources", content.clone()).await;
    assert_eq!(status, 202, "{words}");
    let of_ops = async || {
        let slaves = get(&address, "/master/slaves").await;
        slaves["slaves"][0]["reserved_resources"]["ops"]["cpus"].clone()
    };
    while of_ops().await != json!(1.0) {
        tokio::task::yield_now().await;
    }
    let (status, words) = act("UNRESERVE_RESOURCES", "unreserve_resources", content).await;
    assert_eq!(status, 202, "{words}");
    while !of_ops().await.is_null() {
        tokio::task::yield_now().await;
    }
    let deactivated = async || {
        get(&address, "/master/slaves").await["slaves"][0]["deactivated"].as_bool().unwrap()
    };
    assert_eq!(act("DEACTIVATE_AGENT", "deactivate_agent", json!({})).await.0, 200);
    assert!(deactivated().await);
    assert_eq!(act("REACTIVATE_AGENT", "reactivate_agent", json!({})).await.0, 200);
    assert!(!deactivated().await);
    let grace = json!({"max_grace_period": {"seconds": 1}});
    assert_eq!(act("DRAIN_AGENT", "drain_agent", grace).await.0, 200);
    assert!(deactivated().await);
    let window = json!({
        "machine_ids": [{"hostname": "agent-0", "ip": "127.0.0.1"}],
        "unavailability": {"start": {"nanoseconds": 4_000_000_000_000_000_000_i64}},
    });
    let update = json!({
        "type": "UPDATE_MAINTENANCE_SCHEDULE",
        "update_maintenance_schedule": {"schedule": {"windows": [window]}},
    });
    assert_eq!(operate(&address, &update).await.0, 200);
    let (_, text) = operate(&address, &json!({"type": "GET_MAINTENANCE_SCHEDULE"})).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    let windows = &answer["get_maintenance_schedule"]["schedule"]["windows"];
    assert_eq!(windows[0]["machine_ids"][0]["hostname"], "agent-0");
    assert_eq!(act("MARK_AGENT_GONE", "mark_agent_gone", json!({})).await.0, 200);
    let gone =
        async || get(&address, "/master/slaves").await["slaves"].as_array().unwrap().is_empty();
    while !gone().await {
        tokio::task::yield_now().await;
    }
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_go_down_one_connection() {
    let server = start(0).await;
    let address = server.address();
    let answers = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let request = "GET /master/health HTTP/1.1\r\nHost: x\r\n\r\n".repeat(50);
        stream.write_all(request.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines();
        let statuses = lines.by_ref().map(|line| line.unwrap());
        statuses.filter(|line| line.starts_with("HTTP/1.1 200")).take(50).count()
    });
    assert_eq!(answers.await.unwrap(), 50);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_connection_is_noticed() {
    let server = start(1).await;
    let address = server.address();
    let stream = {
        let address = address.clone();
        tokio::task::spawn_blocking(move || Stream::open(&address)).await.unwrap()
    };
    let connected = async || {
        let frameworks = get(&address, "/master/frameworks").await;
        frameworks["frameworks"][0]["connected"].as_bool()
    };
    assert_eq!(connected().await, Some(true));
    drop(stream);
    while connected().await == Some(true) {
        tokio::task::yield_now().await;
    }
    eventually("nothing else", || Some(())).await;
    server.stop().await.unwrap();
}
