//! What writes nodes into ZooKeeper, as masters would: its protocol by hand, one request at a time.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

/// A session. Its nodes stay when it ends.
pub(crate) struct Writer {
    socket: TcpStream,
    xid: i32,
}

/// Who may do something with a node.
pub(crate) enum Acl {
    Open,
    /// Whoever has our credentials.
    Mine,
}

fn text(value: &str) -> Vec<u8> {
    [&i32::try_from(value.len()).unwrap().to_be_bytes()[..], value.as_bytes()].concat()
}

impl Writer {
    pub(crate) fn connect(server: &str, credentials: Option<&str>) -> io::Result<Self> {
        let mut writer = Self { socket: TcpStream::connect(server)?, xid: 0 };
        writer.send(&[
            &[0; 12][..],
            &20_000_i32.to_be_bytes(),
            &[0; 8],
            &text(&"\0".repeat(16)),
        ])?;
        let granted = writer.receive()?;
        assert_ne!(granted[4..8], [0; 4], "the server grants no session");
        if let Some(credentials) = credentials {
            let head = [(-4_i32).to_be_bytes(), 100_i32.to_be_bytes(), [0; 4]].concat();
            writer.send(&[&head, &text("digest"), &text(credentials)])?;
            assert_eq!(writer.receive()?[12..16], [0; 4], "the credentials are refused");
        }
        Ok(writer)
    }

    fn send(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let body = parts.concat();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        self.socket.write_all(&[&length[..], &body].concat())
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.socket.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        self.socket.read_exact(&mut body)?;
        Ok(body)
    }

    /// The answer to a request that is granted.
    fn ask(&mut self, op: i32, parts: &[&[u8]]) -> io::Result<Vec<u8>> {
        self.xid += 1;
        let head = [self.xid.to_be_bytes(), op.to_be_bytes()].concat();
        self.send(&[&[&head[..]], parts].concat())?;
        let answer = self.receive()?;
        assert_eq!(answer[..4], self.xid.to_be_bytes());
        let code = i32::from_be_bytes(answer[12..16].try_into().unwrap());
        match code {
            0 => Ok(answer[16..].to_vec()),
            code => Err(io::Error::other(format!("request {op} is refused with {code}"))),
        }
    }

    fn create_with(&mut self, path: &str, data: &str, acl: &Acl, flags: i32) -> io::Result<String> {
        let (scheme, id) = match acl {
            Acl::Open => ("world", "anyone"),
            Acl::Mine => ("auth", ""),
        };
        let all = [1_i32.to_be_bytes(), 31_i32.to_be_bytes()].concat();
        let acl = [&all[..], &text(scheme), &text(id)].concat();
        let answer = self.ask(1, &[&text(path), &text(data), &acl, &flags.to_be_bytes()])?;
        Ok(String::from_utf8(answer[4..].to_vec()).unwrap())
    }

    pub(crate) fn create(&mut self, path: &str, acl: Acl) -> io::Result<()> {
        self.create_with(path, "", &acl, 0).map(drop)
    }

    /// The name that the node got.
    pub(crate) fn create_in_sequence(&mut self, path: &str, data: &str) -> io::Result<String> {
        self.create_with(path, data, &Acl::Open, 2)
    }

    pub(crate) fn delete(&mut self, path: &str) -> io::Result<()> {
        self.ask(2, &[&text(path), &(-1_i32).to_be_bytes()]).map(drop)
    }

    pub(crate) fn children(&mut self, path: &str) -> io::Result<Vec<String>> {
        let answer = self.ask(8, &[&text(path), &[0]])?;
        let int = |at: usize| u32::from_be_bytes(answer[at..at + 4].try_into().unwrap()) as usize;
        let mut at = 4;
        let mut take = || {
            let (start, length) = (at + 4, int(at));
            at = start + length;
            String::from_utf8(answer[start..at].to_vec()).unwrap()
        };
        Ok((0..int(0)).map(|_| take()).collect())
    }
}
