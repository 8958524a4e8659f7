//! From Mesos's messages to what the task runner knows.

use std::time::Duration;

use peloton_proto::mesos::v1;
use peloton_proto::mesos::v1::health_check::Type as CheckType;
use peloton_proto::mesos::v1::r_limit_info::r_limit::Type as LimitType;
use peloton_task_runner::fetch::Uri;
use peloton_task_runner::{CommandSpec, HealthCheck, HealthKind};

/// A command.
pub(super) fn command(command: &v1::CommandInfo) -> CommandSpec {
    let variables = command.environment.iter().flat_map(|environment| &environment.variables);
    let environment = variables.filter_map(|variable| {
        // Secrets are resolved by a module that the simulator does not have.
        Some((variable.name.clone(), variable.value.clone()?))
    });
    CommandSpec {
        shell: command.shell(),
        value: command.value.clone(),
        arguments: command.arguments.clone(),
        environment: environment.collect(),
    }
}

/// What is to be fetched, and whether by way of the agent's cache.
pub(super) fn uris(command: &v1::CommandInfo) -> Vec<(Uri, bool)> {
    let uri = |uri: &v1::command_info::Uri| {
        let fetched = Uri {
            value: uri.value.clone(),
            executable: uri.executable(),
            extract: uri.extract(),
            output_file: uri.output_file.clone(),
        };
        (fetched, uri.cache())
    };
    command.uris.iter().map(uri).collect()
}

/// A health check, or why it cannot be made.
pub(super) fn health_check(check: &v1::HealthCheck) -> Result<HealthCheck, String> {
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default();
    Ok(HealthCheck {
        kind: health_kind(check)?,
        delay: seconds(check.delay_seconds()),
        interval: seconds(check.interval_seconds()),
        timeout: seconds(check.timeout_seconds()),
        grace_period: seconds(check.grace_period_seconds()),
        consecutive_failures: u64::from(check.consecutive_failures()),
    })
}

fn health_kind(check: &v1::HealthCheck) -> Result<HealthKind, String> {
    let port = |port: u32| {
        u16::try_from(port).map_err(|_| format!("the health check's port {port} is above 65535"))
    };
    // Old frameworks leave the type out: then the part that is there says it.
    let guess = if check.http.is_some() { CheckType::Http } else { CheckType::Command };
    match check.r#type.and_then(|kind| CheckType::try_from(kind).ok()).unwrap_or(guess) {
        CheckType::Command => match &check.command {
            Some(info) => Ok(HealthKind::Command(command(info))),
            None => Err("the health check has no command".to_owned()),
        },
        CheckType::Http => {
            let http = check.http.as_ref().ok_or("the health check has no http")?;
            match http.scheme.as_deref().unwrap_or("http") {
                "http" => {
                    let path = http.path.clone().unwrap_or_else(|| "/".to_owned());
                    Ok(HealthKind::Http { port: port(http.port)?, path })
                }
                other => Err(format!("the simulated Mesos checks no {other}, only http")),
            }
        }
        CheckType::Tcp => {
            let tcp = check.tcp.as_ref().ok_or("the health check has no tcp")?;
            Ok(HealthKind::Tcp { port: port(tcp.port)? })
        }
        CheckType::Unknown => Err("the health check is of an unknown type".to_owned()),
    }
}

/// A `DurationInfo`.
pub(super) fn duration(info: &v1::DurationInfo) -> Duration {
    Duration::from_nanos(u64::try_from(info.nanoseconds).unwrap_or(0))
}

/// Why the simulator cannot run a container, if so.
pub(super) fn unsupported(container: &v1::ContainerInfo) -> Option<String> {
    let engine = "the simulated Mesos has no container engine: it runs commands on this machine";
    if container.r#type() == v1::container_info::Type::Docker {
        let image = container.docker.as_ref().map(|docker| docker.image.as_str());
        return Some(format!("{engine}, and no Docker image {}", image.unwrap_or_default()));
    }
    let image = container.mesos.as_ref().and_then(|mesos| mesos.image.as_ref())?;
    let name = image.docker.as_ref().map(|docker| docker.name.as_str());
    Some(format!("{engine}, and no image {}", name.unwrap_or_default()))
}

/// Shell commands that set the limits of a container, each with `&&` behind it.
pub(super) fn limits(container: &v1::ContainerInfo) -> Result<String, String> {
    let limits = container.rlimit_info.iter().flat_map(|info| &info.rlimits);
    let mut text = String::new();
    for limit in limits {
        let flag = match limit.r#type() {
            LimitType::RlmtNofile => "n",
            LimitType::RlmtCpu => "t",
            LimitType::RlmtCore => "c",
            kind => {
                let kind = kind.as_str_name();
                return Err(format!("the simulated Mesos sets no limit {kind}"));
            }
        };
        let value = |value: Option<u64>| value.map_or("unlimited".to_owned(), |v| v.to_string());
        let (soft, hard) = (value(limit.soft), value(limit.hard));
        text.push_str(&format!("ulimit -S -{flag} {soft} && ulimit -H -{flag} {hard} && "));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_that_cannot_be_made_are_refused() {
        let refused = |check: v1::HealthCheck| health_kind(&check).unwrap_err();
        let of =
            |kind: CheckType| v1::HealthCheck { r#type: Some(kind as i32), ..Default::default() };
        let port = |port| v1::health_check::TcpCheckInfo { port, protocol: None };
        let tcp = v1::HealthCheck { tcp: Some(port(70_000)), ..of(CheckType::Tcp) };
        assert!(refused(tcp).contains("70000"));
        assert!(refused(of(CheckType::Tcp)).contains("no tcp"));
        assert!(refused(of(CheckType::Command)).contains("no command"));
        let http = v1::health_check::HttpCheckInfo {
            port: 1,
            scheme: Some("https".to_owned()),
            ..Default::default()
        };
        assert!(
            refused(v1::HealthCheck { http: Some(http), ..Default::default() }).contains("https")
        );
    }

    #[test]
    fn defaults_are_those_of_the_message() {
        let command =
            Some(v1::CommandInfo { value: Some("true".to_owned()), ..Default::default() });
        let check = health_check(&v1::HealthCheck { command, ..Default::default() }).unwrap();
        assert_eq!(check, HealthCheck::new(check.kind.clone()));
    }

    #[test]
    fn containers_are_refused_by_name() {
        let docker = v1::ContainerInfo {
            r#type: v1::container_info::Type::Docker as i32,
            docker: Some(v1::container_info::DockerInfo {
                image: "nginx".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert!(unsupported(&docker).unwrap().contains("no container engine"));
        let plain = v1::ContainerInfo { r#type: 2, ..Default::default() };
        assert_eq!(unsupported(&plain), None);
    }
}
