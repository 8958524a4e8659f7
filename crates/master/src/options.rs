//! The configuration as the parts take it.

use peloton_config::MasterConfig;
use peloton_core::Settings;
use peloton_mesos as mesos;
use peloton_model::ShardId;
use std::net::SocketAddr;

/// Where others reach the API that listens there. All addresses of a host are none that anybody could
/// connect with, so its name stands for them.
pub(crate) fn advertised(config: &MasterConfig, listens: SocketAddr) -> String {
    if let Some(address) = &config.master.advertise {
        return address.to_string();
    }
    match host_name() {
        Some(host) if listens.ip().is_unspecified() => format!("{host}:{}", listens.port()),
        _ => listens.to_string(),
    }
}

/// This host's name, if it has one.
pub(crate) fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// How the API is served.
pub(crate) fn api(config: &MasterConfig) -> peloton_api::Options {
    peloton_api::Options {
        listen: config.master.listen.to_string(),
        port: config.master.port,
        max_request_bytes: config.master.max_request_bytes,
        drain_timeout: config.master.shutdown_timeout(),
        ..Default::default()
    }
}

/// How the leading Mesos master is found.
pub(crate) fn masters(config: &MasterConfig) -> mesos::Masters {
    // The configuration refuses a URL that is none; the list that would be tried then is the default.
    let zookeeper = config.mesos.zk.as_deref().and_then(|url| mesos::ZooKeeper::parse(url).ok());
    match zookeeper {
        Some(zookeeper) => mesos::Masters::ZooKeeper(zookeeper),
        None => {
            let list = config.mesos.addresses().iter().map(ToString::to_string).collect();
            mesos::Masters::List(list)
        }
    }
}

/// How shards are run; the cluster's id and when the process started are still to be filled in.
pub(crate) fn node(
    config: &MasterConfig,
    master: &str,
    address: &str,
    shards: u16,
) -> peloton_node::Options {
    let framework = &config.mesos.framework;
    let settings = mesos::FrameworkSettings {
        user: framework.user.clone(),
        name: framework.name.clone(),
        role: framework.role.clone(),
        principal: Some(framework.principal.clone()).filter(|p| !p.is_empty()),
        failover_timeout_ms: framework.failover_timeout.saturating_mul(1000),
        checkpoint: framework.checkpoint,
        hostname: None,
        webui_url: None,
        capabilities: mesos::FrameworkSettings::default_capabilities(),
    };
    let credential = framework.secret.as_ref().map(|secret| mesos::Credential {
        principal: framework.principal.clone(),
        secret: secret.reveal().to_owned(),
    });
    let mut core = Settings::new(ShardId(0), &framework.role);
    core.unreachable_replace_ms = config.agents.unreachable_replace_secs.saturating_mul(1000);
    core.mass_unreachable_percent = u32::from(config.agents.mass_unreachable_percent);
    peloton_node::Options {
        cluster: String::new(),
        master: master.to_owned(),
        address: address.to_owned(),
        shards,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        schema: crate::schema::NEWEST,
        started_at: 0,
        lease_ttl: config.cluster.lease_ttl(),
        sharing: peloton_node::Sharing::default(),
        mesos: mesos::Options {
            api_path: config.mesos.api_path.clone(),
            credential,
            masters: masters(config),
            ..mesos::Options::new(Vec::new(), settings)
        },
        settings: core,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics fails")]
mod tests {
    use super::*;
    use peloton_config::{Flag, load_flags};

    #[test]
    fn a_zookeeper_that_the_configuration_takes_is_used() {
        for url in [
            "zk://a:2181/mesos",
            "zk://me:ge@he:im,@a-1.example.com:2181,10.0.0.1:2182,[::1]:2183/mesos/east",
        ] {
            let flags = vec![Flag::new("mesos.zk", url, "test")];
            let found = masters(&load_flags(flags).unwrap().config);
            assert!(matches!(found, mesos::Masters::ZooKeeper(_)), "{found:?}");
            assert!(!format!("{found:?} {found}").contains("he:im"), "{found}");
        }
        let flags = vec![Flag::new("mesos.masters", "a:1,b:2", "test")];
        assert_eq!(masters(&load_flags(flags).unwrap().config).to_string(), "a:1,b:2");
    }

    #[test]
    fn what_is_advertised_can_be_connected_with() {
        let config = |flags: &[(&str, &str)]| {
            let flags = flags.iter().map(|(key, value)| Flag::new(*key, *value, "test"));
            load_flags(flags.collect()).unwrap().config
        };
        let [one, all] = ["10.1.2.3:5289", "0.0.0.0:5289"].map(|text| text.parse().unwrap());
        assert_eq!(advertised(&config(&[]), one), "10.1.2.3:5289");
        let host = host_name().unwrap();
        assert_eq!(advertised(&config(&[]), all), format!("{host}:5289"));
        let config = config(&[("master.advertise", "m1.example.com:80")]);
        assert_eq!(advertised(&config, all), "m1.example.com:80");
    }
}
