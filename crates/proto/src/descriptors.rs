//! What the `.proto` files say of themselves: for reflection, for JSON, and for the table of procedures.
//!
//! Everything that must follow a message's fields or a service's methods reads them from here, so
//! that a new field or method needs no second entry anywhere.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, FieldDescriptor, MessageDescriptor};

/// The descriptors of the API's files and of what they import, encoded: for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/api.binpb"));

/// The descriptors of all files, those that are spoken with Mesos only, too.
const ALL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/all.binpb"));

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    // The build has written it from the same compilation as the code; a test decodes it, too.
    DescriptorPool::decode(ALL).unwrap_or_default()
});

/// The descriptors of all messages and services of this crate.
#[must_use]
pub fn pool() -> &'static DescriptorPool {
    &POOL
}

/// By message: field numbers by folded names.
static FOLDED: LazyLock<HashMap<String, HashMap<String, u32>>> = LazyLock::new(|| {
    let fields = |message: &MessageDescriptor| {
        message.fields().map(|field| (fold(field.name()), field.number())).collect()
    };
    POOL.all_messages().map(|m| (m.full_name().to_owned(), fields(&m))).collect()
});

/// What is the same in all spellings of a field's name: `instanceCount`, `instance_count` and `instancecount`.
pub(crate) fn fold(name: &str) -> String {
    name.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).collect()
}

/// The field of `message` whose name folds to the same as `key`.
pub(crate) fn field_by_key(message: &MessageDescriptor, key: &str) -> Option<FieldDescriptor> {
    let number = FOLDED.get(message.full_name())?.get(&fold(key))?;
    message.get_field(*number)
}

/// A method of one of the API's services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// The service's full name, such as `peloton.job.JobManager`.
    pub service: String,
    /// The method's name, such as `Create`.
    pub name: String,
    /// The full name of the request's message.
    pub input: String,
    /// The full name of the answer's message.
    pub output: String,
    /// Whether the client sends a stream of requests.
    pub client_streaming: bool,
    /// Whether the server sends a stream of answers.
    pub server_streaming: bool,
}

impl Method {
    /// The path of gRPC, such as `/peloton.job.JobManager/Create`.
    #[must_use]
    pub fn grpc_path(&self) -> String {
        format!("/{}/{}", self.service, self.name)
    }

    /// The procedure's name of 2016, such as `JobManager.Create`.
    #[must_use]
    pub fn short_procedure(&self) -> String {
        let service = self.service.rsplit('.').next().unwrap_or(&self.service);
        format!("{service}.{}", self.name)
    }

    /// The later name of the procedure, such as `peloton.job.JobManager::Create`.
    #[must_use]
    pub fn procedure(&self) -> String {
        format!("{}::{}", self.service, self.name)
    }

    /// Whether one request has one answer, which is what a call over HTTP/1.1 can do.
    #[must_use]
    pub fn is_unary(&self) -> bool {
        !self.client_streaming && !self.server_streaming
    }
}

static METHODS: LazyLock<Vec<Method>> = LazyLock::new(|| {
    let all = POOL.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    all.map(|method| Method {
        service: method.parent_service().full_name().to_owned(),
        name: method.name().to_owned(),
        input: method.input().full_name().to_owned(),
        output: method.output().full_name().to_owned(),
        client_streaming: method.is_client_streaming(),
        server_streaming: method.is_server_streaming(),
    })
    .collect()
});

static PROCEDURES: LazyLock<HashMap<String, &'static Method>> = LazyLock::new(|| {
    let names = |m: &'static Method| [(m.short_procedure(), m), (m.procedure(), m)];
    METHODS.iter().flat_map(names).collect()
});

/// Every method of every service, in the order of the `.proto` files.
#[must_use]
pub fn methods() -> &'static [Method] {
    &METHODS
}

/// The method that a YARPC procedure names, in either spelling: `JobManager.Get` or `peloton.job.JobManager::Get`.
#[must_use]
pub fn method_by_procedure(procedure: &str) -> Option<&'static Method> {
    PROCEDURES.get(procedure).copied()
}
