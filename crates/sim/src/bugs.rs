//! Tests of the test: bugs that are planted on purpose have to be found.

use crate::many::{Args, Report, each};
use std::io::{Error, ErrorKind};

/// A planted bug.
#[cfg(feature = "planted-bugs")]
pub(crate) type Planted = peloton_core::Bug;
/// There is none in this build.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) type Planted = std::convert::Infallible;

#[cfg(feature = "planted-bugs")]
fn all() -> Vec<Planted> {
    peloton_core::Bug::ALL.to_vec()
}

#[cfg(not(feature = "planted-bugs"))]
fn all() -> Vec<Planted> {
    Vec::new()
}

/// Looks for a bug, or for each of all, seed by seed; whether all were found.
pub(crate) fn hunt(name: &str, args: &Args, tell: &mut dyn FnMut(Report)) -> std::io::Result<bool> {
    let bugs: Vec<Planted> =
        all().into_iter().filter(|bug| name == "all" || format!("{bug:?}") == name).collect();
    if bugs.is_empty() {
        let why = format!(
            "no bug {name:?} is planted in this build; with the feature planted-bugs there are {:?}",
            all()
        );
        return Err(Error::new(ErrorKind::InvalidInput, why));
    }
    let mut found_all = true;
    for bug in bugs {
        let mut found = None;
        let done = each(args, Some(bug), tell, &mut |outcome| {
            if let Some(what) = &outcome.violation
                && found.is_none()
            {
                found = Some((outcome.seed, what.clone()));
            }
            found.is_none()
        })?;
        tell(Report::Line(match &found {
            Some((seed, what)) => {
                format!("{bug:?}: found after {done} seeds, in seed {seed}: {what}")
            }
            None => format!("{bug:?}: NOT FOUND in {done} seeds"),
        }));
        found_all &= found.is_some();
    }
    Ok(found_all)
}
