//! ZooKeeper's leader rule: who among the registered masters leads.
//!
//! Every master creates a sequential node under the cluster's path; the lowest number leads. The
//! node's content says where that master listens. Both are pure functions here, so that the
//! ZooKeeper client only has to fetch the children and one node's content.

use crate::address::{AddressError, MasterAddress};
use serde::Deserialize;

/// The start of the nodes whose content is JSON, which is what masters since 0.24 write.
const JSON_PREFIX: &str = "json.info_";

/// The start of the nodes that older masters wrote in another format.
const OLD_PREFIX: &str = "info_";

/// Why no leader could be read out of ZooKeeper.
#[derive(Debug, thiserror::Error)]
pub enum LeaderError {
    /// The lowest node was written by a master too old for us.
    #[error("node {node:?} leads and is not JSON: the master is older than Mesos 0.24")]
    OldFormat {
        /// The node's name.
        node: String,
    },
    /// The node's content is no MasterInfo.
    #[error("content of the leader's node is no MasterInfo in JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The MasterInfo lacks what a connection needs.
    #[error("MasterInfo has neither address.ip nor address.hostname with address.port")]
    NoAddress,
    /// The MasterInfo's address is no address.
    #[error("MasterInfo in ZooKeeper: {0}")]
    Address(#[from] AddressError),
}

/// The child of the cluster's path that belongs to the leading master, or `None` if no master is
/// registered. Other children (such as `log_replicas`) are passed over.
///
/// # Errors
/// The leading master is too old to be understood.
pub fn leading_child<'a, I>(children: I) -> Result<Option<&'a str>, LeaderError>
where
    I: IntoIterator<Item = &'a str>,
{
    // ZooKeeper's counter is a signed 32-bit number printed with at least ten characters; it
    // wraps to negative numbers, which Mesos too compares as numbers.
    let sequence = |child: &str| -> Option<i64> {
        let digits = child.strip_prefix(JSON_PREFIX).or_else(|| child.strip_prefix(OLD_PREFIX))?;
        if digits.starts_with('+') { None } else { digits.parse().ok() }
    };
    let lowest = children.into_iter().filter_map(|c| Some((sequence(c)?, c))).min();
    match lowest {
        Some((_, child)) if !child.starts_with(JSON_PREFIX) => {
            Err(LeaderError::OldFormat { node: child.to_owned() })
        }
        Some((_, child)) => Ok(Some(child)),
        None => Ok(None),
    }
}

#[derive(Deserialize)]
struct MasterInfo {
    address: Option<Address>,
}

#[derive(Deserialize)]
struct Address {
    ip: Option<String>,
    hostname: Option<String>,
    port: Option<u16>,
}

/// Where the master listens that wrote this node. The IP address is preferred: it needs no name
/// service that both sides agree on.
///
/// # Errors
/// The content is not the JSON of a MasterInfo, or lacks `address`.
pub fn master_address(content: &[u8]) -> Result<MasterAddress, LeaderError> {
    let info: MasterInfo = serde_json::from_slice(content)?;
    let address = info.address.ok_or(LeaderError::NoAddress)?;
    let port = address.port.ok_or(LeaderError::NoAddress)?;
    let present = |text: &String| !text.is_empty();
    let host = address.ip.filter(present).or_else(|| address.hostname.filter(present));
    Ok(MasterAddress::new(&host.ok_or(LeaderError::NoAddress)?, port)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_sequence_leads() {
        for (children, leader) in [
            (vec![], None),
            (vec!["log_replicas"], None),
            (vec!["json.info_0000000010", "json.info_0000000009"], Some("json.info_0000000009")),
            (
                vec!["log_replicas", "json.info_0000000001", "json.info_"],
                Some("json.info_0000000001"),
            ),
            (vec!["json.info_9999999999", "json.info_10000000000"], Some("json.info_9999999999")),
            (vec!["json.info_2147483647", "json.info_-2147483648"], Some("json.info_-2147483648")),
            (vec!["json.info_000000000x", "json.info_0000000002"], Some("json.info_0000000002")),
            (vec!["info_0000000003", "json.info_0000000002"], Some("json.info_0000000002")),
        ] {
            assert_eq!(leading_child(children.iter().copied()).unwrap(), leader, "{children:?}");
        }
    }

    #[test]
    fn a_leader_too_old_is_named() {
        let error = leading_child(["info_0000000001", "json.info_0000000002"]).unwrap_err();
        assert!(error.to_string().contains("info_0000000001"), "{error}");
    }

    #[test]
    fn the_address_is_read_from_the_json() {
        let json = |address: &str| {
            format!(
                r#"{{"address":{address},"hostname":"m","id":"4f-1","ip":16777343,
                "pid":"master@127.0.0.1:5050","port":5050,"version":"1.11.0",
                "capabilities":[{{"type":"AGENT_UPDATE"}}]}}"#
            )
        };
        for (address, expected) in [
            (r#"{"hostname":"m1","ip":"10.0.0.1","port":5051}"#, "10.0.0.1:5051"),
            (r#"{"hostname":"m1","port":5051}"#, "m1:5051"),
            (r#"{"hostname":"m1","ip":"","port":5051}"#, "m1:5051"),
            (r#"{"ip":"::1","port":5051}"#, "[::1]:5051"),
        ] {
            assert_eq!(master_address(json(address).as_bytes()).unwrap().to_string(), expected);
        }
        for bad in [json("{}"), json("null"), json(r#"{"ip":"1.2.3.4"}"#), json(r#"{"port":1}"#)] {
            assert!(matches!(master_address(bad.as_bytes()), Err(LeaderError::NoAddress)), "{bad}");
        }
        assert!(matches!(
            master_address(json(r#"{"ip":"1.2.3.4","port":0}"#).as_bytes()),
            Err(LeaderError::Address(_))
        ));
        assert!(matches!(master_address(b"\x0a\x04old!"), Err(LeaderError::Json(_))));
    }
}
