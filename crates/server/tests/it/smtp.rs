//! A mail server on this machine: the peer of what is tested, not a part of the product. It can be
//! told to hold everything, and refuses recipients by their names.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};

/// A mail as it arrived.
#[derive(Debug)]
pub(crate) struct Mail {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) text: String,
    /// The number of the connection it came on.
    pub(crate) connection: u64,
}

impl Mail {
    /// The subject, unfolded.
    pub(crate) fn subject(&self) -> String {
        let rest = self.text.split_once("Subject: ").map_or("", |(_, rest)| rest);
        let mut lines = rest.lines();
        let first = lines.next().unwrap_or_default().to_owned();
        lines.take_while(|line| line.starts_with(' ')).fold(first, |all, line| all + line)
    }

    /// The text without the line breaks of quoted-printable.
    pub(crate) fn words(&self) -> String {
        self.text.replace("=\n", "")
    }
}

/// Whether mail is taken; while it is not, whoever sends one waits for the answer.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<Door>, Condvar)>);

#[derive(Default)]
struct Door {
    is_closed: bool,
    waiting: usize,
}

impl Gate {
    pub(crate) fn close(&self) {
        self.0.0.lock().unwrap().is_closed = true;
    }

    pub(crate) fn open(&self) {
        self.0.0.lock().unwrap().is_closed = false;
        self.0.1.notify_all();
    }

    /// How many mails wait for it to open.
    pub(crate) fn waiting(&self) -> usize {
        self.0.0.lock().unwrap().waiting
    }

    fn pass(&self) {
        let mut door = self.0.0.lock().unwrap();
        door.waiting += 1;
        self.0.1.wait_while(door, |door| door.is_closed).unwrap().waiting -= 1;
    }
}

/// Takes mail like any server (RFC 5321), without TLS, which is allowed on loopback only.
pub(crate) fn smtp_server() -> (u16, Receiver<Mail>) {
    gated_smtp_server(&Gate::default())
}

/// The same behind a gate.
pub(crate) fn gated_smtp_server(gate: &Gate) -> (u16, Receiver<Mail>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = channel();
    let gate = gate.clone();
    std::thread::spawn(move || {
        for (connection, stream) in listener.incoming().enumerate() {
            let (sender, gate) = (sender.clone(), gate.clone());
            let connection = connection as u64;
            std::thread::spawn(move || serve(stream.unwrap(), connection, &gate, &sender));
        }
    });
    (port, receiver)
}

fn serve(stream: TcpStream, connection: u64, gate: &Gate, sender: &Sender<Mail>) {
    let mut writer = stream.try_clone().unwrap();
    let mut answer = |line: &str| writer.write_all(format!("{line}\r\n").as_bytes());
    let mut lines = BufReader::new(stream).lines();
    let _ = answer("220 mail.test ESMTP");
    let (mut from, mut to) = (String::new(), String::new());
    while let Some(Ok(line)) = lines.next() {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let sent = match verb.as_str() {
            "EHLO" | "HELO" => answer("250 mail.test"),
            "MAIL" => {
                from = line;
                answer("250 ok")
            }
            "RCPT" if line.contains("<refused") => answer("550 5.1.1 no such mailbox here"),
            "RCPT" if line.contains("<later") => answer("451 4.7.1 come back later"),
            "RCPT" => {
                to = line;
                answer("250 ok")
            }
            "DATA" => {
                let _ = answer("354 go on");
                // A point that begins a line was doubled on the way (RFC 5321, section 4.5.2).
                let body: Vec<String> = lines
                    .by_ref()
                    .map_while(Result::ok)
                    .take_while(|line| line != ".")
                    .map(|line| line.strip_prefix('.').unwrap_or(&line).to_owned())
                    .collect();
                gate.pass();
                let (from, to, text) = (from.clone(), to.clone(), body.join("\n"));
                let _ = sender.send(Mail { from, to, text, connection });
                answer("250 taken")
            }
            "QUIT" => {
                let _ = answer("221 bye");
                return;
            }
            _ => answer("250 ok"),
        };
        if sent.is_err() {
            return;
        }
    }
}
