//! Checks a job configuration: every error names the field, the value and what is allowed.

mod volumes;

use crate::job::{Check, ContainerKind, JobConfig, JobKind, PortRef, Rule};
use crate::{FieldError, encode_record, limits};
use std::collections::BTreeSet;

/// Collects the errors of one configuration.
struct Checker(Vec<FieldError>);

impl Checker {
    fn require(
        &mut self,
        ok: bool,
        field: impl Into<String>,
        value: impl std::fmt::Debug,
        allowed: impl Into<String>,
    ) {
        if !ok {
            self.0.push(FieldError::new(field, value, allowed));
        }
    }

    fn at_most(&mut self, field: &str, count: usize, limit: usize) {
        self.require(count <= limit, field, count, format!("at most {limit} entries"));
    }

    fn text(&mut self, field: &str, text: &str) {
        let limit = limits::MAX_TEXT_BYTES;
        self.require(text.len() <= limit, field, text.len(), format!("at most {limit} bytes"));
    }

    /// What the kernel or Mesos takes as a string that ends with NUL.
    fn no_nul(&mut self, field: impl Into<String>, text: &str) {
        self.require(!text.contains('\0'), field, text, "no NUL");
    }

    /// What stands on one line, of a listing, a log or a request.
    fn no_control(&mut self, field: impl Into<String>, text: &str) {
        self.require(!text.contains(char::is_control), field, text, "no control characters");
    }

    fn scalar(&mut self, field: &str, value: f64, whole: bool) {
        let fits = value.is_finite() && (0.0..=limits::MAX_SCALAR).contains(&value);
        let allowed = format!("0 to {}{}", limits::MAX_SCALAR, if whole { ", whole" } else { "" });
        self.require(fits && (!whole || value.fract() == 0.0), field, value, allowed);
    }

    fn variables(&mut self, field: &str, variables: &[(String, String)]) {
        self.at_most(field, variables.len(), limits::MAX_ENVIRONMENT);
        let mut names = BTreeSet::new();
        for (i, (name, value)) in variables.iter().enumerate() {
            let path = |part: &str| format!("{field}.variables[{i}].{part}");
            let ok = !name.is_empty() && !name.contains(['=', '\0']);
            self.require(ok, path("name"), name, "a name without `=`");
            self.require(names.insert(name), path("name"), name, "each variable once");
            self.no_nul(path("value"), value);
        }
    }
}

impl JobConfig {
    /// Checks the configuration as a whole.
    ///
    /// # Errors
    /// Every field that is wrong, in the order of the fields.
    pub fn validate(&self) -> Result<(), Vec<FieldError>> {
        let mut c = Checker(Vec::new());
        self.check_description(&mut c);
        self.check_resources(&mut c);
        self.check_ports(&mut c);
        self.check_health(&mut c);
        self.check_command(&mut c);
        self.check_container(&mut c);
        self.check_policies(&mut c);
        self.check_placement(&mut c);
        self.check_volumes(&mut c);
        let bytes = encode_record(self).map_or(usize::MAX, |b| b.len());
        let limit = limits::MAX_CONFIG_BYTES;
        c.require(bytes <= limit, "config", bytes, format!("at most {limit} bytes in all"));
        if c.0.is_empty() { Ok(()) } else { Err(c.0) }
    }

    fn check_description(&self, c: &mut Checker) {
        for (field, text) in [
            ("name", &self.name),
            ("owningTeam", &self.owning_team),
            ("description", &self.description),
        ] {
            c.text(field, text);
        }
        c.no_control("name", &self.name);
        c.at_most("ldapGroups", self.ldap_groups.len(), limits::MAX_LABELS);
        c.at_most("labels", self.labels.len(), limits::MAX_LABELS);
        for (key, value) in &self.labels {
            c.require(!key.is_empty(), "labels", key, "keys that are not empty");
            let reserved = key.starts_with("peloton.");
            c.require(!reserved, "labels", key, "keys that do not start with `peloton.`");
            c.text(&format!("labels[{key}]"), value);
        }
        let (count, max) = (self.instance_count, limits::MAX_INSTANCES);
        c.require(count <= max, "instanceCount", count, format!("0 to {max}"));
        let minimum = self.sla.minimum_instance_count;
        c.require(
            minimum <= count,
            "sla.minimumInstanceCount",
            minimum,
            format!("0 to {count}, the instanceCount"),
        );
        let percent = self.sla.minimum_instance_percent;
        c.require(
            (0.0..=100.0).contains(&percent),
            "sla.minimumInstancePercent",
            percent,
            "0 to 100",
        );
    }

