//! JSON as the clients of 2016 wrote and read it, and what is said of JSON that is wrong.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use peloton_proto::json::{
    JsonError, JsonOptions, from_json, from_json_slice, mesos_view, to_json, to_json_string,
    to_json_with, view,
};
use peloton_proto::mesos::v1::{
    CommandInfo, ContainerId, Environment, Label, Labels, MasterInfo, Offer, Resource, TaskId,
    TimeInfo, Value, environment, resource, value,
};
use peloton_proto::peloton::changelog::ChangeLog;
use peloton_proto::peloton::job::{
    self, Constraint, ContainerConfig, CreateRequest, GetResponse, HealthCheckConfig, JobConfig,
    JobId, JobNotFound, JobStatus, JobType, KillPolicy, Placement, PortConfig, ResourceConfig,
    VolumeMount, constraint, container_config, placement, volume_mount,
};
use peloton_proto::peloton::task::{
    self, HealthState, ListResponse, RuntimeInfo, TaskInfo, TaskList, TaskState,
};
use serde_json::json;

fn create_request() -> CreateRequest {
    let label = Label { key: "tier".into(), value: Some("edge".into()) };
    let variable = environment::Variable {
        name: "MODE".into(),
        value: Some("fast".into()),
        ..Default::default()
    };
    let config = JobConfig {
        change_log: Some(ChangeLog { version: 9_007_199_254_740_993, ..Default::default() }),
        name: "myjob".into(),
        ldap_groups: vec!["infra".into(), "money".into()],
        labels: Some(Labels { labels: vec![label] }),
        instance_count: 10,
        resource: Some(ResourceConfig { cpus_limit: 1.0, mem_limit_mb: 0.5, ..Default::default() }),
        health_check: Some(HealthCheckConfig::default()),
        ports: vec![PortConfig { name: "http".into(), value: 0, env_name: String::new() }],
        container: Some(ContainerConfig {
            r#type: container_config::Type::Docker.into(),
            image: "busybox".into(),
            mounts: vec![VolumeMount {
                src_volume: "/data".into(),
                dst_volume: "/in".into(),
                mode: volume_mount::Mode::Readwrite.into(),
            }],
            ..Default::default()
        }),
        command: Some(CommandInfo {
            value: Some("sleep 1".into()),
            shell: Some(false),
            environment: Some(Environment { variables: vec![variable] }),
            ..Default::default()
        }),
        r#type: JobType::Batch.into(),
        kill_policy: Some(KillPolicy { grace_period_secs: Some(0) }),
        placement: Some(Placement {
            strategy: placement::Strategy::Spread.into(),
            constraints: vec![Constraint {
                attribute: "rack".into(),
                operator: constraint::Operator::MaxPerValue.into(),
                values: vec![],
                max: 2,
            }],
        }),
        ..Default::default()
    };
    CreateRequest { id: Some(JobId { value: "myjob12345".into() }), config: Some(config) }
}

#[test]
fn a_request_in_the_shape_of_2016() {
    let text = to_json_string(&create_request(), JsonOptions::default()).unwrap();
    let expected = concat!(
        r#"{"id":{"value":"myjob12345"},"config":{"changeLog":{"version":9007199254740993},"name":"myjob","#,
        r#""ldapGroups":["infra","money"],"labels":{"labels":[{"key":"tier","value":"edge"}]},"instanceCount":10,"#,
        r#""resource":{"cpusLimit":1,"memLimitMb":0.5},"healthCheck":{},"ports":[{"name":"http"}],"#,
        r#""container":{"type":1,"image":"busybox","mounts":[{"srcVolume":"/data","dstVolume":"/in","mode":1}]},"#,
        r#""command":{"environment":{"variables":[{"name":"MODE","value":"fast"}]},"value":"sleep 1","shell":false},"#,
        r#""type":1,"killPolicy":{"gracePeriodSecs":0},"#,
        r#""placement":{"constraints":[{"attribute":"rack","operator":4,"max":2}]}}}"#,
    );
    assert_eq!(text, expected);
    let back = from_json_slice::<CreateRequest>(text.as_bytes()).unwrap();
    assert_eq!((back.message, back.unknown), (create_request(), vec![]));
}

#[test]
fn an_answer_says_what_is_not_there_by_a_field() {
    assert_eq!(to_json(&GetResponse::default()).unwrap(), json!({}));
    let id = Some(JobId { value: "x".into() });
    let not_found = Some(JobNotFound { id, message: "no job x".into() });
    let answer = GetResponse { not_found, ..Default::default() };
    let expected = json!({"notFound": {"id": {"value": "x"}, "message": "no job x"}});
    assert_eq!(to_json(&answer).unwrap(), expected);
}

