//! What goes to the wire and back is the same; what the model cannot hold is refused.

use peloton_model::job::{
    Check, Command, Constraint, Container, ContainerKind, Discovery, DockerOptions, HealthCheck,
    JobKind, KillPolicy, Mount, Placement, PortConfig, PortMapping, PortRef, ResourceConfig,
    RestartPolicy, Rule, Sla, Strategy as Preference, Uri,
};
use peloton_model::{Content, JobConfig, OnDelete, VolumeConfig, decode_record, encode_record};
use peloton_proto::json::{from_json, to_json};
use peloton_proto::peloton::job as pb;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use prost::Message;
use serde_json::json;

use super::{config_from_proto, config_to_proto};

fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 é]{0,6}"
}

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    vec((text(), text()), 0..3)
}

fn number() -> impl Strategy<Value = f64> {
    (0_u32..100_000).prop_map(|n| f64::from(n) / 1000.0)
}

fn port_ref() -> impl Strategy<Value = PortRef> {
    prop_oneof!["[a-z]{1,4}".prop_map(PortRef::Name), any::<u16>().prop_map(PortRef::Number)]
}

fn check() -> impl Strategy<Value = Check> {
    prop_oneof![
        text().prop_map(|shell| Check::Command { shell }),
        ("https?", port_ref(), "/[a-z]{0,4}").prop_map(|(scheme, port, path)| Check::Http {
            scheme,
            port,
            path
        }),
        port_ref().prop_map(|port| Check::Tcp { port }),
    ]
}

fn health_check() -> impl Strategy<Value = HealthCheck> {
    (any::<bool>(), any::<[u32; 5]>(), check()).prop_map(|(enabled, n, check)| HealthCheck {
        enabled,
        initial_interval_secs: n[0],
        interval_secs: n[1],
        max_consecutive_failures: n[2],
        timeout_secs: n[3],
        grace_period_secs: n[4],
        check,
    })
}

fn docker() -> impl Strategy<Value = DockerOptions> {
    let mapping =
        (text(), any::<u32>(), text()).prop_map(|(port_name, container_port, protocol)| {
            PortMapping { port_name, container_port, protocol }
        });
    let network = prop_oneof![Just(""), Just("BRIDGE"), Just("NONE")];
    (network, any::<[bool; 2]>(), pairs(), vec(mapping, 0..3)).prop_map(
        |(network, flags, parameters, port_mappings)| DockerOptions {
            network: network.into(),
            privileged: flags[0],
            force_pull_image: flags[1],
            parameters,
            port_mappings,
        },
    )
}

fn container() -> impl Strategy<Value = Container> {
    let mount = (text(), text(), any::<bool>()).prop_map(|(src_volume, dst_volume, read_write)| {
        Mount { src_volume, dst_volume, read_write }
    });
    let docker = prop_oneof![
        Just((ContainerKind::Mesos, DockerOptions::default())),
        docker().prop_map(|docker| (ContainerKind::Docker, docker)),
    ];
    (docker, text(), pairs(), vec(mount, 0..3)).prop_map(
        |((kind, docker), image, environment, mounts)| Container {
            kind,
            image,
            environment,
            mounts,
            docker,
        },
    )
}

fn command() -> impl Strategy<Value = Command> {
    let uri = (text(), any::<[bool; 3]>(), text()).prop_map(|(value, flags, output_file)| Uri {
        value,
        executable: flags[0],
        extract: flags[1],
        cache: flags[2],
        output_file,
    });
    (vec(uri, 0..3), pairs(), any::<bool>(), text(), vec(text(), 0..3), text()).prop_map(
        |(uris, environment, shell, value, arguments, user)| Command {
            uris,
            environment,
            shell,
            value,
            arguments,
            user,
        },
    )
}

fn placement() -> impl Strategy<Value = Placement> {
    let rule = prop_oneof![
        text().prop_map(Rule::Equal),
        text().prop_map(Rule::NotEqual),
        vec(text(), 0..3).prop_map(Rule::In),
        Just(Rule::Unique),
        any::<u32>().prop_map(Rule::MaxPerValue),
    ];
    let constraint = (text(), rule).prop_map(|(attribute, rule)| Constraint { attribute, rule });
    let strategy = prop_oneof![Just(Preference::Spread), Just(Preference::Pack)];
    (strategy, vec(constraint, 0..4))
        .prop_map(|(strategy, constraints)| Placement { strategy, constraints })
}