    fn check_resources(&self, c: &mut Checker) {
        let r = &self.resource;
        c.scalar("resource.cpusLimit", r.cpus_limit, false);
        c.scalar("resource.memLimitMb", r.mem_limit_mb, false);
        c.scalar("resource.diskLimitMb", r.disk_limit_mb, false);
        c.scalar("resource.gpusLimit", r.gpus_limit, true);
        // Mesos refuses a task without resources, and one below these is never what was meant.
        c.require(r.cpus_limit >= 0.01, "resource.cpusLimit", r.cpus_limit, "at least 0.01");
        c.require(r.mem_limit_mb >= 1.0, "resource.memLimitMb", r.mem_limit_mb, "at least 1");
    }

    fn check_ports(&self, c: &mut Checker) {
        c.at_most("ports", self.ports.len(), limits::MAX_PORTS);
        let (mut names, mut values, mut variables) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (i, port) in self.ports.iter().enumerate() {
            let field = |name: &str| format!("ports[{i}].{name}");
            let ok = !port.name.is_empty()
                && port
                    .name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
            c.require(ok, field("name"), &port.name, "one or more of A-Z a-z 0-9 . _ -");
            c.require(names.insert(&port.name), field("name"), &port.name, "each name once");
            c.require(
                port.value <= 65535,
                field("value"),
                port.value,
                "0 (from the offer) to 65535",
            );
            let fresh = port.value == 0 || values.insert(port.value);
            c.require(fresh, field("value"), port.value, "each static port once");
            let variable = port.variable();
            c.require(
                !variable.contains(|c: char| c == '=' || c.is_whitespace() || c.is_control()),
                field("envName"),
                &variable,
                "a name without `=`, white space or control characters",
            );
            c.require(
                variables.insert(variable.clone()),
                field("envName"),
                &variable,
                "each variable once",
            );
        }
    }

    fn check_port_ref(&self, c: &mut Checker, field: &str, port: &PortRef) {
        match port {
            PortRef::Name(name) => {
                let known = self.ports.iter().any(|p| p.name == *name);
                c.require(known, format!("{field}.portName"), name, "a name in `ports`");
            }
            PortRef::Number(number) => {
                c.require(
                    *number != 0,
                    format!("{field}.port"),
                    number,
                    "1 to 65535, or a portName",
                );
            }
        }
    }

    fn check_health(&self, c: &mut Checker) {
        let Some(health) = self.health_check.as_ref().filter(|h| h.enabled) else { return };
        for (field, secs) in [
            ("initialIntervalSecs", health.initial_interval_secs),
            ("intervalSecs", health.interval_secs),
            ("timeoutSecs", health.timeout_secs),
            ("gracePeriodSecs", health.grace_period_secs),
        ] {
            let ok = u64::from(secs) <= limits::MAX_SECS;
            c.require(
                ok,
                format!("healthCheck.{field}"),
                secs,
                format!("0 to {}", limits::MAX_SECS),
            );
        }
        match &health.check {
            Check::Command { shell } => {
                c.require(!shell.is_empty(), "healthCheck.shellCommand", shell, "a shell command");
                c.no_nul("healthCheck.shellCommand", shell);
            }
            Check::Http { scheme, port, path } => {
                let known = ["http", "https"].contains(&scheme.as_str());
                c.require(known, "healthCheck.http.scheme", scheme, "http or https");
                c.require(
                    path.starts_with('/'),
                    "healthCheck.http.path",
                    path,
                    "a path that starts with `/`",
                );
                c.no_control("healthCheck.http.path", path);
                self.check_port_ref(c, "healthCheck.http", port);
            }
            Check::Tcp { port } => self.check_port_ref(c, "healthCheck.tcp", port),
        }
    }