#[test]
fn maps_are_objects_in_the_order_of_their_keys() {
    let info = |state: TaskState| TaskInfo {
        runtime: Some(RuntimeInfo {
            state: state.into(),
            task_id: Some(TaskId { value: "j-0-1".into() }),
            started_at: Some(TimeInfo { nanoseconds: i64::MAX }),
            ports: BTreeMap::from([("http".to_owned(), 31000), ("admin".to_owned(), 0)]),
            health: HealthState::Healthy.into(),
            exit_status: Some(0),
            ..Default::default()
        }),
        ..Default::default()
    };
    let value = BTreeMap::from([(10, info(TaskState::Running)), (9, info(TaskState::Initialized))]);
    let answer = ListResponse { result: Some(TaskList { value }), ..Default::default() };
    let rest = concat!(
        r#""taskId":{"value":"j-0-1"},"startedAt":{"nanoseconds":9223372036854775807},"#,
        r#""ports":{"admin":0,"http":31000},"health":2,"exitStatus":0}}"#
    );
    let expected = format!(
        r#"{{"result":{{"value":{{"9":{{"runtime":{{{rest},"10":{{"runtime":{{"state":4,{rest}}}}}}}"#
    );
    let text = to_json_string(&answer, JsonOptions::default()).unwrap();
    assert_eq!(text, expected);
    assert_eq!(from_json_slice::<ListResponse>(text.as_bytes()).unwrap().message, answer);
}

#[test]
fn people_get_names_of_enums_and_lines() {
    let options = JsonOptions { enum_names: true, pretty: true };
    let status = JobStatus {
        state: job::JobState::Running.into(),
        versions: BTreeMap::from([(3, 7)]),
        ..Default::default()
    };
    let expected = "{\n  \"state\": \"RUNNING\",\n  \"versions\": {\n    \"3\": 7\n  }\n}";
    assert_eq!(to_json_string(&status, options).unwrap(), expected);
    // A number of a later release is shown rather than hidden.
    let status = JobStatus { state: 77, ..Default::default() };
    assert_eq!(to_json_with(&status, options).unwrap(), json!({"state": 77}));
    assert_eq!(
        serde_json::to_value(view(&status, options).unwrap()).unwrap(),
        json!({"state": 77})
    );
}

#[test]
fn mesos_fields_are_lower_camel_and_read_in_both_spellings() {
    let json = json!({"outputFile": "x", "value": "u"});
    let expected = json!({"uris": [json]});
    for key in ["outputFile", "output_file", "OUTPUT_FILE", "outputfile"] {
        let read = from_json::<CommandInfo>(&json!({"uris": [{"value": "u", key: "x"}]})).unwrap();
        assert_eq!(read.message.uris[0].output_file.as_deref(), Some("x"), "{key}");
        assert_eq!(to_json(&read.message).unwrap(), expected);
    }
}

