//! The encoding of ZooKeeper's messages, of those few that finding a leader takes.
//!
//! Everything is big-endian, texts and byte strings have their length in front, and so has each message:
//! a *frame*. Numbers of operations and error codes are ZooKeeper's, the same since 3.4.

/// The largest frame that is taken, in bytes. Servers have a limit of 1 MiB for what they store; more than
/// a few times that comes from something else than ZooKeeper.
pub(super) const MAX_FRAME_BYTES: usize = 4 * 1024 * 1024;

/// The marks by which messages that answer no numbered request are told.
pub(super) mod xid {
    pub(in super::super) const EVENT: i32 = -1;
    pub(in super::super) const PING: i32 = -2;
    pub(in super::super) const AUTH: i32 = -4;
}

/// Kinds of request.
pub(super) mod op {
    pub(in super::super) const EXISTS: i32 = 3;
    pub(in super::super) const GET_DATA: i32 = 4;
    pub(in super::super) const GET_CHILDREN: i32 = 8;
    pub(in super::super) const PING: i32 = 11;
    pub(in super::super) const AUTH: i32 = 100;
}

/// Error codes with a meaning of their own.
pub(super) mod code {
    pub(in super::super) const OK: i32 = 0;
    pub(in super::super) const NO_NODE: i32 = -101;
    pub(in super::super) const NO_AUTH: i32 = -102;
    pub(in super::super) const SESSION_EXPIRED: i32 = -112;
    pub(in super::super) const AUTH_FAILED: i32 = -115;
}

/// A message that is no message of ZooKeeper's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// A frame in the making.
struct Frame(Vec<u8>);

impl Frame {
    fn new() -> Self {
        Self(vec![0; 4])
    }

    fn request(xid: i32, op: i32) -> Self {
        Self::new().int(xid).int(op)
    }

    fn int(mut self, value: i32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn long(mut self, value: i64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn flag(mut self, value: bool) -> Self {
        self.0.push(u8::from(value));
        self
    }

    fn bytes(self, value: &[u8]) -> Self {
        // Far below the limit: what we send is short, the configuration's texts at most.
        let mut frame = self.int(i32::try_from(value.len()).unwrap_or(i32::MAX));
        frame.0.extend(value);
        frame
    }

    fn end(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - 4).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

/// Asks for a new session. A server that has not got as far as `last_zxid` refuses.
pub(super) fn connect(last_zxid: i64, session_timeout_ms: u64) -> Vec<u8> {
    const NEW: i64 = 0;
    let timeout = i32::try_from(session_timeout_ms).unwrap_or(i32::MAX);
    Frame::new().int(0).long(last_zxid).int(timeout).long(NEW).bytes(&[0; 16]).flag(false).end()
}

pub(super) fn auth(scheme: &str, credentials: &str) -> Vec<u8> {
    let frame = Frame::request(xid::AUTH, op::AUTH).int(0);
    frame.bytes(scheme.as_bytes()).bytes(credentials.as_bytes()).end()
}

pub(super) fn ping() -> Vec<u8> {
    Frame::request(xid::PING, op::PING).end()
}

/// A request about a node, which may ask for an event at its next change.
pub(super) fn about(xid: i32, op: i32, path: &str, watch: bool) -> Vec<u8> {
    Frame::request(xid, op).bytes(path.as_bytes()).flag(watch).end()
}

/// Puts frames together from bytes as they come.
#[derive(Debug, Default)]
pub(super) struct Frames {
    buffer: Vec<u8>,
}

impl Frames {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, without its length.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, Malformed> {
        let Some((length, rest)) = self.buffer.split_first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_FRAME_BYTES {
            return Err(Malformed("a message is too long"));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let frame = rest[..length].to_vec();
        self.buffer.drain(..4 + length);
        Ok(Some(frame))
    }
}

/// Takes a frame apart.
#[derive(Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed("a message is cut"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn int(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(self.take()?))
    }

    pub(super) fn long(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_be_bytes(self.take()?))
    }

    /// A byte string; one that is absent counts as empty.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.int()?).unwrap_or(0);
        if length > self.0.len() {
            return Err(Malformed("a message is cut"));
        }
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("a text is not UTF-8"))
    }

    pub(super) fn texts(&mut self) -> Result<Vec<&'a str>, Malformed> {
        // Not a capacity: the number is the other side's word.
        (0..self.int()?).map(|_| self.text()).collect()
    }
}

/// What is in front of every message but the answer to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) xid: i32,
    pub(super) zxid: i64,
    pub(super) code: i32,
}

impl Head {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { xid: reader.int()?, zxid: reader.long()?, code: reader.int()? })
    }
}

/// The session's time-out in milliseconds, out of the answer to a connection; 0 where the server has
/// none for us.
pub(super) fn granted_ms(frame: &[u8]) -> Result<u64, Malformed> {
    let mut reader = Reader(frame);
    let _protocol = reader.int()?;
    Ok(u64::try_from(reader.int()?).unwrap_or(0))
}

/// The path of an event.
pub(super) fn event_path<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Malformed> {
    let (_kind, _state) = (reader.int()?, reader.int()?);
    reader.text()
}