fn discovery() -> impl Strategy<Value = Discovery> {
    let visibility = prop_oneof![Just(""), Just("FRAMEWORK"), Just("EXTERNAL")];
    (visibility, text(), text(), text(), text()).prop_map(
        |(visibility, name, environment, location, version)| Discovery {
            visibility: visibility.into(),
            name,
            environment,
            location,
            version,
        },
    )
}

/// A configuration without its policies.
fn basic() -> impl Strategy<Value = JobConfig> {
    let port = (text(), any::<u32>(), text()).prop_map(|(name, value, env_name)| PortConfig {
        name,
        value,
        env_name,
    });
    let resource = ([number(), number(), number(), number()], any::<u32>()).prop_map(
        |([cpus_limit, mem_limit_mb, disk_limit_mb, gpus_limit], fd_limit)| ResourceConfig {
            cpus_limit,
            mem_limit_mb,
            disk_limit_mb,
            fd_limit,
            gpus_limit,
        },
    );
    let texts = (text(), text(), vec(text(), 0..3), text(), btree_map(text(), text(), 0..3));
    (texts, any::<u32>(), resource, option::of(health_check()), vec(port, 0..3)).prop_map(
        |((name, owning_team, ldap_groups, description, labels), count, resource, check, ports)| {
            JobConfig {
                name,
                owning_team,
                ldap_groups,
                description,
                labels,
                instance_count: count,
                resource,
                health_check: check,
                ports,
                ..Default::default()
            }
        },
    )
}

fn volume() -> impl Strategy<Value = VolumeConfig> {
    let content = (text(), text(), any::<bool>()).prop_map(|(url, sha256, extract)| Content {
        url: format!("x{url}"),
        sha256: sha256.to_ascii_lowercase(),
        extract,
    });
    let on_delete = prop_oneof![Just(OnDelete::Retain), Just(OnDelete::Delete)];
    (text(), text(), any::<[u64; 2]>(), on_delete, option::of(content)).prop_map(
        |(name, container_path, [size_mb, give_up_after_secs], on_delete, content)| VolumeConfig {
            name,
            container_path,
            size_mb,
            on_delete,
            give_up_after_secs,
            content,
        },
    )
}

fn config() -> impl Strategy<Value = JobConfig> {
    let sla =
        (any::<[u32; 2]>(), number(), any::<bool>()).prop_map(|(n, percent, preemptible)| Sla {
            priority: n[0],
            minimum_instance_count: n[1],
            minimum_instance_percent: percent,
            preemptible,
        });
    let restart =
        (option::of(any::<u32>()), any::<[u64; 3]>()).prop_map(|(max_failures, n)| RestartPolicy {
            max_failures,
            initial_backoff_ms: n[0],
            max_backoff_ms: n[1],
            reset_after_secs: n[2],
        });
    let kind = prop_oneof![Just(JobKind::Service), Just(JobKind::Batch)];
    let what = (option::of(container()), command(), kind);
    let policies =
        (sla, restart, any::<u64>(), placement(), option::of(discovery()), vec(volume(), 0..3));
    (basic(), what, policies).prop_map(|(basic, (container, command, kind), policies)| {
        let (sla, restart_policy, grace_period_secs, placement, discovery, volumes) = policies;
        JobConfig {
            container,
            command,
            kind,
            sla,
            restart_policy,
            kill_policy: KillPolicy { grace_period_secs },
            placement,
            discovery,
            volumes,
            ..basic
        }
    })
}

