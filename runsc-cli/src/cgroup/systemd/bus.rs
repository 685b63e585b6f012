//! A connection to systemd: by way of the system's or the user's bus, or straight to it.

use super::wire::{self, Call, Message, Reader, Value, Writer};
use anyhow::{Context, Result, bail};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

/// How long systemd may take for a job.
const PATIENCE: Duration = Duration::from_secs(30);

const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket";
const PRIVATE: &str = "unix:path=/run/systemd/private";

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const OBJECT: &str = "/org/freedesktop/systemd1";

/// One to the systemd of the machine or of a user.
#[derive(Debug)]
pub(super) struct Bus {
    socket: UnixStream,
    serial: u32,
    /// Signals that came while something else was waited for: unit jobs that ended.
    ended: VecDeque<Ended>,
}

/// A job that has ended.
#[derive(Debug)]
struct Ended {
    job: String,
    result: String,
}

impl Bus {
    /// To the machine's systemd.
    pub(super) fn system() -> Result<Bus> {
        let address = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_else(|_| SYSTEM_BUS.into());
        // A machine may have no bus; root can reach systemd without one.
        Bus::connect(&address).and_then(Bus::on_a_bus).or_else(|_| Bus::connect(PRIVATE))
    }

    /// To that of the user.
    pub(super) fn user() -> Result<Bus> {
        let address = match std::env::var("DBUS_SESSION_BUS_ADDRESS") {
            Ok(address) => address,
            Err(_) => {
                let dir = std::env::var("XDG_RUNTIME_DIR");
                format!("unix:path={}/bus", dir.context("XDG_RUNTIME_DIR is needed to find the user's systemd")?)
            }
        };
        Bus::connect(&address)?.on_a_bus()
    }

    fn connect(addresses: &str) -> Result<Bus> {
        let socket = addresses.split(';').find_map(open).with_context(|| format!("cannot reach {addresses}"))?;
        for timeout in [Timeout::Recv, Timeout::Send] {
            set_socket_timeout(&socket, timeout, Some(PATIENCE)).context("cannot set a timeout")?;
        }
        let mut bus = Bus { socket, serial: 0, ended: VecDeque::new() };
        bus.authenticate()?;
        Ok(bus)
    }

