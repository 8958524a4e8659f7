//! Frameworks and agents have long ids on the wire and small numbers inside.
//!
//! Frameworks keep their number for as long as the simulation runs, over fail-overs of the master
//! too, so agents and master can speak of them by number. What a framework said of itself is kept
//! here once: an agent's copy is taken to be as new as the master's.

use crate::AgentIndex;
use crate::allocator::FrameworkKey;
use crate::operations::has_capability;
use peloton_proto::mesos::v1;
use std::collections::BTreeMap;
use std::sync::Arc;
use v1::framework_info::capability::Type as Capability;

/// What is known of a framework by its number.
#[derive(Debug, Clone)]
pub(crate) struct FrameworkName {
    pub(crate) id: Arc<str>,
    pub(crate) info: Arc<v1::FrameworkInfo>,
    pub(crate) partition_aware: bool,
    pub(crate) task_killing: bool,
}

/// Ids and numbers.
#[derive(Debug, Default)]
pub(crate) struct Names {
    frameworks: Vec<FrameworkName>,
    framework_keys: BTreeMap<Arc<str>, FrameworkKey>,
    agents: BTreeMap<Arc<str>, AgentIndex>,
}

impl Names {
    pub(crate) fn framework_key(&self, id: &str) -> Option<FrameworkKey> {
        self.framework_keys.get(id).copied()
    }

    pub(crate) fn framework(&self, key: FrameworkKey) -> Option<&FrameworkName> {
        self.frameworks.get(key.0 as usize)
    }

    pub(crate) fn framework_id(&self, key: FrameworkKey) -> v1::FrameworkId {
        let value = self.framework(key).map_or_else(String::new, |name| name.id.to_string());
        v1::FrameworkId { value }
    }

    pub(crate) fn is_partition_aware(&self, key: FrameworkKey) -> bool {
        self.framework(key).is_some_and(|name| name.partition_aware)
    }

    /// Notes what a framework says of itself, and numbers it if it is new. Its id must be set.
    pub(crate) fn note_framework(&mut self, info: v1::FrameworkInfo) -> FrameworkKey {
        let id: Arc<str> = info.id.as_ref().map_or("", |id| id.value.as_str()).into();
        let name = FrameworkName {
            id: Arc::clone(&id),
            partition_aware: has_capability(&info, Capability::PartitionAware),
            task_killing: has_capability(&info, Capability::TaskKillingState),
            info: Arc::new(info),
        };
        match self.framework_keys.get(&id) {
            Some(key) => {
                if let Some(slot) = self.frameworks.get_mut(key.0 as usize) {
                    *slot = name;
                }
                *key
            }
            None => {
                // 2^32 frameworks are out of reach: each has an entry in memory.
                let key = FrameworkKey(u32::try_from(self.frameworks.len()).unwrap_or(u32::MAX));
                self.frameworks.push(name);
                self.framework_keys.insert(id, key);
                key
            }
        }
    }

    pub(crate) fn agent(&self, id: &str) -> Option<AgentIndex> {
        self.agents.get(id).copied()
    }

    pub(crate) fn note_agent(&mut self, id: Arc<str>, agent: AgentIndex) {
        self.agents.insert(id, agent);
    }
}
