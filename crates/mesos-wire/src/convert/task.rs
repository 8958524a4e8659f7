//! A launch as Mesos's TaskInfo: everything that an instance gets.

use super::{LABEL_INSTANCE, LABEL_JOB, labels};
use peloton_core::Launch;
use peloton_model::JobConfig;
use peloton_model::job::{
    Check, Command, Container, ContainerKind, DockerOptions, HealthCheck, PortRef,
};
use peloton_proto::mesos::v1 as mesos;
use peloton_proto::mesos::v1::container_info::DockerInfo;
use std::collections::BTreeMap;

/// The message of a launch; `resources` are its resources in Mesos's terms.
pub(super) fn info(launch: &Launch, resources: Vec<mesos::Resource>) -> mesos::TaskInfo {
    let config = &*launch.config;
    let own = [
        (LABEL_JOB.to_owned(), launch.task.job.to_string()),
        (LABEL_INSTANCE.to_owned(), launch.task.instance.to_string()),
    ];
    let all = config.labels.iter().map(|(k, v)| (k.clone(), v.clone())).chain(own);
    let health = config.health_check.as_ref().filter(|h| h.enabled);
    mesos::TaskInfo {
        name: launch.task.job.to_string(),
        task_id: mesos::TaskId { value: launch.task.to_string() },
        agent_id: mesos::AgentId { value: launch.agent.to_string() },
        resources,
        command: Some(command(launch)),
        container: container(launch),
        health_check: health.map(|h| health_check(h, launch)),
        labels: Some(labels(all)),
        discovery: discovery(launch),
        kill_policy: Some(mesos::KillPolicy {
            grace_period: Some(duration(config.kill_policy.grace_period_secs)),
        }),
        ..Default::default()
    }
}

fn duration(secs: u64) -> mesos::DurationInfo {
    let nanoseconds = i64::try_from(secs.saturating_mul(1_000_000_000)).unwrap_or(i64::MAX);
    mesos::DurationInfo { nanoseconds }
}

fn command(launch: &Launch) -> mesos::CommandInfo {
    let Command { uris, shell, value, arguments, user, .. } = &launch.config.command;
    let text = |text: &str| Some(text.to_owned()).filter(|t| !t.is_empty());
    let uris = uris
        .iter()
        .map(|uri| mesos::command_info::Uri {
            value: uri.value.clone(),
            executable: Some(uri.executable),
            extract: Some(uri.extract),
            // A service has to come back on its agent without whoever serves the artifact.
            cache: Some(uri.cache || launch.slot.is_some()),
            output_file: text(&uri.output_file),
        })
        .collect();
    mesos::CommandInfo {
        uris,
        environment: Some(environment(launch)),
        value: text(value),
        user: text(user),
        shell: Some(*shell),
        arguments: arguments.clone(),
    }
}

/// The container's variables, the command's over them, and over both what only Peloton knows.
fn environment(launch: &Launch) -> mesos::Environment {
    let config = &*launch.config;
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    if let Some(container) = &config.container {
        all.extend(container.environment.iter().cloned());
    }
    all.extend(config.command.environment.iter().cloned());
    for (port, number) in config.ports.iter().zip(&launch.ports) {
        all.insert(port.variable(), number.to_string());
    }
    all.insert("PELOTON_JOB_ID".to_owned(), launch.task.job.to_string());
    all.insert("PELOTON_INSTANCE_ID".to_owned(), launch.task.instance.to_string());
    all.insert("PELOTON_TASK_ID".to_owned(), launch.task.to_string());
    let variable = |(name, value)| mesos::environment::Variable {
        name,
        value: Some(value),
        ..Default::default()
    };
    mesos::Environment { variables: all.into_iter().map(variable).collect() }
}

fn container(launch: &Launch) -> Option<mesos::ContainerInfo> {
    use mesos::container_info::{MesosInfo, Type};
    let config = &*launch.config;
    let limits = (config.resource.fd_limit > 0).then(|| open_files(config.resource.fd_limit));
    let of = |kind: Type| mesos::ContainerInfo {
        r#type: kind as i32,
        rlimit_info: limits.clone(),
        ..Default::default()
    };
    let Some(container) = &config.container else {
        return limits.is_some().then(|| of(Type::Mesos));
    };
    let volumes = container.mounts.iter().map(volume).collect();
    Some(match container.kind {
        ContainerKind::Docker => mesos::ContainerInfo {
            volumes,
            docker: Some(docker(container, launch)),
            ..of(Type::Docker)
        },
        ContainerKind::Mesos => {
            let image = (!container.image.is_empty()).then(|| mesos::Image {
                r#type: mesos::image::Type::Docker as i32,
                docker: Some(mesos::image::Docker {
                    name: container.image.clone(),
                    ..Default::default()
                }),
                cached: Some(launch.keep_image || !container.docker.force_pull_image),
            });
            let info = image.map(|image| MesosInfo { image: Some(image) });
            mesos::ContainerInfo { volumes, mesos: info, ..of(Type::Mesos) }
        }
    })
}

