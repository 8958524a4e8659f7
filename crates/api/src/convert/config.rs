//! Job configurations.

use peloton_model::job::{
    Check, HealthCheck, JobConfig, JobKind, PortConfig, PortRef, ResourceConfig, Sla,
};
use peloton_proto::peloton::job as pb;

use super::{Errors, container, mesos, policy, volume};
use crate::ApiError;

/// A configuration as the model has it. Its change log, which only Peloton writes, is left out.
///
/// # Errors
/// `invalid-argument`, with every field that the model has no place for. What the model can hold is
/// not judged here: that is [`JobConfig::validate`].
pub fn config_from_proto(config: pb::JobConfig) -> Result<JobConfig, ApiError> {
    let mut errors = Errors::default();
    let kind = match errors.enumeration("type", config.r#type, "0 (SERVICE) or 1 (BATCH)") {
        pb::JobType::Service => JobKind::Service,
        pb::JobType::Batch => JobKind::Batch,
    };
    let out = JobConfig {
        name: config.name,
        owning_team: config.owning_team,
        ldap_groups: config.ldap_groups,
        description: config.description,
        labels: mesos::labels(config.labels, &mut errors),
        instance_count: config.instance_count,
        resource: config.resource.map(resource).unwrap_or_default(),
        health_check: config.health_check.map(|check| health_check(check, &mut errors)),
        ports: config.ports.into_iter().map(port).collect(),
        container: config.container.map(|c| container::container(c, &mut errors)),
        sla: config.sla.map(sla).unwrap_or_default(),
        command: mesos::command(config.command.unwrap_or_default(), &mut errors),
        kind,
        restart_policy: policy::restart(config.restart_policy, kind),
        kill_policy: policy::kill(config.kill_policy),
        placement: policy::placement(config.placement.unwrap_or_default(), &mut errors),
        discovery: config.discovery.map(|d| policy::discovery(d, &mut errors)),
        volumes: volume::volumes(config.volumes, &mut errors),
    };
    if errors.0.is_empty() { Ok(out) } else { Err(ApiError::fields(&errors.0)) }
}

/// A configuration as a message, without a change log.
#[must_use]
pub fn config_to_proto(config: &JobConfig) -> pb::JobConfig {
    let kind = match config.kind {
        JobKind::Service => pb::JobType::Service,
        JobKind::Batch => pb::JobType::Batch,
    };
    pb::JobConfig {
        change_log: None,
        name: config.name.clone(),
        owning_team: config.owning_team.clone(),
        ldap_groups: config.ldap_groups.clone(),
        description: config.description.clone(),
        labels: mesos::labels_to_proto(&config.labels),
        instance_count: config.instance_count,
        resource: Some(resource_to_proto(&config.resource)),
        health_check: config.health_check.as_ref().map(health_check_to_proto),
        ports: config.ports.iter().map(port_to_proto).collect(),
        container: config.container.as_ref().map(container::container_to_proto),
        sla: (config.sla != Sla::default()).then(|| sla_to_proto(&config.sla)),
        command: Some(mesos::command_to_proto(&config.command)),
        r#type: kind.into(),
        restart_policy: Some(policy::restart_to_proto(&config.restart_policy)),
        kill_policy: Some(policy::kill_to_proto(&config.kill_policy)),
        placement: policy::placement_to_proto(&config.placement),
        discovery: config.discovery.as_ref().map(policy::discovery_to_proto),
        volumes: config.volumes.iter().map(volume::volume_to_proto).collect(),
    }
}

fn resource(resource: pb::ResourceConfig) -> ResourceConfig {
    ResourceConfig {
        cpus_limit: resource.cpus_limit,
        mem_limit_mb: resource.mem_limit_mb,
        disk_limit_mb: resource.disk_limit_mb,
        fd_limit: resource.fd_limit,
        gpus_limit: resource.gpus_limit,
    }
}

fn resource_to_proto(resource: &ResourceConfig) -> pb::ResourceConfig {
    pb::ResourceConfig {
        cpus_limit: resource.cpus_limit,
        mem_limit_mb: resource.mem_limit_mb,
        disk_limit_mb: resource.disk_limit_mb,
        fd_limit: resource.fd_limit,
        gpus_limit: resource.gpus_limit,
    }
}

