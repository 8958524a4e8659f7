//! RecordIO: how Mesos frames the events of a streaming answer.
//!
//! A record is its length in decimal, a newline, and that many bytes. HTTP chunks end anywhere,
//! so the decoder is incremental: bytes go in as they come, whole records come out. It never
//! allocates on the word of the other side alone: the buffer grows with what has arrived, not
//! with what was announced. After an error the framing is lost for good, and the decoder says the
//! same error again instead of guessing where the next record begins.

use bytes::{Buf, Bytes, BytesMut};

/// The most bytes one record may have, 256 MiB. The largest event is OFFERS: a master with 50,000
/// agents offers all of them at once, at some 4 KiB each with attributes and reservations, which
/// is 200 MB. What announces more is not a Mesos master.
pub const MAX_RECORD_BYTES: usize = 256 * 1024 * 1024;

/// The most digits a length may have: enough for any 64-bit number, so that a peer sending digits
/// without end is found out after a few of them.
const MAX_LENGTH_DIGITS: usize = 20;

/// What makes a byte stream no RecordIO.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A length holds something other than a decimal digit.
    #[error("record length has byte 0x{byte:02x} where a decimal digit or a newline must be")]
    NotADigit {
        /// The byte found.
        byte: u8,
    },
    /// A newline without digits before it.
    #[error("record length is empty; it must be a decimal number")]
    EmptyLength,
    /// A length of more digits than any number here can need.
    #[error("record length has more than {MAX_LENGTH_DIGITS} digits")]
    LengthTooLong,
    /// A record larger than the limit.
    #[error("record of {length} bytes announced; at most {limit} are allowed")]
    TooLarge {
        /// The announced length in bytes.
        length: u64,
        /// The decoder's limit in bytes.
        limit: usize,
    },
    /// The stream ended inside a record.
    #[error("the stream ended inside a record, {missing} bytes short")]
    Truncated {
        /// How many bytes were still to come; 1 if it ended inside a length.
        missing: usize,
    },
}

/// Where in a record the decoder stands.
#[derive(Debug, Clone)]
enum State {
    /// Inside the length.
    Length { value: u64, digits: usize },
    /// Inside the content, which has this many bytes in all.
    Content { length: usize },
    /// Beyond recovery.
    Failed(RecordError),
}

const START: State = State::Length { value: 0, digits: 0 };

/// An incremental decoder of one stream.
#[derive(Debug)]
pub struct RecordDecoder {
    buffer: BytesMut,
    state: State,
    limit: usize,
}

impl Default for RecordDecoder {
    fn default() -> Self {
        Self::new(MAX_RECORD_BYTES)
    }
}