    fn check_command(&self, c: &mut Checker) {
        let command = &self.command;
        let has_image = self.container.as_ref().is_some_and(|k| !k.image.is_empty());
        let empty_allowed = has_image && !command.shell;
        c.require(
            !command.value.is_empty() || empty_allowed,
            "command.value",
            &command.value,
            "a command (or an image with `shell: false`, which then runs its entry point)",
        );
        c.text("command.value", &command.value);
        c.no_nul("command.value", &command.value);
        c.require(
            !command.shell || command.arguments.is_empty(),
            "command.arguments",
            &command.arguments,
            "none while `shell` is true: set `shell: false`",
        );
        for (i, argument) in command.arguments.iter().enumerate() {
            c.no_nul(format!("command.arguments[{i}]"), argument);
        }
        c.variables("command.environment", &command.environment);
        c.at_most("command.uris", command.uris.len(), limits::MAX_URIS);
        for (i, uri) in command.uris.iter().enumerate() {
            c.require(
                !uri.value.is_empty(),
                format!("command.uris[{i}].value"),
                &uri.value,
                "a URI",
            );
            c.no_control(format!("command.uris[{i}].value"), &uri.value);
            c.no_control(format!("command.uris[{i}].outputFile"), &uri.output_file);
        }
    }

    fn check_container(&self, c: &mut Checker) {
        let Some(container) = &self.container else { return };
        let docker = container.kind == ContainerKind::Docker;
        c.require(
            !docker || !container.image.is_empty(),
            "container.image",
            &container.image,
            "an image, with type DOCKER",
        );
        c.variables("container.environment", &container.environment);
        for (i, mount) in container.mounts.iter().enumerate() {
            for (name, path) in [("srcVolume", &mount.src_volume), ("dstVolume", &mount.dst_volume)]
            {
                c.require(
                    !path.is_empty(),
                    format!("container.mounts[{i}].{name}"),
                    path,
                    "a path",
                );
            }
        }
        let options = &container.docker;
        let network = options.network.as_str();
        c.require(
            ["", "HOST", "BRIDGE", "NONE"].contains(&network),
            "container.docker.network",
            network,
            "HOST, BRIDGE or NONE",
        );
        for (i, mapping) in options.port_mappings.iter().enumerate() {
            let field = |name: &str| format!("container.docker.portMappings[{i}].{name}");
            c.require(
                network == "BRIDGE",
                field("portName"),
                &mapping.port_name,
                "mappings with network BRIDGE only",
            );
            let known = self.ports.iter().any(|p| p.name == mapping.port_name);
            c.require(known, field("portName"), &mapping.port_name, "a name in `ports`");
            let port = mapping.container_port;
            c.require((1..=65535).contains(&port), field("containerPort"), port, "1 to 65535");
            let protocol = mapping.protocol.as_str();
            c.require(
                ["", "tcp", "udp"].contains(&protocol),
                field("protocol"),
                protocol,
                "tcp or udp",
            );
        }
    }

    fn check_policies(&self, c: &mut Checker) {
        let restart = &self.restart_policy;
        let max_ms = limits::MAX_SECS * 1000;
        // A wait of at least 100 ms: a task that fails at once must not become a load on Mesos.
        let initial = restart.initial_backoff_ms;
        let ok = (100..=max_ms).contains(&initial);
        c.require(ok, "restartPolicy.initialBackoffMs", initial, format!("100 to {max_ms}"));
        let max = restart.max_backoff_ms;
        let ok = (initial..=max_ms).contains(&max);
        c.require(ok, "restartPolicy.maxBackoffMs", max, format!("initialBackoffMs to {max_ms}"));
        let reset = restart.reset_after_secs;
        let ok = reset <= limits::MAX_SECS;
        c.require(ok, "restartPolicy.resetAfterSecs", reset, format!("0 to {}", limits::MAX_SECS));
        let batch = self.kind == JobKind::Batch;
        c.require(
            batch || restart.max_failures.is_none(),
            "restartPolicy.maxFailures",
            restart.max_failures,
            "none for a service, which is restarted for ever",
        );
        let grace = self.kill_policy.grace_period_secs;
        let ok = grace <= limits::MAX_SECS;
        c.require(ok, "killPolicy.gracePeriodSecs", grace, format!("0 to {}", limits::MAX_SECS));
    }

