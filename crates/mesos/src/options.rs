//! What a client is told at its start, checked before anything is tried.

use crate::masters::Masters;
use peloton_mesos_wire::calls::{DEFAULT_API_PATH, FrameworkSettings};
use peloton_mesos_wire::session::SessionOptions;
use peloton_mesos_wire::{AddressError, MasterAddress};
use std::fmt;

/// The options of a client.
#[derive(Debug, Clone)]
pub struct Options {
    /// How the leading master is found.
    pub masters: Masters,
    /// The path of the scheduler API.
    pub api_path: String,
    /// What the framework says about itself.
    pub framework: FrameworkSettings,
    /// With which to authenticate, if the masters ask for it.
    pub credential: Option<Credential>,
    /// How long to wait for what.
    pub timeouts: Timeouts,
}

impl Options {
    /// Options with a list of masters, the stock API path, no credential and the default times.
    pub fn new(masters: Vec<String>, framework: FrameworkSettings) -> Self {
        Self {
            masters: Masters::List(masters),
            api_path: DEFAULT_API_PATH.to_owned(),
            framework,
            credential: None,
            timeouts: Timeouts::default(),
        }
    }

    /// Checks everything and reads the listed masters' addresses.
    pub(crate) fn validate(
        &self,
        framework_id: Option<&str>,
    ) -> Result<Vec<MasterAddress>, OptionsError> {
        let error = |field, value: &str, allowed| {
            let value = value.to_owned();
            Err::<(), _>(OptionsError::Invalid { field, value, allowed })
        };
        let framework = &self.framework;
        let text = |field, value: &str| match value {
            "" => error(field, value, "a text that is not empty"),
            _ => Ok(()),
        };
        let masters = self.masters.addresses()?;
        if !self.api_path.starts_with('/') || self.api_path.parse::<::http::Uri>().is_err() {
            error("api_path", &self.api_path, "the path of a URL, beginning with /")?;
        }
        text("framework.user", &framework.user)?;
        text("framework.name", &framework.name)?;
        text("framework.role", &framework.role)?;
        if framework.role == "*" {
            error("framework.role", "*", "any role but *, which cannot reserve")?;
        }
        if let Some(id) = framework_id {
            text("framework_id", id)?;
        }
        if let Some(credential) = &self.credential {
            let principal = &credential.principal;
            text("credential.principal", principal)?;
            if principal.contains(':') {
                error("credential.principal", principal, "a principal without a colon")?;
            }
            if framework.principal.as_ref().is_some_and(|own| own != principal) {
                let allowed = "the same principal as framework.principal";
                error("credential.principal", principal, allowed)?;
            }
        }
        self.timeouts.validate()?;
        Ok(masters)
    }

    /// The options of the session inside.
    pub(crate) fn session(
        &self,
        masters: Vec<MasterAddress>,
        framework_id: Option<String>,
    ) -> SessionOptions {
        SessionOptions {
            backoff_min_ms: self.timeouts.backoff_min_ms,
            backoff_max_ms: self.timeouts.backoff_max_ms,
            subscribe_timeout_ms: self.timeouts.subscribe_timeout_ms,
            ..SessionOptions::new(masters, framework_id)
        }
    }
}

/// A principal and its secret. The secret is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// Who the framework is.
    pub principal: String,
    /// How it proves that.
    pub secret: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("principal", &self.principal).finish_non_exhaustive()
    }
}

/// How long to wait for what, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a TCP connection. A host that is down and silent costs this much at every round.
    pub connect_timeout_ms: u64,
    /// From connecting to SUBSCRIBED.
    pub subscribe_timeout_ms: u64,
    /// For the answer to one call, after which the session counts as broken.
    pub call_timeout_ms: u64,
    /// The pause after the first round of masters in vain; doubles with each.
    pub backoff_min_ms: u64,
    /// The longest pause between rounds.
    pub backoff_max_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 3_000,
            subscribe_timeout_ms: SessionOptions::DEFAULT_SUBSCRIBE_TIMEOUT_MS,
            // A master answers a call before it acts on it; this long it is only when stuck.
            call_timeout_ms: 15_000,
            backoff_min_ms: SessionOptions::DEFAULT_BACKOFF_MIN_MS,
            backoff_max_ms: SessionOptions::DEFAULT_BACKOFF_MAX_MS,
        }
    }
}