fn open_files(limit: u32) -> mesos::RLimitInfo {
    use mesos::r_limit_info::{RLimit, r_limit::Type};
    let limit = u64::from(limit);
    mesos::RLimitInfo {
        rlimits: vec![RLimit {
            r#type: Some(Type::RlmtNofile as i32),
            hard: Some(limit),
            soft: Some(limit),
        }],
    }
}

fn volume(mount: &peloton_model::job::Mount) -> mesos::Volume {
    use mesos::volume::Mode;
    let mode = if mount.read_write { Mode::Rw } else { Mode::Ro };
    mesos::Volume {
        container_path: mount.dst_volume.clone(),
        host_path: Some(mount.src_volume.clone()),
        mode: mode as i32,
        ..Default::default()
    }
}

fn docker(container: &Container, launch: &Launch) -> DockerInfo {
    use mesos::container_info::docker_info::{Network, PortMapping};
    let DockerOptions { network, privileged, force_pull_image, parameters, port_mappings } =
        &container.docker;
    let network = match network.as_str() {
        "BRIDGE" => Network::Bridge,
        "NONE" => Network::None,
        _ => Network::Host,
    };
    let mapping = |mapping: &peloton_model::job::PortMapping| {
        let host_port = number(launch, &PortRef::Name(mapping.port_name.clone()));
        let protocol = Some(mapping.protocol.clone()).filter(|p| !p.is_empty());
        PortMapping { host_port, container_port: mapping.container_port, protocol }
    };
    let parameter = |(key, value): &(String, String)| mesos::Parameter {
        key: key.clone(),
        value: value.clone(),
    };
    DockerInfo {
        image: container.image.clone(),
        network: Some(network as i32),
        privileged: Some(*privileged),
        force_pull_image: Some(*force_pull_image && !launch.keep_image),
        parameters: parameters.iter().map(parameter).collect(),
        port_mappings: port_mappings.iter().map(mapping).collect(),
        ..Default::default()
    }
}

/// The number of a port: of the launch's, where it is named.
fn number(launch: &Launch, port: &PortRef) -> u32 {
    match port {
        PortRef::Number(number) => u32::from(*number),
        PortRef::Name(name) => {
            let ports = &launch.config.ports;
            let found = ports.iter().zip(&launch.ports).find(|(p, _)| p.name == *name);
            found.map_or(0, |(_, number)| u32::from(*number))
        }
    }
}

fn health_check(health: &HealthCheck, launch: &Launch) -> mesos::HealthCheck {
    use mesos::health_check::{HttpCheckInfo, TcpCheckInfo, Type};
    // Zero leaves Mesos's own default, as the API's documentation says.
    let secs = |secs: u32| (secs > 0).then(|| f64::from(secs));
    let base = |kind: Type| mesos::HealthCheck {
        r#type: Some(kind as i32),
        delay_seconds: secs(health.initial_interval_secs),
        interval_seconds: secs(health.interval_secs),
        timeout_seconds: secs(health.timeout_secs),
        grace_period_seconds: secs(health.grace_period_secs),
        consecutive_failures: Some(health.max_consecutive_failures).filter(|n| *n > 0),
        ..Default::default()
    };
    match &health.check {
        Check::Command { shell } => mesos::HealthCheck {
            command: Some(mesos::CommandInfo {
                shell: Some(true),
                value: Some(shell.clone()),
                environment: Some(environment(launch)),
                ..Default::default()
            }),
            ..base(Type::Command)
        },
        Check::Http { scheme, port, path } => mesos::HealthCheck {
            http: Some(HttpCheckInfo {
                port: number(launch, port),
                path: Some(path.clone()),
                scheme: Some(scheme.clone()),
                ..Default::default()
            }),
            ..base(Type::Http)
        },
        Check::Tcp { port } => mesos::HealthCheck {
            tcp: Some(TcpCheckInfo { port: number(launch, port), ..Default::default() }),
            ..base(Type::Tcp)
        },
    }
}

/// What service discovery is told: as configured, or the ports alone where there are any.
fn discovery(launch: &Launch) -> Option<mesos::DiscoveryInfo> {
    use mesos::discovery_info::Visibility;
    let config: &JobConfig = &launch.config;
    let own = config.discovery.clone();
    if own.is_none() && config.ports.is_empty() {
        return None;
    }
    let own = own.unwrap_or_default();
    let text = |text: String| Some(text).filter(|t| !t.is_empty());
    let visibility = match own.visibility.as_str() {
        "FRAMEWORK" => Visibility::Framework,
        "EXTERNAL" => Visibility::External,
        _ => Visibility::Cluster,
    };
    let port = |(port, number): (&peloton_model::job::PortConfig, &u16)| mesos::Port {
        number: u32::from(*number),
        name: Some(port.name.clone()),
        ..Default::default()
    };
    let ports = config.ports.iter().zip(&launch.ports).map(port).collect();
    Some(mesos::DiscoveryInfo {
        visibility: visibility as i32,
        name: text(own.name).or_else(|| Some(launch.task.job.to_string())),
        environment: text(own.environment),
        location: text(own.location),
        version: text(own.version),
        ports: Some(mesos::Ports { ports }),
        ..Default::default()
    })
}