    /// Who we are the other end sees by itself, and better in a user namespace than we could say it.
    fn authenticate(&mut self) -> Result<()> {
        self.socket.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\n").context("cannot write to the bus")?;
        loop {
            let line = self.line()?;
            match line.split(' ').next().unwrap_or_default() {
                "DATA" => {}
                "OK" => break,
                _ => bail!("the bus does not let us in: {line}"),
            }
        }
        self.socket.write_all(b"BEGIN\r\n").context("cannot write to the bus")
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.socket.read_exact(&mut byte).context("the bus does not answer")?;
            line.extend(byte);
            if line.len() > 1024 {
                bail!("the bus sends a line without end");
            }
        }
        Ok(String::from_utf8_lossy(&line).trim().to_owned())
    }

    /// What a bus demands before anything else, and for signals to come.
    fn on_a_bus(mut self) -> Result<Bus> {
        let bus = |member, signature| Call {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member,
            signature,
        };
        self.call(&bus("Hello", ""), |_| {})?;
        let rule = format!("type='signal',sender='{SYSTEMD}',interface='{MANAGER}',member='JobRemoved'");
        self.call(&bus("AddMatch", "s"), |w| w.string(&rule))?;
        self.manager("Subscribe", "", |_| {})?;
        Ok(self)
    }

    /// Calls a method of systemd's manager.
    pub(super) fn manager(&mut self, member: &str, signature: &str, fill: impl FnOnce(&mut Writer)) -> Result<Vec<u8>> {
        self.call(&Call { destination: SYSTEMD, path: OBJECT, interface: MANAGER, member, signature }, fill)
    }

    /// Calls one that begins a job, and waits for the job's end.
    pub(super) fn job(&mut self, member: &str, signature: &str, fill: impl FnOnce(&mut Writer)) -> Result<()> {
        let job = Reader::new(&self.manager(member, signature, fill)?).string()?;
        let result = loop {
            if let Some(at) = self.ended.iter().position(|ended| ended.job == job) {
                break self.ended.remove(at).map(|ended| ended.result).unwrap_or_default();
            }
            self.receive()?;
        };
        match result.as_str() {
            "done" => Ok(()),
            _ => bail!("systemd's job ended with: {result}"),
        }
    }

    /// A property of the manager that is a string.
    pub(super) fn property(&mut self, name: &str) -> Result<String> {
        let call = Call {
            destination: SYSTEMD,
            path: OBJECT,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
            signature: "ss",
        };
        let body = self.call(&call, |w| {
            w.string(MANAGER);
            w.string(name);
        })?;
        let mut reader = Reader::new(&body);
        match reader.signature()?.as_str() {
            "s" => reader.string(),
            other => bail!("systemd's {name} is of type {other}"),
        }
    }

    fn call(&mut self, call: &Call<'_>, fill: impl FnOnce(&mut Writer)) -> Result<Vec<u8>> {
        self.serial += 1;
        let serial = self.serial;
        self.socket.write_all(&call.message(serial, fill)).context("cannot write to the bus")?;
        loop {
            match self.receive()? {
                Message::Return { to, body } if to == serial => return Ok(body),
                Message::Error { to, name, text } if to == serial => {
                    return Err(anyhow::Error::new(Refused { name, text }).context(format!("systemd: {}", call.member)));
                }
                _ => {}
            }
        }
    }

    /// The next message; ends of jobs are kept.
    fn receive(&mut self) -> Result<Message> {
        let mut message = vec![0; wire::FIXED];
        self.socket.read_exact(&mut message).context("systemd does not answer")?;
        message.resize(wire::length(&message)?, 0);
        self.socket.read_exact(&mut message[wire::FIXED..]).context("systemd does not answer")?;
        let message = wire::parse(&message)?;
        if let Message::Signal { member, body } = &message
            && member == "JobRemoved"
        {
            let mut reader = Reader::new(body);
            let (_, job, _unit, result) = (reader.u32()?, reader.string()?, reader.string()?, reader.string()?);
            self.ended.push_back(Ended { job, result });
        }
        Ok(message)
    }
}

/// What systemd answers to a call that it does not carry out.
#[derive(Debug, thiserror::Error)]
#[error("{text} ({name})")]
pub(super) struct Refused {
    pub(super) name: String,
    text: String,
}

/// One of the addresses of D-Bus's form that there is.
fn open(address: &str) -> Option<UnixStream> {
    let pairs = address.strip_prefix("unix:")?.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .filter_map(|(key, value)| match key {
            "path" => UnixStream::connect(unescaped(value)?).ok(),
            "abstract" => {
                let name = SocketAddr::from_abstract_name(unescaped(value)?).ok()?;
                UnixStream::connect_addr(&name).ok()
            }
            _ => None,
        })
        .next()
}

/// `%20` stands for a blank.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (*first, rest) {
            (b'%', [high, low, tail @ ..]) => {
                let digits = [*high, *low];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
                rest = tail;
            }
            (byte, _) => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

/// Writes the arguments of `StartTransientUnit`.
pub(super) fn transient(writer: &mut Writer, unit: &str, properties: &[(&str, Value)]) {
    writer.string(unit);
    writer.string("replace");
    writer.properties(properties);
    // No further units.
    writer.array(8, |_| {});
}

#[cfg(test)]
mod tests {
    use super::unescaped;

    #[test]
    fn addresses_are_unescaped() {
        assert_eq!(unescaped("/run/a%20b"), Some("/run/a b".into()));
        assert_eq!(unescaped("/run/%zz"), None);
    }
}