impl Timeouts {
    fn validate(&self) -> Result<(), OptionsError> {
        /// An hour: whoever waits longer has mistaken the unit.
        const MAX_MS: u64 = 3_600_000;
        for (field, value) in [
            ("timeouts.connect_timeout_ms", self.connect_timeout_ms),
            ("timeouts.subscribe_timeout_ms", self.subscribe_timeout_ms),
            ("timeouts.call_timeout_ms", self.call_timeout_ms),
            ("timeouts.backoff_min_ms", self.backoff_min_ms),
            ("timeouts.backoff_max_ms", self.backoff_max_ms),
        ] {
            if !(1..=MAX_MS).contains(&value) {
                let allowed = "1 to 3600000 ms";
                return Err(OptionsError::Invalid { field, value: value.to_string(), allowed });
            }
        }
        if self.backoff_min_ms > self.backoff_max_ms {
            return Err(OptionsError::Invalid {
                field: "timeouts.backoff_min_ms",
                value: self.backoff_min_ms.to_string(),
                allowed: "at most timeouts.backoff_max_ms",
            });
        }
        Ok(())
    }
}

/// An option that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// An option has a value that is not allowed.
    #[error("{field} is {value:?}; allowed is {allowed}")]
    Invalid {
        /// The option.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// A master's address cannot be read.
    #[error("masters: {0}")]
    Master(AddressError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        let framework = FrameworkSettings {
            user: "root".into(),
            name: "peloton".into(),
            role: "peloton/0".into(),
            principal: Some("peloton".into()),
            failover_timeout_ms: 1_000,
            checkpoint: true,
            hostname: None,
            webui_url: None,
            capabilities: FrameworkSettings::default_capabilities(),
        };
        Options::new(vec!["m1".into(), "http://m2:80".into()], framework)
    }

    #[test]
    fn good_options_give_the_masters_in_order() {
        let masters = options().validate(Some("f-1")).unwrap();
        assert_eq!(
            masters.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["m1:5050", "m2:80"]
        );
    }

    #[test]
    fn a_bad_option_is_named() {
        type Change = fn(&mut Options);
        let changes: [(&str, Change); 14] = [
            ("masters is \"0\"", |o| o.masters = Masters::List(Vec::new())),
            ("masters is \"33\"", |o| o.masters = Masters::List(vec!["m".into(); 33])),
            ("masters: master address \"zk://m/x\"", |o| {
                o.masters = Masters::List(vec!["zk://m/x".into()])
            }),
            ("api_path", |o| o.api_path = "api".into()),
            ("api_path", |o| o.api_path = "/a b".into()),
            ("framework.user", |o| o.framework.user.clear()),
            ("framework.name", |o| o.framework.name.clear()),
            ("framework.role", |o| o.framework.role.clear()),
            ("framework.role", |o| o.framework.role = "*".into()),
            ("credential.principal", |o| o.credential = Some(credential(""))),
            ("credential.principal", |o| o.credential = Some(credential("pelo:ton"))),
            ("credential.principal is \"other\"", |o| o.credential = Some(credential("other"))),
            ("timeouts.call_timeout_ms", |o| o.timeouts.call_timeout_ms = 0),
            ("timeouts.backoff_min_ms", |o| o.timeouts.backoff_min_ms = 20_000),
        ];
        for (expected, change) in changes {
            let mut options = options();
            change(&mut options);
            let error = options.validate(None).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        assert!(options().validate(Some("")).unwrap_err().to_string().starts_with("framework_id"));
    }

    fn credential(principal: &str) -> Credential {
        Credential { principal: principal.into(), secret: "geheim".into() }
    }

    #[test]
    fn the_secret_is_not_printed() {
        let text = format!("{:?}", credential("peloton"));
        assert!(text.contains("peloton") && !text.contains("geheim"), "{text}");
    }
}
