//! Which upgrades are refused, whatever the cluster looks like. Every error names the field, the value and
//! what is allowed.

use peloton_model::job::JobKind;
use peloton_model::{FieldError, JobConfig, UpgradeOptions, limits};

use super::UpgradeRequest;
use crate::ApiError;
use crate::domain::volumes;

/// Checks what the request says by itself; tells all that is wrong.
pub(super) fn check(request: &UpgradeRequest) -> Result<(), ApiError> {
    let mut errors = request.config.validate().err().unwrap_or_default();
    check_options(&request.options, &mut errors);
    if errors.is_empty() { Ok(()) } else { Err(ApiError::fields(&errors)) }
}

fn check_options(options: &UpgradeOptions, errors: &mut Vec<FieldError>) {
    let percent = options.batch_percentage;
    if !(0.0..=100.0).contains(&percent) {
        errors.push(FieldError::new("options.batchPercentage", percent, "0 to 100"));
    }
    let max = limits::MAX_SECS;
    for (field, secs, least) in [
        ("options.healthDeadlineSecs", options.health_deadline_secs, 1),
        ("options.minHealthySecs", options.min_healthy_secs, 0),
        ("options.placementDeadlineSecs", options.placement_deadline_secs, 1),
    ] {
        if !(least..=max).contains(&secs) {
            errors.push(FieldError::new(field, secs, format!("{least} to {max}")));
        }
    }
}

/// Checks an upgrade from a configuration to another one.
pub(super) fn check_pair(
    old: &JobConfig,
    new: &JobConfig,
    options: &UpgradeOptions,
) -> Result<(), ApiError> {
    volumes::sizes_stay(old, new)?;
    let mut errors = Vec::new();
    let name = |kind| if kind == JobKind::Batch { "BATCH" } else { "SERVICE" };
    if old.kind == JobKind::Batch {
        let allowed =
            "upgrades of services only: instances of a batch job run to their end, each once";
        errors.push(FieldError::new("jobConfig.type", name(old.kind), allowed));
    } else if new.kind != old.kind {
        let allowed = format!("{}, the type of the job, for its life", name(old.kind));
        errors.push(FieldError::new("jobConfig.type", name(new.kind), allowed));
    }
    // What is promised of both is what the upgrade keeps to. Without an instance that may be down it
    // could not begin.
    let count = old.instance_count;
    let promised = minimum(old).min(minimum(new));
    if count > 0 && promised >= count && !options.stop_before_upgrade {
        let allowed = format!(
            "such that fewer than {count} instances, the number there are, must be up, as an upgrade takes \
             down one at a time at least; or options.stopBeforeUpgrade"
        );
        errors.push(if new.sla.minimum_instance_count >= promised {
            let minimum = new.sla.minimum_instance_count;
            FieldError::new("sla.minimumInstanceCount", minimum, allowed)
        } else {
            let minimum = new.sla.minimum_instance_percent;
            FieldError::new("sla.minimumInstancePercent", minimum, allowed)
        });
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::fields(&errors)) }
}

/// How many instances are to be up at all times.
fn minimum(config: &JobConfig) -> u32 {
    let sla = &config.sla;
    let share = f64::from(config.instance_count) * sla.minimum_instance_percent / 100.0;
    sla.minimum_instance_count.max(share.ceil() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(count: u32, minimum: u32, percent: f64) -> JobConfig {
        let mut config = JobConfig { instance_count: count, ..Default::default() };
        config.sla.minimum_instance_count = minimum;
        config.sla.minimum_instance_percent = percent;
        config
    }

    #[test]
    fn an_instance_must_be_allowed_to_be_down() {
        let refused = |old: &JobConfig, new: &JobConfig| {
            let checked = check_pair(old, new, &UpgradeOptions::default());
            checked.err().map(|e| e.message.split(':').next().unwrap_or_default().to_owned())
        };
        let field = |name: &str| Some(format!("sla.{name}"));
        let count = "minimumInstanceCount";
        assert_eq!(refused(&config(3, 3, 0.0), &config(3, 3, 0.0)), field(count));
        assert_eq!(refused(&config(3, 0, 70.0), &config(3, 3, 0.0)), field(count));
        let percent = "minimumInstancePercent";
        assert_eq!(refused(&config(3, 3, 0.0), &config(3, 0, 70.0)), field(percent));
        // Either of both may allow it; none is down where there was none.
        for (old, new) in [
            (config(3, 3, 0.0), config(3, 2, 0.0)),
            (config(3, 2, 0.0), config(3, 3, 0.0)),
            (config(3, 0, 66.6), config(9, 9, 0.0)),
            (config(0, 0, 100.0), config(3, 3, 0.0)),
        ] {
            assert_eq!(refused(&old, &new), None);
        }
        let stop = UpgradeOptions { stop_before_upgrade: true, ..Default::default() };
        assert!(check_pair(&config(3, 3, 0.0), &config(3, 3, 0.0), &stop).is_ok());
    }
}
