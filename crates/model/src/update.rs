//! What differs between two configurations, and whether running instances must be replaced for it.

use crate::JobConfig;

/// A field in which two configurations differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The field's name as users write it.
    pub field: String,
    /// Whether running instances must be replaced for it to take effect, which is an upgrade.
    pub needs_upgrade: bool,
}

/// Fields that say nothing about a running task: they describe the job, or rule later decisions.
const LIVE_FIELDS: [&str; 9] = [
    "name",
    "owningTeam",
    "ldapGroups",
    "description",
    "labels",
    "instanceCount",
    "sla",
    "restartPolicy",
    "placement",
];

/// The top-level fields in which two configurations differ, in the order of their names.
#[must_use]
pub fn fields_changed(old: &JobConfig, new: &JobConfig) -> Vec<Change> {
    let fields = |config: &JobConfig| match serde_json::to_value(config) {
        Ok(serde_json::Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    };
    let (old, new) = (fields(old), fields(new));
    new.into_iter()
        .filter(|(field, value)| old.get(field) != Some(value))
        .map(|(field, _)| Change { needs_upgrade: !LIVE_FIELDS.contains(&field.as_str()), field })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_needs_an_upgrade_and_the_description_does_not() {
        let old = JobConfig::default();
        let mut new = old.clone();
        assert!(fields_changed(&old, &new).is_empty());
        new.description = "x".into();
        new.command.value = "true".into();
        let change = |field: &str, needs_upgrade| Change { field: field.to_owned(), needs_upgrade };
        assert_eq!(
            fields_changed(&old, &new),
            [change("command", true), change("description", false)]
        );
    }

    #[test]
    fn every_live_field_is_a_field() {
        let value = serde_json::to_value(JobConfig::default()).unwrap();
        for field in LIVE_FIELDS {
            assert!(value.get(field).is_some(), "{field}");
        }
    }
}