proptest! {
    #[test]
    fn the_wire_holds_all_of_a_configuration(mut config in config()) {
        // A batch job always has a limit: one that is absent on the wire stands for the default.
        if config.kind == JobKind::Batch {
            config.restart_policy.max_failures.get_or_insert(0);
        }
        let message = config_to_proto(&config);
        prop_assert_eq!(config_from_proto(message.clone()), Ok(config.clone()));
        let by_grpc = pb::JobConfig::decode(&message.encode_to_vec()[..]).unwrap();
        prop_assert_eq!(config_from_proto(by_grpc), Ok(config.clone()));
        let by_json = from_json(&to_json(&message).unwrap()).unwrap();
        prop_assert!(by_json.unknown.is_empty());
        prop_assert_eq!(config_from_proto(by_json.message), Ok(config.clone()));
        let stored: JobConfig = decode_record(&encode_record(&config).unwrap()).unwrap();
        prop_assert_eq!(stored, config);
    }
}

fn read(config: serde_json::Value) -> Result<JobConfig, String> {
    let message = from_json::<pb::JobConfig>(&config).unwrap().message;
    config_from_proto(message).map_err(|error| error.message)
}

#[test]
fn what_is_left_out_has_its_default() {
    let service = read(json!({"command": {"uris": [{"value": "u"}]}})).unwrap();
    assert!(service.command.shell && service.command.uris[0].extract);
    assert_eq!(service.kind, JobKind::Service);
    assert_eq!(service.kill_policy.grace_period_secs, 3);
    assert_eq!(service.restart_policy, RestartPolicy::default());
    let batch = read(json!({"type": "BATCH"})).unwrap();
    assert_eq!(batch.restart_policy.max_failures, Some(super::DEFAULT_BATCH_FAILURES));
    let batch = read(json!({"type": "BATCH", "restartPolicy": {"initialBackoffMs": 5}})).unwrap();
    assert_eq!(batch.restart_policy.max_failures, Some(super::DEFAULT_BATCH_FAILURES));
    assert_eq!(batch.restart_policy.initial_backoff_ms, 5);
    let zero = read(json!({"killPolicy": {"gracePeriodSecs": 0}, "command": {"shell": false}}));
    let zero = zero.unwrap();
    assert_eq!((zero.kill_policy.grace_period_secs, zero.command.shell), (0, false));
    let http = read(json!({"healthCheck": {"type": "HTTP", "http": {"portName": "p"}}})).unwrap();
    let expected =
        Check::Http { scheme: "http".into(), port: PortRef::Name("p".into()), path: "/".into() };
    assert_eq!(http.health_check.unwrap().check, expected);
}

#[test]
fn what_the_model_cannot_hold_is_named() {
    for (config, expected) in [
        (
            json!({"labels": {"labels": [{"key": "a"}, {"key": "a"}]}}),
            "labels.labels[1].key: \"a\" is not allowed: each key once",
        ),
        (
            json!({"healthCheck": {"type": 2, "shellCommand": "x"}}),
            "healthCheck.shellCommand: \"x\" is not allowed: a command with type COMMAND only",
        ),
        (
            json!({"healthCheck": {"type": 2, "tcp": {"port": 70000}}}),
            "healthCheck.tcp.port: 70000 is not allowed: 1 to 65535, or a portName",
        ),
        (
            json!({"healthCheck": {"type": 2, "tcp": {"port": 1, "portName": "a"}}}),
            "healthCheck.tcp.port: 1 is not allowed: either a port or a portName",
        ),
        (
            json!({"container": {"docker": {"privileged": true}}}),
            "container.docker: \"MESOS\" is not allowed: given with type DOCKER only",
        ),
        (
            json!({"placement": {"constraints": [{"attribute": "a", "values": ["1", "2"]}]}}),
            "placement.constraints[0].values: [\"1\", \"2\"] is not allowed: exactly one value with EQUAL",
        ),
        (
            json!({"placement": {"constraints": [{"attribute": "a", "operator": 3, "max": 2}]}}),
            "placement.constraints[0].max: 2 is not allowed: given with MAX_PER_VALUE only",
        ),
    ] {
        assert_eq!(read(config), Err(expected.to_owned()));
    }
    // JSON knows the numbers of its enums; gRPC lets others through.
    let error = config_from_proto(pb::JobConfig { r#type: 7, ..Default::default() }).unwrap_err();
    assert_eq!(error.message, "type: 7 is not allowed: 0 (SERVICE) or 1 (BATCH)");
}