#[test]
fn mesos_gets_its_own_names() {
    let resource = Resource {
        name: "mem".into(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(value::Scalar { value: 32.0 }),
        allocation_info: Some(resource::AllocationInfo { role: Some("a".into()) }),
        ..Default::default()
    };
    let written = serde_json::to_value(mesos_view(&resource).unwrap()).unwrap();
    let expected = json!({
        "name": "mem", "type": "SCALAR", "scalar": {"value": 32}, "allocation_info": {"role": "a"},
    });
    assert_eq!(written, expected);
    assert_eq!(from_json::<Resource>(&written).unwrap().message, resource);
}

#[test]
fn job_files_of_2016_are_read() {
    let file = json!({
        "name": "test", "owningteam": "money", "ldapgroups": ["infra"], "description": null, "labels": null,
        "instancecount": 10, "resource": {"cpuslimit": 0.1, "memlimitmb": 2.0, "disklimitmb": 1e1, "fdlimit": "100"},
        "healthcheck": {"enabled": true, "maxconsecutivefailures": 5, "shellcommand": "true"},
        "ports": [{"name": "http", "value": 0, "envname": "PORT"}],
        "sla": {"minimuminstancecount": 3, "minimuminstancepercent": 50, "preemptible": false},
        "container": {"type": "docker", "mounts": [{"srcvolume": "/a", "mode": "ReadWrite"}]},
        "restartpolicy": {"initialbackoffms": "2000"},
    });
    let read = from_json::<JobConfig>(&file).unwrap();
    assert_eq!(read.unknown, Vec::<String>::new());
    let expected = json!({
        "name": "test", "owningTeam": "money", "ldapGroups": ["infra"],
        "instanceCount": 10, "resource": {"cpusLimit": 0.1, "memLimitMb": 2, "diskLimitMb": 10, "fdLimit": 100},
        "healthCheck": {"enabled": true, "maxConsecutiveFailures": 5, "shellCommand": "true"},
        "ports": [{"name": "http", "envName": "PORT"}],
        "sla": {"minimumInstanceCount": 3, "minimumInstancePercent": 50},
        "container": {"type": 1, "mounts": [{"srcVolume": "/a", "mode": 1}]},
        "restartPolicy": {"initialBackoffMs": 2000},
    });
    assert_eq!(to_json(&read.message).unwrap(), expected);
}

#[test]
fn unknown_keys_are_reported_by_their_paths() {
    let request = json!({
        "config": {"instanceCount": 1, "instances": [{"deep": {}}], "ports": [{"name": "a"}, {"nmae": "b"}]},
        "labels": {}, "response": null,
    });
    let mut unknown = from_json::<CreateRequest>(&request).unwrap().unknown;
    unknown.sort();
    assert_eq!(unknown, ["config.instances", "config.ports[1].nmae", "labels", "response"]);
    let many: serde_json::Map<_, _> = (0..1000).map(|i| (format!("k{i}"), json!(0))).collect();
    assert_eq!(from_json::<CreateRequest>(&many.into()).unwrap().unknown.len(), 100);
}

/// What is said of a value that a job's configuration can not have.
fn refused(value: serde_json::Value) -> String {
    from_json::<JobConfig>(&value).expect_err(&value.to_string()).to_string()
}

#[test]
fn wrong_values_are_named_with_their_path() {
    let cases = [
        (
            json!({"ports": [{}, {}, {"value": "x"}]}),
            r#"ports[2].value: expected unsigned 32-bit number, got "x""#,
        ),
        (json!({"instanceCount": -1}), "instanceCount: expected unsigned 32-bit number, got -1"),
        (
            json!({"instanceCount": 4_294_967_296_u64}),
            "instanceCount: expected unsigned 32-bit number, got 4294967296",
        ),
        (json!({"instanceCount": 1.5}), "instanceCount: expected unsigned 32-bit number, got 1.5"),
        (
            json!({"instanceCount": "+5"}),
            r#"instanceCount: expected unsigned 32-bit number, got "+5""#,
        ),
        (json!({"instanceCount": ""}), r#"instanceCount: expected unsigned 32-bit number, got """#),
        (
            json!({"instanceCount": true}),
            "instanceCount: expected unsigned 32-bit number, got true",
        ),
        (
            json!({"changeLog": {"version": 9_223_372_036_854_775_808_u64}}),
            "changeLog.version: expected signed 64-bit number, got 9223372036854775808",
        ),
        (
            json!({"changeLog": {"version": 1e300}}),
            "changeLog.version: expected signed 64-bit number, got 1e+300",
        ),
        (
            json!({"restartPolicy": {"initialBackoffMs": -1}}),
            "restartPolicy.initialBackoffMs: expected unsigned 64-bit number, got -1",
        ),
        (
            json!({"resource": {"cpusLimit": "NaN"}}),
            r#"resource.cpusLimit: expected a finite number, got "NaN""#,
        ),
        (
            json!({"resource": {"cpusLimit": "1e999"}}),
            r#"resource.cpusLimit: expected a finite number, got "1e999""#,
        ),
        (json!({"name": 5}), "name: expected a string, got 5"),
        (json!({"sla": {"preemptible": 1}}), "sla.preemptible: expected true or false, got 1"),
        (json!({"ldapGroups": "infra"}), r#"ldapGroups: expected a list, got "infra""#),
        (json!({"ldapGroups": [null]}), "ldapGroups[0]: expected a string, got null"),
        (json!({"resource": []}), "resource: expected an object, got a list"),
        (json!([]), "expected an object, got a list"),
        (json!({"type": 2}), "type: expected one of SERVICE (0), BATCH (1), got 2"),
        (json!({"type": "job"}), r#"type: expected one of SERVICE (0), BATCH (1), got "job""#),
    ];
    for (value, message) in cases {
        assert_eq!(refused(value), message);
    }
    let long = refused(json!({"instanceCount": "y".repeat(100_000)}));
    assert!(long.len() < 400 && long.contains('…'), "{long}");
}

#[test]
fn keys_that_mean_the_same_are_refused() {
    let message =
        refused(json!({"sla": {"minimumInstanceCount": 1, "minimuminstancecount": null}}));
    assert_eq!(
        message,
        r#"sla: the keys "minimumInstanceCount" and "minimuminstancecount" mean the same"#
    );
    let twice = from_json_slice::<JobConfig>(br#"{"name":"a","name":"b"}"#).unwrap_err();
    assert_eq!(
        twice.to_string(),
        "not valid JSON: the key \"name\" is there twice at line 1 column 18"
    );
    let map = from_json::<TaskList>(&json!({"value": {"1": {}, "01": {}}})).unwrap_err();
    assert!(matches!(map, JsonError::Value { .. }), "{map}");
    let key = from_json::<TaskList>(&json!({"value": {"one": {}}})).unwrap_err();
    assert_eq!(
        key.to_string(),
        "value.one: expected an unsigned 32-bit number as key, got \"one\""
    );
}

#[test]
fn of_a_oneof_only_one_is_taken() {
    use peloton_proto::mesos::v1::scheduler::attribute_constraint::Selector;
    let both = json!({"attributeName": "rack", "pseudoattributeType": "ZONE"});
    let error = from_json::<Selector>(&both).unwrap_err();
    assert!(matches!(error, JsonError::Exclusive { .. }), "{error}");
    assert!(from_json::<Selector>(&json!({"attributeName": "rack"})).is_ok());
}

#[test]
fn bytes_are_base64_in_any_dress() {
    use peloton_proto::mesos::v1::Uuid;
    let uuid = Uuid { value: vec![0xfb, 0xff, 0xfe, 0x00] };
    assert_eq!(to_json(&uuid).unwrap(), json!({"value": "+//+AA=="}));
    for text in ["+//+AA==", "-__-AA", "+//+AA"] {
        assert_eq!(from_json::<Uuid>(&json!({ "value": text })).unwrap().message, uuid);
    }
    assert!(from_json::<Uuid>(&json!({"value": "a b"})).is_err());
}

#[test]
fn what_mesos_writes_to_zookeeper_is_read() {
    let info = json!({
        "address": {"hostname": "m1", "ip": "10.0.0.1", "port": 5050}, "capabilities": [{"type": "AGENT_UPDATE"}],
        "hostname": "m1", "id": "7f2e", "ip": 16_777_226, "pid": "master@10.0.0.1:5050", "port": 5050,
        "version": "1.11.0",
    });
    let read = from_json::<MasterInfo>(&info).unwrap();
    assert_eq!(read.message.address.unwrap().ip.as_deref(), Some("10.0.0.1"));
    assert!(read.unknown.is_empty());
}

#[test]
fn what_json_can_not_hold_is_an_error() {
    let scalar = value::Scalar { value: f64::NAN };
    assert!(matches!(to_json(&scalar), Err(JsonError::Write { .. })));
    let text = to_json_string(&value::Scalar { value: f64::INFINITY }, JsonOptions::default());
    assert!(text.is_err());
}

#[test]
fn deep_nesting_is_refused() {
    let nested = |depth| (0..depth).fold(json!({}), |inner, _| json!({ "parent": inner }));
    assert!(from_json::<ContainerId>(&nested(63)).is_ok());
    for depth in [64, 100, 500] {
        let error = from_json::<ContainerId>(&nested(depth)).unwrap_err();
        assert!(matches!(error, JsonError::TooDeep { .. }), "{error}");
    }
    let text = "[".repeat(100_000);
    assert!(matches!(from_json_slice::<JobConfig>(text.as_bytes()), Err(JsonError::Syntax { .. })));
    // Messages that are too deep to be written are an error, too.
    let deep = (0..200).fold(ContainerId::default(), |inner, _| ContainerId {
        value: "x".into(),
        parent: Some(Box::new(inner)),
    });
    assert!(matches!(to_json(&deep), Err(JsonError::Transcode { .. })));
}

#[test]
fn every_message_of_the_crate_can_be_written() {
    assert_eq!(to_json(&task::GetRequest::default()).unwrap(), json!({}));
    let offer = Offer {
        resources: vec![Resource {
            name: "cpus".into(),
            scalar: Some(value::Scalar { value: 0.1 }),
            ..Default::default()
        }],
        ..Default::default()
    };
    // What proto2 requires is written even if it is empty.
    let resource = json!({"name": "cpus", "type": 0, "scalar": {"value": 0.1}});
    assert_eq!(to_json(&offer).unwrap()["resources"][0], resource);
    assert_eq!(to_json(&Value::default()).unwrap(), json!({"type": 0}));
}
