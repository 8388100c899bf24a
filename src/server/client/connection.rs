//! One client connection.
//!
//! Spec: `spec/6-server.md`, "Clients". What it must never do: read on while too many requests wait
//! for their answers, or hand on a request that it could not read.

use super::auth::{Admitted, Gate};
use super::stats::ConnectionStats;
use super::{ClientEvent, ClientPort, ConnectionId, Handle, certificate, words};
use crate::proto;
use crate::service::{ClientInput, ClientOutput};
use crate::znode::AuthId;
use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// How much is read of a request that is too large, to say what it asks for.
const GLIMPSE: usize = 4 << 10;
/// Requests of one connection that may wait for an answer.
const OUTSTANDING: usize = 500;
/// How long a connection may take to say what it wants.
const HELLO: Duration = Duration::from_secs(30);
/// How long a client may refuse to take what it is sent.
const STUCK: Duration = Duration::from_secs(60);
/// How long a refusal is held back, so that guessing takes time.
const REFUSAL: Duration = Duration::from_millis(250);
/// Answers that are written at once, at most.
const COALESCED: usize = 256;

/// Serves a connection to its end; with TLS if there is an acceptor.
pub(super) async fn serve(
    port: &ClientPort,
    id: ConnectionId,
    stream: TcpStream,
    from: SocketAddr,
    tls: Option<TlsAcceptor>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("{from}: no TCP_NODELAY: {error}");
    }
    let Some(tls) = tls else {
        let (read, write) = stream.into_split();
        return converse(port, id, from, Vec::new(), read, write).await;
    };
    let stream = match timeout(HELLO, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::warn!("{from}: closed, no TLS: {error}"),
        Err(_) => return tracing::warn!("{from}: closed, its TLS handshake does not end"),
    };
    let shown = stream.get_ref().1.peer_certificates();
    let proved = match shown.and_then(<[_]>::first).map(certificate::subject) {
        Some(Some(subject)) => identities(port, subject),
        Some(None) => return tracing::warn!("{from}: closed, its certificate cannot be read"),
        None => Vec::new(),
    };
    let (read, write) = tokio::io::split(stream);
    converse(port, id, from, proved, read, write).await;
}

/// Who the subject of a certificate is.
fn identities(port: &ClientPort, subject: String) -> Vec<AuthId> {
    let is_super = port.config.security.super_subject.as_ref() == Some(&subject);
    let superuser = is_super.then(|| AuthId::new("super", subject.clone()));
    let id = AuthId::new("x509", subject);
    superuser.into_iter().chain([id]).collect()
}

/// Serves what a client says in the clear, or under TLS.
async fn converse(
    port: &ClientPort,
    id: ConnectionId,
    from: SocketAddr,
    proved: Vec<AuthId>,
    read: impl AsyncRead + Unpin,
    mut write: impl AsyncWrite + Unpin,
) {
    let mut reader = BufReader::with_capacity(1 << 16, read);
    let mut first = [0; 4];
    match timeout(HELLO, reader.read_exact(&mut first)).await {
        Ok(Ok(_)) => {}
        // Nothing was said, so nothing is lost: port scans and health checks do that.
        Ok(Err(_)) | Err(_) => return,
    }
    if let Some(word) = words::word(first) {
        let answer = words::answer(port, word).await;
        let written = timeout(STUCK, write.write_all(answer.as_bytes())).await;
        if matches!(written, Ok(Ok(()))) {
            let _ = write.shutdown().await;
        }
        return;
    }
    let (answers, outputs) = mpsc::unbounded_channel();
    let stats = Rc::new(RefCell::new(ConnectionStats::new(from)));
    let handle = Handle {
        answers,
        stats: Rc::clone(&stats),
    };
    port.connections.borrow_mut().insert(id, handle);
    let connection = Connection {
        port,
        id,
        from,
        stats: &stats,
        permits: Semaphore::new(OUTSTANDING),
    };
    let end = tokio::select! {
        end = connection.read(reader, first, proved) => end,
        end = connection.write(write, outputs) => end,
    };
    stats.borrow_mut().on_closed(&mut port.stats.borrow_mut());
    match end {
        Ok(()) => tracing::debug!("{from}: closed"),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            tracing::warn!("{from}: connection closed: {error}");
        }
        Err(error) => tracing::debug!("{from}: gone: {error}"),
    }
}

struct Connection<'a> {
    port: &'a ClientPort,
    id: ConnectionId,
    from: SocketAddr,
    stats: &'a RefCell<ConnectionStats>,
    /// One for each request that may still be taken.
    permits: Semaphore,
}

