//! The actors of a protocol on a real network: UDP sockets of this machine, and a client that asks for one thing.
//!
//! The handlers are those that are explored. What it must never do: give an actor anything that the model does not.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // Sockets and time are what this is about.

use super::environment::client;
use super::protocol::Protocol;
use stateright::actor::{Actor, Command, Id, Out, spawn};
use std::borrow::Cow;
use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

/// An actor that knows the others by number, as in the model, among sockets.
#[derive(Clone, Debug)]
struct OnUdp<P> {
    protocol: P,
    servers: Vec<Id>,
    client: Id,
}

impl<P: Protocol> OnUdp<P> {
    fn number(&self, socket: Id) -> Id {
        let place = self.servers.iter().position(|server| *server == socket);
        place.map_or_else(client, Id::from)
    }

    fn socket(&self, number: Id) -> Id {
        let server = self.servers.get(usize::from(number));
        server.copied().unwrap_or(self.client)
    }

    fn carry_out(&self, inner: Out<P>, out: &mut Out<Self>) {
        for command in inner {
            match command {
                Command::Send(dst, message) => out.send(self.socket(dst), message),
                Command::Save(storage) => out.save(storage),
                Command::SetTimer(timer, duration) => out.set_timer(timer, duration),
                Command::CancelTimer(timer) => out.cancel_timer(timer),
                Command::ChooseRandom(..) => {
                    unreachable!("chance is the order in which timers fire")
                }
            }
        }
    }
}

impl<P: Protocol> Actor for OnUdp<P> {
    type Msg = P::Msg;
    type Timer = P::Timer;
    type State = P::State;
    type Storage = P::Storage;
    type Random = P::Random;

    fn on_start(&self, id: Id, disk: &Option<P::Storage>, out: &mut Out<Self>) -> P::State {
        let mut inner = Out::new();
        let state = self.protocol.on_start(self.number(id), disk, &mut inner);
        self.carry_out(inner, out);
        state
    }

    fn on_msg(
        &self,
        id: Id,
        state: &mut Cow<'_, P::State>,
        src: Id,
        message: P::Msg,
        out: &mut Out<Self>,
    ) {
        let (id, src, mut inner) = (self.number(id), self.number(src), Out::new());
        self.protocol.on_msg(id, state, src, message, &mut inner);
        self.carry_out(inner, out);
    }

    fn on_timeout(
        &self,
        id: Id,
        state: &mut Cow<'_, P::State>,
        timer: &P::Timer,
        out: &mut Out<Self>,
    ) {
        let (id, mut inner) = (self.number(id), Out::new());
        self.protocol.on_timeout(id, state, timer, &mut inner);
        self.carry_out(inner, out);
    }
}

/// `check spawn`: asks the actors of the protocol with this name, and prints what came of it.
///
/// # Errors
///
/// There is no such protocol, or no answer.
pub fn run(name: &str) -> Result<(), String> {
    let kind = super::find(name).ok_or_else(|| {
        let names: Vec<_> = super::ALL.iter().map(|kind| kind.card().name).collect();
        let names = names.join(", ");
        format!("no protocol {name} to spawn; there are {names} (zab runs as a server: keepright cluster)")
    })?;
    // The actors save where the program works: that is a folder of their own.
    let folder = env::temp_dir().join(format!("keepright-spawn-{}", std::process::id()));
    let failed = |error: io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(&folder).map_err(failed)?;
    env::set_current_dir(&folder).map_err(failed)?;
    let answer = kind.ask();
    env::set_current_dir(env::temp_dir()).map_err(failed)?;
    fs::remove_dir_all(&folder).map_err(failed)?;
    println!("{}", answer?);
    Ok(())
}

/// What came of asking the actors of a protocol over UDP.
#[derive(Debug)]
pub struct Answer {
    /// Each server with its address.
    pub servers: Vec<(String, SocketAddrV4)>,
    /// What the client was told, in the words of the protocol, and by whom.
    pub told: (String, String),
    pub after: Duration,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, address) in &self.servers {
            writeln!(f, "{name:<14}{address}")?;
        }
        let ((by, told), after) = (&self.told, self.after.as_millis());
        write!(f, "{by} tells the client after {after} ms: {told}")
    }
}

/// Spawns the actors, which end with the program, and asks for one thing until somebody answers. What they save is in
/// files of the working directory.
///
/// # Errors
///
/// No sockets, or no answer within [`PATIENCE`].
pub fn ask<P: Protocol>() -> Result<Answer, String> {
    let bounds = P::CARD.bounds[0];
    let protocol = P::new(&bounds, None);
    let no_socket = |error: io::Error| format!("no UDP socket on {}: {error}", Ipv4Addr::LOCALHOST);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(no_socket)?;
    socket.set_read_timeout(Some(AGAIN)).map_err(no_socket)?;
    let addresses = free_addresses(bounds.size()).map_err(no_socket)?;
    let servers: Vec<_> = addresses.iter().copied().map(Id::from).collect();
    let actor = OnUdp {
        protocol: protocol.clone(),
        servers: servers.clone(),
        client: Id::from(address(&socket).map_err(no_socket)?),
    };
    let actors: Vec<_> = servers.iter().map(|id| (*id, actor.clone())).collect();
    std::thread::spawn(move || {
        spawn(
            postcard::to_stdvec,
            |bytes| postcard::from_bytes(bytes),
            postcard::to_stdvec,
            |bytes| postcard::from_bytes(bytes),
            actors,
        )
    });

    let began = Instant::now();
    let mut buffer = [0; 1 << 16];
    while began.elapsed() < PATIENCE {
        for (dst, request) in protocol.requests(1) {
            let to = addresses[usize::from(dst)];
            let bytes = postcard::to_stdvec(&request).map_err(|error| error.to_string())?;
            socket.send_to(&bytes, to).map_err(no_socket)?;
        }
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue; // Nobody has answered yet: ask again.
        };
        let message = postcard::from_bytes(&buffer[..length]);
        let message = message.map_err(|error| format!("{from} has sent nonsense: {error}"))?;
        let named = |(number, address): (usize, &SocketAddrV4)| {
            (protocol.name_of(Id::from(number)), *address)
        };
        let servers: Vec<_> = addresses.iter().enumerate().map(named).collect();
        let by = servers
            .iter()
            .find(|(_, address)| from == (*address).into());
        let by = by.map_or_else(|| from.to_string(), |(name, _)| name.clone());
        return Ok(Answer {
            told: (by, protocol.message(&message)),
            servers,
            after: began.elapsed(),
        });
    }
    Err(format!(
        "no answer of {} within {} s",
        P::CARD.name,
        PATIENCE.as_secs()
    ))
}

/// Addresses that nobody listens to at the moment.
fn free_addresses(count: usize) -> io::Result<Vec<SocketAddrV4>> {
    let bind = |_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
    let sockets: Vec<_> = (0..count).map(bind).collect::<io::Result<_>>()?;
    sockets.iter().map(address).collect()
}

fn address(socket: &UdpSocket) -> io::Result<SocketAddrV4> {
    let port = socket.local_addr()?.port();
    Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

/// How long the client waits before it asks again.
const AGAIN: Duration = Duration::from_millis(200);

/// How long it asks.
const PATIENCE: Duration = Duration::from_secs(20);