impl RecordDecoder {
    /// A decoder at the start of a stream that refuses records of more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), state: START, limit }
    }

    /// Adds bytes as they came from the stream. Follow it with [`Self::next_record`] until that
    /// answers `None`. Bytes after an error are dropped, so a failed decoder does not grow.
    pub fn push(&mut self, bytes: &[u8]) {
        if !matches!(self.state, State::Failed(_)) {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next whole record, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// The stream is no RecordIO or a record exceeds the limit. The error is final.
    pub fn next_record(&mut self) -> Result<Option<Bytes>, RecordError> {
        match self.advance() {
            Ok(record) => Ok(record),
            Err(error) => {
                self.state = State::Failed(error.clone());
                self.buffer = BytesMut::new();
                Err(error)
            }
        }
    }

    /// To be called when the stream has ended.
    ///
    /// # Errors
    /// The stream ended in the middle of a record, or was broken before.
    pub fn finish(&self) -> Result<(), RecordError> {
        match &self.state {
            State::Length { digits: 0, .. } if self.buffer.is_empty() => Ok(()),
            State::Length { .. } => Err(RecordError::Truncated { missing: 1 }),
            State::Content { length } => {
                Err(RecordError::Truncated { missing: length.saturating_sub(self.buffer.len()) })
            }
            State::Failed(error) => Err(error.clone()),
        }
    }

    fn advance(&mut self) -> Result<Option<Bytes>, RecordError> {
        loop {
            match &mut self.state {
                State::Failed(error) => return Err(error.clone()),
                State::Content { length } => {
                    let length = *length;
                    if self.buffer.len() < length {
                        return Ok(None);
                    }
                    self.state = START;
                    return Ok(Some(self.buffer.split_to(length).freeze()));
                }
                State::Length { value, digits } => {
                    let Some(&byte) = self.buffer.first() else { return Ok(None) };
                    self.buffer.advance(1);
                    match byte {
                        b'\n' if *digits == 0 => return Err(RecordError::EmptyLength),
                        b'\n' => self.state = content(*value, self.limit)?,
                        b'0'..=b'9' if *digits == MAX_LENGTH_DIGITS => {
                            return Err(RecordError::LengthTooLong);
                        }
                        b'0'..=b'9' => {
                            *digits += 1;
                            *value =
                                value.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
                        }
                        byte => return Err(RecordError::NotADigit { byte }),
                    }
                }
            }
        }
    }
}

/// The state after a whole length, if the limit allows it.
fn content(value: u64, limit: usize) -> Result<State, RecordError> {
    match usize::try_from(value) {
        Ok(length) if length <= limit => Ok(State::Content { length }),
        _ => Err(RecordError::TooLarge { length: value, limit }),
    }
}

/// One record as it goes over the wire. The client only reads records; servers (the simulated
/// Mesos, test peers) write them.
pub fn encode(record: &[u8]) -> Bytes {
    let mut out = BytesMut::from(record.len().to_string().as_bytes());
    out.extend_from_slice(b"\n");
    out.extend_from_slice(record);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drain(decoder: &mut RecordDecoder) -> Result<Vec<Bytes>, RecordError> {
        let mut records = Vec::new();
        while let Some(record) = decoder.next_record()? {
            records.push(record);
        }
        Ok(records)
    }

    fn decode(input: &[u8]) -> Result<Vec<Bytes>, RecordError> {
        let mut decoder = RecordDecoder::new(100);
        decoder.push(input);
        drain(&mut decoder)
    }

    #[test]
    fn hostile_streams_are_refused_with_the_reason() {
        for (input, error) in [
            (&b"\n"[..], RecordError::EmptyLength),
            (b"3\nabc\n", RecordError::EmptyLength),
            (b"<html>", RecordError::NotADigit { byte: b'<' }),
            (b"-1\n", RecordError::NotADigit { byte: b'-' }),
            (b"+1\n", RecordError::NotADigit { byte: b'+' }),
            (b"1 \n", RecordError::NotADigit { byte: b' ' }),
            (b"1\r\nx", RecordError::NotADigit { byte: b'\r' }),
            (b"101\n", RecordError::TooLarge { length: 101, limit: 100 }),
            (b"18446744073709551615\n", RecordError::TooLarge { length: u64::MAX, limit: 100 }),
            (b"99999999999999999999\n", RecordError::TooLarge { length: u64::MAX, limit: 100 }),
            (b"000000000000000000001", RecordError::LengthTooLong),
        ] {
            assert_eq!(decode(input), Err(error), "{}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn the_limit_itself_is_allowed_and_so_is_an_empty_record() {
        assert_eq!(decode(&encode(&[7; 100])).unwrap(), [Bytes::from(vec![7; 100])]);
        assert_eq!(decode(b"0\n").unwrap(), [Bytes::new()]);
    }

    #[test]
    fn an_error_is_final_and_keeps_no_memory() {
        let mut decoder = RecordDecoder::new(100);
        decoder.push(b"1\nax");
        assert_eq!(decoder.next_record().unwrap().unwrap(), "a");
        let error = decoder.next_record().unwrap_err();
        decoder.push(b"1\nb");
        assert_eq!(decoder.next_record(), Err(error.clone()));
        assert_eq!(decoder.finish(), Err(error));
        assert!(decoder.buffer.is_empty() && decoder.buffer.capacity() == 0);
    }

    #[test]
    fn an_announced_length_allocates_nothing() {
        let mut decoder = RecordDecoder::default();
        decoder.push(format!("{MAX_RECORD_BYTES}\n").as_bytes());
        assert_eq!(decoder.next_record(), Ok(None));
        assert!(decoder.buffer.capacity() < 1024, "{}", decoder.buffer.capacity());
    }

    #[test]
    fn the_end_inside_a_record_is_noticed() {
        for (input, missing) in [(&b"5\nab"[..], 3), (b"5\n", 5), (b"5", 1)] {
            let mut decoder = RecordDecoder::default();
            decoder.push(input);
            assert_eq!(decoder.next_record(), Ok(None));
            assert_eq!(decoder.finish(), Err(RecordError::Truncated { missing }));
        }
    }

    proptest! {
        #[test]
        fn records_survive_any_chunking(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..12),
            cuts in prop::collection::vec(1usize..40, 1..40),
        ) {
            let wire: Vec<u8> = records.iter().flat_map(|record| encode(record)).collect();
            let mut decoder = RecordDecoder::new(300);
            let mut got = Vec::new();
            let (mut rest, mut cuts) = (&wire[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (head, tail) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                decoder.push(head);
                got.extend(drain(&mut decoder).unwrap());
                rest = tail;
            }
            prop_assert_eq!(&got, &records);
            prop_assert_eq!(decoder.finish(), Ok(()));
        }

        #[test]
        fn any_bytes_give_the_same_outcome_in_one_piece_and_byte_by_byte(
            input in prop::collection::vec(prop_oneof![Just(b'1'), Just(b'\n'), any::<u8>()], 0..60),
        ) {
            let whole = {
                let mut decoder = RecordDecoder::new(50);
                decoder.push(&input);
                let records = drain(&mut decoder);
                (records.err(), decoder.finish())
            };
            let mut decoder = RecordDecoder::new(50);
            let mut error = None;
            for byte in &input {
                decoder.push(&[*byte]);
                error = error.or(drain(&mut decoder).err());
            }
            prop_assert_eq!((error, decoder.finish()), whole);
        }
    }
}
