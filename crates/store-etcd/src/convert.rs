//! Transactions of the contract as etcd's, and the answers back.

use peloton_store::{
    Compare, Key, Op, RangeRequest, RangeResponse, Revision, StoreError, Txn, TxnResult,
};
use prost::Message;

use crate::key_space::KeySpace;
use crate::options::MAX_REQUEST_BYTES;
use crate::proto::rpc;
use crate::proto::rpc::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::rpc::request_op::Request;
use crate::proto::rpc::response_op::Response;

/// One transaction: our compares, our operations if all hold, and else a read of every compared key,
/// which tells what did not hold.
pub(crate) fn txn(keys: &KeySpace, txn: &Txn) -> Result<rpc::TxnRequest, StoreError> {
    let request = rpc::TxnRequest {
        compare: txn.compares.iter().map(|one| compare(keys, one)).collect(),
        success: txn.then.iter().filter_map(|one| op(keys, one)).collect(),
        failure: txn.compares.iter().map(|one| read(keys, one)).collect(),
    };
    let size = request.encoded_len();
    if size > MAX_REQUEST_BYTES {
        let what = "size of the request to etcd in bytes";
        return Err(StoreError::TooLarge {
            what,
            size: size as u64,
            limit: MAX_REQUEST_BYTES as u64,
        });
    }
    Ok(request)
}

fn compare(keys: &KeySpace, compare: &Compare) -> rpc::Compare {
    let (target, result, union) = match compare {
        Compare::ModRevision { equals, .. } => {
            (CompareTarget::Mod, CompareResult::Equal, TargetUnion::ModRevision(equals.0))
        }
        // A key that does not exist was created at 0, for etcd.
        Compare::Absent { .. } => {
            (CompareTarget::Create, CompareResult::Equal, TargetUnion::CreateRevision(0))
        }
        Compare::Exists { .. } => {
            (CompareTarget::Create, CompareResult::Greater, TargetUnion::CreateRevision(0))
        }
        Compare::Version { equals, .. } => {
            (CompareTarget::Version, CompareResult::Equal, TargetUnion::Version(*equals))
        }
        Compare::Value { equals, .. } => {
            (CompareTarget::Value, CompareResult::Equal, TargetUnion::Value(equals.clone()))
        }
    };
    rpc::Compare {
        result: result.into(),
        target: target.into(),
        key: keys.key(compare.key()),
        target_union: Some(union),
    }
}

/// Nothing for a range that no key can lie in: etcd would have to make sense of its bounds.
fn op(keys: &KeySpace, op: &Op) -> Option<rpc::RequestOp> {
    let request = match op {
        Op::Put { key, value, lease } => Request::RequestPut(rpc::PutRequest {
            key: keys.key(key),
            value: value.clone(),
            lease: lease.map_or(0, |lease| lease.0),
        }),
        Op::Delete { key } => Request::RequestDeleteRange(rpc::DeleteRangeRequest {
            key: keys.key(key),
            range_end: Default::default(),
        }),
        Op::DeleteRange { range } if range.is_empty() => return None,
        Op::DeleteRange { range } => {
            let (key, range_end) = keys.range(range);
            Request::RequestDeleteRange(rpc::DeleteRangeRequest { key, range_end })
        }
    };
    Some(rpc::RequestOp { request: Some(request) })
}

fn read(keys: &KeySpace, compare: &Compare) -> rpc::RequestOp {
    let request = rpc::RangeRequest { key: keys.key(compare.key()), ..Default::default() };
    rpc::RequestOp { request: Some(Request::RequestRange(request)) }
}

/// How the transaction ended.
pub(crate) fn txn_result(
    keys: &KeySpace,
    txn: &Txn,
    answer: rpc::TxnResponse,
) -> Result<TxnResult, StoreError> {
    let revision = Revision(answer.header.unwrap_or_default().revision);
    if answer.succeeded {
        return Ok(TxnResult::Committed { revision });
    }
    let mut current = Vec::with_capacity(txn.compares.len());
    for response in answer.responses {
        let Some(Response::ResponseRange(range)) = response.response else { continue };
        current.push(range.kvs.into_iter().next().map(|kv| keys.kv(kv)).transpose()?);
    }
    let compared = txn.compares.iter().zip(&current).enumerate();
    let failed: Vec<usize> = compared
        .filter(|(_, (compare, kv))| !compare.holds(kv.as_ref()))
        .map(|(index, _)| index)
        .collect();
    if failed.is_empty() || current.len() != txn.compares.len() {
        let reason = "etcd refused a transaction all of whose compares hold".to_owned();
        return Err(StoreError::Corrupt { reason });
    }
    Ok(TxnResult::Conflict { revision, failed, current })
}

/// A page of a range with at most `limit` keys.
pub(crate) fn range(keys: &KeySpace, request: &RangeRequest, limit: u32) -> rpc::RangeRequest {
    let (key, range_end) = keys.range(&request.range);
    rpc::RangeRequest {
        key,
        range_end,
        limit: i64::from(limit),
        revision: request.revision.map_or(0, |revision| revision.0),
        serializable: false,
        keys_only: request.keys_only,
    }
}

/// The page as the contract has it. etcd tells the current revision with it, whichever was asked for.
pub(crate) fn page(
    keys: &KeySpace,
    pinned: Option<Revision>,
    answer: rpc::RangeResponse,
) -> Result<RangeResponse, StoreError> {
    let current = Revision(answer.header.unwrap_or_default().revision);
    let kvs: Result<Vec<_>, _> = answer.kvs.into_iter().map(|kv| keys.kv(kv)).collect();
    Ok(RangeResponse { kvs: kvs?, more: answer.more, revision: pinned.unwrap_or(current) })
}

/// Reads one key.
pub(crate) fn get(keys: &KeySpace, key: &Key) -> rpc::RangeRequest {
    rpc::RangeRequest { key: keys.key(key), ..Default::default() }
}