    fn check_placement(&self, c: &mut Checker) {
        c.at_most(
            "placement.constraints",
            self.placement.constraints.len(),
            limits::MAX_CONSTRAINTS,
        );
        for (i, constraint) in self.placement.constraints.iter().enumerate() {
            let field = |name: &str| format!("placement.constraints[{i}].{name}");
            let attribute = &constraint.attribute;
            c.require(!attribute.is_empty(), field("attribute"), attribute, "an attribute's name");
            match &constraint.rule {
                Rule::In(values) => {
                    c.require(!values.is_empty(), field("values"), values, "one value or more");
                }
                Rule::MaxPerValue(max) => c.require(*max > 0, field("max"), max, "1 or more"),
                Rule::Equal(_) | Rule::NotEqual(_) | Rule::Unique => {}
            }
        }
        if let Some(discovery) = &self.discovery {
            let visibility = discovery.visibility.as_str();
            let ok = ["", "FRAMEWORK", "CLUSTER", "EXTERNAL"].contains(&visibility);
            c.require(ok, "discovery.visibility", visibility, "FRAMEWORK, CLUSTER or EXTERNAL");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Constraint, Container, HealthCheck, PortConfig, Uri};

    fn good() -> JobConfig {
        let mut config = JobConfig { instance_count: 3, ..Default::default() };
        config.resource.cpus_limit = 0.1;
        config.resource.mem_limit_mb = 32.0;
        config.command.value = "sleep 1000".into();
        config.command.shell = true;
        config
    }

    #[test]
    fn a_small_configuration_is_good() {
        assert_eq!(good().validate(), Ok(()));
    }

    #[test]
    fn what_mesos_or_the_kernel_cannot_take_is_refused() {
        type Spoil = fn(&mut JobConfig);
        fn variables(texts: &[(&str, &str)]) -> Vec<(String, String)> {
            texts.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
        }
        fn http(path: &str) -> Option<HealthCheck> {
            let (scheme, port) = ("http".into(), PortRef::Number(80));
            let check = Check::Http { scheme, port, path: path.into() };
            Some(HealthCheck { enabled: true, check, ..Default::default() })
        }
        fn port(env_name: &str) -> Vec<PortConfig> {
            let (name, env_name) = ("a".into(), env_name.into());
            vec![PortConfig { name, env_name, ..Default::default() }]
        }
        let cases: [(Spoil, &str); 15] = [
            (
                |c| c.name = "two\nlines".into(),
                r#"name: "two\nlines" is not allowed: no control characters"#,
            ),
            (
                |c| c.command.value = "a\0b".into(),
                r#"command.value: "a\0b" is not allowed: no NUL"#,
            ),
            (
                |c| {
                    c.command.shell = false;
                    c.command.arguments = vec!["a".into(), "\0".into()];
                },
                r#"command.arguments[1]: "\0" is not allowed: no NUL"#,
            ),
            (
                |c| c.command.environment = variables(&[("A", "a\0")]),
                r#"command.environment.variables[0].value: "a\0" is not allowed: no NUL"#,
            ),
            (
                |c| c.command.environment = variables(&[("A=B", "")]),
                r#"command.environment.variables[0].name: "A=B" is not allowed: a name without `=`"#,
            ),
            (
                |c| c.command.environment = variables(&[("A", "1"), ("B", "2"), ("A", "3")]),
                r#"command.environment.variables[2].name: "A" is not allowed: each variable once"#,
            ),
            (
                |c| {
                    let environment = variables(&[("A", "1"), ("A", "1")]);
                    c.container = Some(Container { environment, ..Default::default() });
                },
                r#"container.environment.variables[1].name: "A" is not allowed: each variable once"#,
            ),
            (
                |c| {
                    c.command.uris =
                        vec![Uri { value: "http://a/\r\n".into(), ..Default::default() }]
                },
                r#"command.uris[0].value: "http://a/\r\n" is not allowed: no control characters"#,
            ),
            (
                |c| {
                    let (value, output_file) = ("http://a/b".into(), "b\0".into());
                    c.command.uris = vec![Uri { value, output_file, ..Default::default() }];
                },
                r#"command.uris[0].outputFile: "b\0" is not allowed: no control characters"#,
            ),
            (
                |c| c.health_check = http("/a\nb"),
                r#"healthCheck.http.path: "/a\nb" is not allowed: no control characters"#,
            ),
            (
                |c| {
                    let check = Check::Command { shell: "a\0".into() };
                    c.health_check = Some(HealthCheck { check, ..http("/").unwrap() });
                },
                r#"healthCheck.shellCommand: "a\0" is not allowed: no NUL"#,
            ),
            (
                |c| c.ports = port("A=B"),
                r#"ports[0].envName: "A=B" is not allowed: a name without `=`, white space or control characters"#,
            ),
            (
                |c| c.ports = port("A B"),
                r#"ports[0].envName: "A B" is not allowed: a name without `=`, white space or control characters"#,
            ),
            (
                |c| c.ports = port("A\u{7f}"),
                r#"ports[0].envName: "A\u{7f}" is not allowed: a name without `=`, white space or control characters"#,
            ),
            (
                |c| c.health_check = http("a"),
                r#"healthCheck.http.path: "a" is not allowed: a path that starts with `/`"#,
            ),
        ];
        for (spoil, expected) in cases {
            let mut config = good();
            spoil(&mut config);
            let errors = config.validate().expect_err(expected);
            assert_eq!(errors[0].to_string(), expected);
        }
        let mut config = good();
        config.command.value = "echo a\n\techo b\n".into();
        config.command.environment = variables(&[("A", "two\nlines"), ("a", "")]);
        config.health_check = http("/a?b=c d");
        assert_eq!(config.validate(), Ok(()), "what runs is let through");
    }

    #[test]
    fn every_error_names_field_value_and_what_is_allowed() {
        type Spoil = fn(&mut JobConfig);
        let cases: [(Spoil, &str); 10] = [
            (
                |c| c.instance_count = 1_000_001,
                "instanceCount: 1000001 is not allowed: 0 to 1000000",
            ),
            (
                |c| c.resource.cpus_limit = 0.0,
                "resource.cpusLimit: 0.0 is not allowed: at least 0.01",
            ),
            (
                |c| c.resource.gpus_limit = 0.5,
                "resource.gpusLimit: 0.5 is not allowed: 0 to 1000000000, whole",
            ),
            (
                |c| {
                    c.ports =
                        vec![PortConfig { name: "a".into(), value: 70000, ..Default::default() }]
                },
                "ports[0].value: 70000 is not allowed: 0 (from the offer) to 65535",
            ),
            (
                |c| c.sla.minimum_instance_count = 4,
                "sla.minimumInstanceCount: 4 is not allowed: 0 to 3, the instanceCount",
            ),
            (
                |c| c.restart_policy.max_failures = Some(1),
                "restartPolicy.maxFailures: Some(1) is not allowed: none for a service, which is restarted for ever",
            ),
            (
                |c| c.restart_policy.initial_backoff_ms = 1,
                "restartPolicy.initialBackoffMs: 1 is not allowed: 100 to 31622400000",
            ),
            (
                |c| {
                    c.placement.constraints =
                        vec![Constraint { attribute: "rack".into(), rule: Rule::In(vec![]) }]
                },
                "placement.constraints[0].values: [] is not allowed: one value or more",
            ),
            (
                |c| c.labels = [("peloton.x".into(), String::new())].into(),
                "labels: \"peloton.x\" is not allowed: keys that do not start with `peloton.`",
            ),
            (
                |c| c.description = "x".repeat(200_000),
                "description: 200000 is not allowed: at most 16384 bytes",
            ),
        ];
        for (spoil, expected) in cases {
            let mut config = good();
            spoil(&mut config);
            let errors = config.validate().unwrap_err();
            assert_eq!(errors[0].to_string(), expected);
        }
    }
}
