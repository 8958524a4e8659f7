//! What etcd's errors mean for a caller: above all, whether a write can have happened.
//!
//! etcd tells its errors as gRPC statuses with fixed texts. Errors that are found before a request is
//! proposed to the cluster, or when it is applied, leave nothing behind. After a time-out, a change of
//! the leader, or a broken connection nobody knows: the proposal may still be committed.

use std::error::Error;

use peloton_store::{LeaseId, Revision, StoreError};
use tonic::{Code, ConnectError, Status};

/// Why a request was not answered as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing happened; the same may work later or at another member.
    NotDone(String),
    /// It may have happened.
    InDoubt(String),
    /// Nothing happened, for the token is not valid any more.
    Token(String),
    /// Nothing happened, and it does not help to repeat it soon: an operator has to do something.
    Denied(String),
    /// There is no such lease.
    LeaseNotFound,
    /// The revision asked for is compacted.
    Compacted,
    /// The revision asked for is in the future.
    FutureRevision(String),
    /// The answer is larger than we take.
    AnswerTooLarge(String),
    /// The request itself is wrong.
    Refused(StoreError),
}

/// How etcd's own texts begin.
const ETCD: &str = "etcdserver: ";

impl Failure {
    /// What a status means.
    pub(crate) fn of(status: &Status) -> Self {
        let text = status.message().to_owned();
        if status.source().is_some() {
            // Found on our side of the connection.
            return if has_cause::<ConnectError>(status) {
                Self::NotDone(full_text(status))
            } else {
                Self::InDoubt(full_text(status))
            };
        }
        match text.strip_prefix(ETCD).unwrap_or(&text) {
            "requested lease not found" => Self::LeaseNotFound,
            "mvcc: required revision has been compacted" => Self::Compacted,
            "mvcc: required revision is a future revision" => Self::FutureRevision(text),
            // The last one: authentication was switched on after the connection was made.
            "invalid auth token" | "revision of auth store is old" | "user name is empty" => {
                Self::Token(text)
            }
            "mvcc: database space exceeded" => Self::Denied(format!(
                "{text}: compact, defragment, and disarm the alarm, or raise its quota"
            )),
            "permission denied" | "authentication failed, invalid user ID or password" => {
                Self::Denied(text)
            }
            // Found before the request was proposed.
            "no leader"
            | "not leader"
            | "too many requests"
            | "not capable"
            | "rpc not supported for learner"
            | "unhealthy cluster"
            | "raft proposal dropped" => Self::NotDone(text),
            "too many operations in txn request" => Self::Refused(invalid(
                "max_txn_ops",
                format!("{text}; etcd's --max-txn-ops is less than what is configured here"),
            )),
            "request is too large" => Self::Refused(invalid(
                "txn",
                format!("{text}; etcd's --max-request-bytes is less than 1.5 MiB"),
            )),
            "duplicate key given in txn request"
            | "key is not provided"
            | "too large lease TTL" => Self::Refused(invalid("txn", text)),
            _ => Self::of_code(status.code(), text),
        }
    }

    /// Of errors that are not in the list.
    fn of_code(code: Code, text: String) -> Self {
        match code {
            Code::OutOfRange if text.contains("message length too large") => {
                Self::AnswerTooLarge(text)
            }
            Code::ResourceExhausted if text.contains("larger than max") => {
                Self::Refused(invalid("txn", text))
            }
            Code::Unauthenticated => Self::Token(text),
            Code::PermissionDenied => Self::Denied(text),
            Code::InvalidArgument | Code::FailedPrecondition => {
                Self::Refused(invalid("request", text))
            }
            // No such service: it is no etcd of version 3.
            Code::Unimplemented => Self::NotDone(text),
            Code::DataLoss => Self::Refused(StoreError::Corrupt { reason: text }),
            _ => Self::InDoubt(text),
        }
    }

    /// The contract's error; `lease` and `revision` are those of the request, if it has them.
    pub(crate) fn into_error(
        self,
        lease: Option<LeaseId>,
        revision: Option<Revision>,
    ) -> StoreError {
        match self {
            Self::NotDone(reason) | Self::Token(reason) | Self::Denied(reason) => {
                unavailable(reason)
            }
            Self::InDoubt(reason) => StoreError::Unknown { reason },
            Self::LeaseNotFound => match lease {
                Some(id) => StoreError::LeaseNotFound { id },
                None => StoreError::Unknown { reason: "a lease that is not ours".to_owned() },
            },
            // etcd does not say how far it is compacted: at least to the revision after this one.
            Self::Compacted => StoreError::Compacted { at: revision.unwrap_or_default().next() },
            Self::FutureRevision(reason) => invalid("revision", reason),
            Self::AnswerTooLarge(reason) => unavailable(reason),
            Self::Refused(error) => error,
        }
    }

    /// Whether it was the connection that failed, not etcd.
    pub(crate) fn is_connection(status: &Status) -> bool {
        status.source().is_some()
    }

    /// What went wrong, for people.
    pub(crate) fn reason(self) -> String {
        match self {
            Self::NotDone(reason)
            | Self::InDoubt(reason)
            | Self::Token(reason)
            | Self::Denied(reason)
            | Self::FutureRevision(reason)
            | Self::AnswerTooLarge(reason) => reason,
            Self::LeaseNotFound => "requested lease not found".to_owned(),
            Self::Compacted => "the revision is compacted".to_owned(),
            Self::Refused(error) => error.to_string(),
        }
    }
}

fn invalid(field: &'static str, reason: String) -> StoreError {
    StoreError::InvalidArgument { field, reason }
}

fn has_cause<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<E>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// An error with all of its causes; each of them says only its own part.
pub(crate) fn full_text(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// The store cannot do it now; nothing was written.
pub(crate) fn unavailable(reason: impl Into<String>) -> StoreError {
    StoreError::Unavailable { reason: reason.into() }
}

/// The reason given after the close.
pub(crate) const CLOSED: &str = "the store was closed";

/// The store was closed.
pub(crate) fn closed() -> StoreError {
    unavailable(CLOSED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_happened_is_in_doubt() {
        let status = |code, text: &str| Failure::of(&Status::new(code, text));
        let in_doubt = |failure| matches!(failure, Failure::InDoubt(_));
        let not_done = |failure| matches!(failure, Failure::NotDone(_));
        for text in [
            "etcdserver: request timed out",
            "etcdserver: request timed out, possibly due to previous leader failure",
            "etcdserver: leader changed",
            "etcdserver: server stopped",
        ] {
            assert!(in_doubt(status(Code::Unavailable, text)), "{text}");
        }
        assert!(in_doubt(status(Code::Unknown, "something new")));
        assert!(not_done(status(Code::Unavailable, "etcdserver: no leader")));
        assert!(not_done(status(Code::ResourceExhausted, "etcdserver: too many requests")));
        let no_space = status(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
        assert!(matches!(no_space, Failure::Denied(_)));
        let token = status(Code::Unauthenticated, "etcdserver: invalid auth token");
        assert!(matches!(token, Failure::Token(_)));
    }

    #[test]
    fn a_connection_that_was_never_made_did_nothing() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let status = Status::from_error(Box::new(ConnectError(Box::new(refused))));
        assert!(matches!(Failure::of(&status), Failure::NotDone(_)), "{status:?}");
        let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let status = Status::from_error(Box::new(broken));
        assert!(matches!(Failure::of(&status), Failure::InDoubt(_)), "{status:?}");
    }
}