fn sla(sla: pb::SlaConfig) -> Sla {
    Sla {
        priority: sla.priority,
        minimum_instance_count: sla.minimum_instance_count,
        minimum_instance_percent: sla.minimum_instance_percent,
        preemptible: sla.preemptible,
    }
}

fn sla_to_proto(sla: &Sla) -> pb::SlaConfig {
    pb::SlaConfig {
        priority: sla.priority,
        minimum_instance_count: sla.minimum_instance_count,
        minimum_instance_percent: sla.minimum_instance_percent,
        preemptible: sla.preemptible,
    }
}

fn port(port: pb::PortConfig) -> PortConfig {
    PortConfig { name: port.name, value: port.value, env_name: port.env_name }
}

fn port_to_proto(port: &PortConfig) -> pb::PortConfig {
    pb::PortConfig { name: port.name.clone(), value: port.value, env_name: port.env_name.clone() }
}

fn health_check(check: pb::HealthCheckConfig, errors: &mut Errors) -> HealthCheck {
    use pb::health_check_config::Type;
    let names = "0 (COMMAND), 1 (HTTP) or 2 (TCP)";
    let kind: Type = errors.enumeration("healthCheck.type", check.r#type, names);
    if kind != Type::Command {
        let allowed = "a command with type COMMAND only";
        errors.unused("healthCheck.shellCommand", &check.shell_command, allowed);
    }
    if kind != Type::Http && check.http.is_some() {
        errors.add("healthCheck.http", kind.as_str_name(), "given with type HTTP only");
    }
    if kind != Type::Tcp && check.tcp.is_some() {
        errors.add("healthCheck.tcp", kind.as_str_name(), "given with type TCP only");
    }
    let what = match kind {
        Type::Command => Check::Command { shell: check.shell_command },
        Type::Http => {
            let http = check.http.unwrap_or_default();
            let or = |text: String, default: &str| {
                if text.is_empty() { default.to_owned() } else { text }
            };
            Check::Http {
                scheme: or(http.scheme, "http"),
                port: port_ref("healthCheck.http", http.port, http.port_name, errors),
                path: or(http.path, "/"),
            }
        }
        Type::Tcp => {
            let tcp = check.tcp.unwrap_or_default();
            Check::Tcp { port: port_ref("healthCheck.tcp", tcp.port, tcp.port_name, errors) }
        }
    };
    HealthCheck {
        enabled: check.enabled,
        initial_interval_secs: check.initial_interval_secs,
        interval_secs: check.interval_secs,
        max_consecutive_failures: check.max_consecutive_failures,
        timeout_secs: check.timeout_secs,
        grace_period_secs: check.grace_period_secs,
        check: what,
    }
}

fn port_ref(field: &str, number: u32, name: String, errors: &mut Errors) -> PortRef {
    if !name.is_empty() {
        if number != 0 {
            errors.add(format!("{field}.port"), number, "either a port or a portName");
        }
        return PortRef::Name(name);
    }
    PortRef::Number(u16::try_from(number).unwrap_or_else(|_| {
        errors.add(format!("{field}.port"), number, "1 to 65535, or a portName");
        0
    }))
}

fn health_check_to_proto(check: &HealthCheck) -> pb::HealthCheckConfig {
    use pb::health_check_config::Type;
    let mut out = pb::HealthCheckConfig {
        enabled: check.enabled,
        initial_interval_secs: check.initial_interval_secs,
        interval_secs: check.interval_secs,
        max_consecutive_failures: check.max_consecutive_failures,
        timeout_secs: check.timeout_secs,
        grace_period_secs: check.grace_period_secs,
        ..Default::default()
    };
    let parts = |port: &PortRef| match port {
        PortRef::Name(name) => (0, name.clone()),
        PortRef::Number(number) => (u32::from(*number), String::new()),
    };
    match &check.check {
        Check::Command { shell } => out.shell_command.clone_from(shell),
        Check::Http { scheme, port, path } => {
            let (port, port_name) = parts(port);
            let (scheme, path) = (scheme.clone(), path.clone());
            out.set_type(Type::Http);
            out.http = Some(pb::HttpCheck { scheme, port, port_name, path });
        }
        Check::Tcp { port } => {
            let (port, port_name) = parts(port);
            out.set_type(Type::Tcp);
            out.tcp = Some(pb::TcpCheck { port, port_name });
        }
    }
    out
}