impl Connection<'_> {
    async fn read(
        &self,
        mut reader: impl AsyncRead + Unpin,
        first: [u8; 4],
        proved: Vec<AuthId>,
    ) -> io::Result<()> {
        let mut message = Vec::new();
        let limit = self.port.config.service.max_request;
        match timeout(HELLO, read_message(&mut reader, first, &mut message, limit)).await {
            Ok(read) => read?,
            Err(_) => return Err(invalid("its first message does not end")),
        }
        let request = proto::decode_connect(&message)
            .map_err(|error| invalid(format!("its first message is no ConnectRequest: {error}")))?;
        let from: IpAddr = self.from.ip().to_canonical();
        let mut gate = Gate::new(&self.port.config.security, self.from, &proved);
        self.bring(ClientInput::Connect {
            request,
            from,
            proved,
        });
        loop {
            // Taken before the request is read: a client that is not answered is not heard.
            match self.permits.acquire().await {
                Ok(permit) => permit.forget(),
                Err(_) => return Ok(()),
            }
            let mut length = [0; 4];
            reader.read_exact(&mut length).await?;
            read_message(&mut reader, length, &mut message, limit).await?;
            let (xid, request) = proto::decode_request(&message)
                .map_err(|error| invalid(format!("a request cannot be read: {error}")))?;
            match gate.admit(request) {
                Admitted::Request(request) => self.bring(ClientInput::Request { xid, request }),
                Admitted::Proof { proved, result } => {
                    let is_refused = result.is_err();
                    if is_refused {
                        sleep(REFUSAL).await;
                    }
                    self.bring(ClientInput::Proof {
                        xid,
                        proved,
                        result,
                    });
                    if is_refused {
                        // Nothing that it says is heard until the actor has closed the connection.
                        return std::future::pending().await;
                    }
                }
            }
        }
    }

    fn bring(&self, input: ClientInput) {
        let mut stats = self.stats.borrow_mut();
        stats.on_received(&mut self.port.stats.borrow_mut());
        self.port.bring(ClientEvent::Input(self.id, input));
    }

    async fn write(
        &self,
        mut writer: impl AsyncWrite + Unpin,
        mut outputs: mpsc::UnboundedReceiver<ClientOutput>,
    ) -> io::Result<()> {
        let mut batch = Vec::with_capacity(COALESCED);
        let mut bytes = Vec::new();
        while outputs.recv_many(&mut batch, COALESCED).await > 0 {
            bytes.clear();
            let mut close = false;
            for output in batch.drain(..) {
                close |= self.encode(output, &mut bytes);
            }
            let written = timeout(STUCK, async {
                writer.write_all(&bytes).await?;
                // TLS keeps what it has encrypted until it is told to let go.
                writer.flush().await
            });
            match written.await {
                Ok(written) => written?,
                Err(_) => return Err(invalid("it does not take its answers")),
            }
            // One large answer must not hold its memory for the life of the connection.
            if bytes.capacity() > 1 << 18 {
                bytes = Vec::new();
            }
            if close {
                return writer.shutdown().await;
            }
        }
        Ok(())
    }

    /// Appends the bytes of an answer. Says whether the connection ends with it.
    fn encode(&self, output: ClientOutput, bytes: &mut Vec<u8>) -> bool {
        let mut stats = self.stats.borrow_mut();
        let mut server = self.port.stats.borrow_mut();
        match output {
            ClientOutput::Connected(response) => {
                stats.on_connected(&mut server, &response);
                bytes.extend(proto::encode_connect_response(&response));
            }
            ClientOutput::Reply { session: _, reply } => {
                stats.on_reply(&mut server, &reply);
                self.permits.add_permits(1);
                bytes.extend(proto::encode_reply(&reply));
            }
            ClientOutput::Event(event) => {
                stats.on_event(&mut server);
                bytes.extend(proto::encode_event(&event));
            }
            ClientOutput::Close => return true,
        }
        false
    }
}

/// Reads the message that has the given length.
async fn read_message(
    reader: &mut (impl AsyncRead + Unpin),
    length: [u8; 4],
    message: &mut Vec<u8>,
    limit: usize,
) -> io::Result<()> {
    let length = i32::from_be_bytes(length);
    let length = usize::try_from(length)
        .map_err(|_| invalid(format!("a message of {length} bytes cannot be")))?;
    if length > limit {
        return Err(too_large(reader, length, limit).await);
    }
    if message.capacity() > 1 << 18 {
        *message = Vec::new();
    }
    message.clear();
    message.resize(length, 0);
    reader.read_exact(message).await?;
    Ok(())
}

/// What is said of a request that is not taken: what it asks for, and of which znode.
async fn too_large(
    reader: &mut (impl AsyncReadExt + Unpin),
    length: usize,
    limit: usize,
) -> io::Error {
    let mut start = vec![0; length.min(GLIMPSE)];
    let read = timeout(HELLO, reader.read_exact(&mut start)).await;
    let glimpse = matches!(read, Ok(Ok(_))).then(|| proto::glimpse(&start));
    let what = match glimpse.flatten() {
        Some((name, path)) => format!("a {name} of {path}"),
        None => "a message".to_owned(),
    };
    invalid(format!(
        "{what} has {length} bytes, and at most {limit} are taken; store less in one znode or one \
         multi, or raise jute.maxbuffer on all servers and clients"
    ))
}

fn invalid(problem: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.into())
}
