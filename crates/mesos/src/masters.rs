//! Which Mesos master to talk to: from a list, or through ZooKeeper.
//!
//! A list works with any number of masters: one that does not lead points to the one that does. It takes a
//! stream that breaks to notice that the leader changed. ZooKeeper says so by itself.

use crate::options::OptionsError;
use crate::zookeeper::ZooKeeper;
use peloton_mesos_wire::MasterAddress;
use std::fmt;

/// The most masters that can be configured. Mesos clusters have 3 or 5; a list much longer than
/// that is a mistake, and trying all of it would take minutes.
const MAX_MASTERS: usize = 32;

/// How the leading master is found.
#[derive(Debug, Clone, PartialEq)]
pub enum Masters {
    /// These, `host:port` or `http://host:port`, in the order to try them. One that does not lead is
    /// enough to find the one that does.
    List(Vec<String>),
    /// The one that ZooKeeper names.
    ZooKeeper(ZooKeeper),
}

impl Masters {
    /// The listed masters' addresses; none where there is no list.
    ///
    /// # Errors
    /// The list is empty or too long, or has something that is no address.
    pub fn addresses(&self) -> Result<Vec<MasterAddress>, OptionsError> {
        let Self::List(masters) = self else { return Ok(Vec::new()) };
        if masters.is_empty() || masters.len() > MAX_MASTERS {
            return Err(OptionsError::Invalid {
                field: "masters",
                value: masters.len().to_string(),
                allowed: "1 to 32 masters",
            });
        }
        let parse = |master: &String| MasterAddress::parse(master).map_err(OptionsError::Master);
        masters.iter().map(parse).collect()
    }

    /// The ZooKeeper, where there is one.
    pub fn zookeeper(&self) -> Option<&ZooKeeper> {
        match self {
            Self::List(_) => None,
            Self::ZooKeeper(zookeeper) => Some(zookeeper),
        }
    }
}

impl From<Vec<String>> for Masters {
    fn from(masters: Vec<String>) -> Self {
        Self::List(masters)
    }
}

impl From<ZooKeeper> for Masters {
    fn from(zookeeper: ZooKeeper) -> Self {
        Self::ZooKeeper(zookeeper)
    }
}

impl fmt::Display for Masters {
    /// Where it looks, without a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(masters) => f.write_str(&masters.join(",")),
            Self::ZooKeeper(zookeeper) => zookeeper.url().fmt(f),
        }
    }
}

/// How the leading master of a session was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is on the list, and leads.
    List,
    /// Another master pointed to it.
    Redirect {
        /// The master that did, `host:port`.
        from: String,
    },
    /// ZooKeeper names it.
    ZooKeeper {
        /// The name of its node.
        node: String,
    },
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List => f.write_str("from the list of masters"),
            Self::Redirect { from } => write!(f, "redirected by {from}"),
            Self::ZooKeeper { node } => write!(f, "in ZooKeeper as {node}"),
        }
    }
}
