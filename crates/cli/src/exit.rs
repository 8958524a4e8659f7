//! The exit codes, and the one place where errors become them.

use std::fmt;

use peloton_client::Error;
use tonic::Code;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Ok = 0,
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Conflict = 4,
    Unreachable = 5,
    TimedOut = 6,
    Unknown = 7,
    RolledBack = 8,
    Aborted = 9,
    UpgradeFailed = 10,
    Interrupted = 130,
}

/// What each code means, for `--help` and the reference.
pub(crate) const TABLE: &[(Exit, &str)] = &[
    (Exit::Ok, "done"),
    (Exit::Failed, "refused by the master, or the job failed under --watch"),
    (Exit::Usage, "wrong command line or job file; nothing was sent"),
    (Exit::NotFound, "no such job, version, upgrade, instance or run"),
    (
        Exit::Conflict,
        "exists already, was changed by others, or can not be done in the present state",
    ),
    (
        Exit::Unreachable,
        "no master could be reached, or none could serve the request; nothing was changed",
    ),
    (Exit::TimedOut, "out of time: --timeout or --watch-timeout"),
    (Exit::Unknown, "a change was sent and its outcome is not known; look before trying again"),
    (Exit::RolledBack, "the upgrade that was watched was rolled back: all run the version before"),
    (Exit::Aborted, "the upgrade that was watched was aborted, with instances of both versions"),
    (
        Exit::UpgradeFailed,
        "the upgrade that was watched failed and was not to be rolled back: instances of both versions",
    ),
    (Exit::Interrupted, "interrupted by Ctrl-C"),
];

/// Why a command did not do what was asked, and what to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    message: String,
    hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// What to do next, as a sentence or a command.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The same with another exit code.
    pub(crate) fn exits(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// An end without a word: whoever reads our output has seen enough.
    pub(crate) fn silent() -> Self {
        Self::new(Exit::Ok, "")
    }

    pub(crate) fn no_job(job: &str) -> Self {
        Self::new(Exit::NotFound, format!("there is no job {job:?}"))
            .hint("`peloton job list` shows the jobs that there are")
    }

    pub(crate) fn no_upgrade(id: &str) -> Self {
        Self::new(Exit::NotFound, format!("there is no upgrade {id:?}")).hint(
            "`peloton upgrade list` shows those that there are; the last ones of each job are kept",
        )
    }

    pub(crate) fn no_instance(job: &str, what: &str, count: u32) -> Self {
        let there = match count {
            0 => "it has none".to_owned(),
            1 => "it has only instance 0".to_owned(),
            count => format!("it has instances 0 to {}", count - 1),
        };
        Self::new(Exit::NotFound, format!("job {job:?} has no {what}; {there}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            return Ok(());
        }
        writeln!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => writeln!(f, "hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let failure = |exit| Self::new(exit, error.to_string());
        match &error {
            Error::InvalidMaster { .. } | Error::NoMasters => {
                failure(Exit::Usage).hint("give the masters with --masters or PELOTON_MASTERS")
            }
            Error::Unreachable { .. } => failure(Exit::Unreachable).hint(
                "is a master running there? Give others with --masters a:5289,b:5289 or PELOTON_MASTERS",
            ),
            Error::Unavailable { .. } => failure(Exit::Unreachable)
                .hint("nothing was changed; try again, and see `/health` of the masters"),
            Error::TimedOut { .. } => failure(Exit::TimedOut).hint("--timeout gives it more time"),
            Error::OutcomeUnknown { .. } => {
                failure(Exit::Unknown).hint("look at the job before trying again")
            }
            Error::Refused { code, .. } => failure(refused(*code)),
            _ => failure(Exit::Failed),
        }
    }
}

fn refused(code: Code) -> Exit {
    match code {
        Code::NotFound => Exit::NotFound,
        Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => Exit::Conflict,
        Code::DeadlineExceeded => Exit::TimedOut,
        Code::Unavailable => Exit::Unreachable,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_its_code() {
        let attempts =
            || vec![peloton_client::Attempt { master: "a:1".into(), problem: "x".into() }];
        let procedure = || "JobManager.Create".to_owned();
        let timeout = std::time::Duration::from_secs(1);
        let table = [
            (Error::NoMasters, Exit::Usage),
            (Error::Unreachable { attempts: attempts() }, Exit::Unreachable),
            (
                Error::Unavailable { procedure: procedure(), attempts: attempts() },
                Exit::Unreachable,
            ),
            (
                Error::TimedOut { procedure: procedure(), timeout, attempts: attempts() },
                Exit::TimedOut,
            ),
            (Error::OutcomeUnknown { procedure: procedure(), attempts: attempts() }, Exit::Unknown),
        ];
        for (error, exit) in table {
            assert_eq!(Failure::from(error.clone()).exit, exit, "{error}");
        }
        for (code, exit) in [
            (Code::InvalidArgument, Exit::Failed),
            (Code::NotFound, Exit::NotFound),
            (Code::AlreadyExists, Exit::Conflict),
            (Code::Aborted, Exit::Conflict),
            (Code::DeadlineExceeded, Exit::TimedOut),
        ] {
            assert_eq!(refused(code), exit);
        }
    }
}
