//! Which form our keys and records have in etcd, written down beside them.

use peloton_store::StoreError;
use tonic::Response;

use crate::core::{Core, Repeat};
use crate::failure::Failure;
use crate::proto::rpc;
use crate::proto::rpc::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::rpc::request_op::Request;
use crate::proto::rpc::response_op::Response as OpResponse;

/// The form that this version writes, and the newest that it reads.
pub const SCHEMA_VERSION: u64 = 1;

/// Writes the version down if there is none, else makes sure that we know it. Of several masters that
/// start at once, one writes and all read the same.
pub(crate) async fn ensure(core: &Core) -> Result<(), StoreError> {
    let key = core.keys.schema();
    let read = rpc::RangeRequest { key: key.clone(), ..Default::default() };
    let put =
        rpc::PutRequest { key: key.clone(), value: SCHEMA_VERSION.to_string().into(), lease: 0 };
    let op = |request| rpc::RequestOp { request: Some(request) };
    let txn = rpc::TxnRequest {
        compare: vec![rpc::Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Create.into(),
            key,
            target_union: Some(TargetUnion::CreateRevision(0)),
        }],
        success: vec![op(Request::RequestPut(put))],
        failure: vec![op(Request::RequestRange(read))],
    };
    // Written twice it says the same.
    let timeout = core.options.request_timeout;
    let answer = core.call(Repeat::Idempotent, timeout, |connection| {
        let request = connection.request(txn.clone());
        async move { connection.kv().txn(request).await.map(Response::into_inner) }
    });
    let answer = answer.await.map_err(|failed| match failed.failure {
        Failure::Denied(reason) => StoreError::InvalidArgument { field: "store options", reason },
        failure => failure.into_error(None, None),
    })?;
    let found = answer.responses.into_iter().find_map(|response| match response.response? {
        OpResponse::ResponseRange(range) => range.kvs.into_iter().next(),
        _ => None,
    });
    match found {
        None => Ok(()),
        Some(kv) => check(&kv.value),
    }
}

fn check(value: &[u8]) -> Result<(), StoreError> {
    let version = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
    match version {
        Some(1..=SCHEMA_VERSION) => Ok(()),
        Some(found) if found > SCHEMA_VERSION => {
            Err(StoreError::Schema { found, supported: SCHEMA_VERSION })
        }
        _ => Err(StoreError::Corrupt {
            reason: format!(
                "the schema's version is {:?}; under this prefix is no store of Peloton's",
                String::from_utf8_lossy(value)
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_and_foreign_schemas_are_refused() {
        assert_eq!(check(b"1"), Ok(()));
        assert_eq!(check(b"2"), Err(StoreError::Schema { found: 2, supported: 1 }));
        for foreign in [&b""[..], b"0", b"one", b"\xff"] {
            assert!(matches!(check(foreign), Err(StoreError::Corrupt { .. })), "{foreign:?}");
        }
    }
}
