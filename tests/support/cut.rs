//! A line between the program and its database that can be cut where it hurts.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use super::postgres::free_port;

/// Where in the course of a transaction's end the line is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The server never hears of it: nothing is committed.
    Asked,
    /// The server has committed, and the program does not hear of it.
    Done,
    /// The program has heard of it, and the next thing that it says is not heard.
    Told,
}

/// A proxy on loopback in front of a server, which stops when dropped.
pub struct Cut {
    pub port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_over: bool,
    is_refusing: bool,
    is_silent: bool,
    /// The next cut: where, and after how many commits more.
    next: Option<(Moment, u32)>,
    /// Commits whose answer passed.
    commits: u32,
    cuts: u32,
    lines: Vec<TcpStream>,
}

impl Cut {
    /// In front of the server at this port.
    pub fn new(server: u16) -> Self {
        let port = free_port();
        let shared = Arc::new(Shared::default());
        let listener = listen(port);
        let of_all = Arc::clone(&shared);
        thread::spawn(move || accept(listener, port, server, &of_all));
        Self { port, shared }
    }

    /// Ends every connection that there is.
    pub fn now(&self) {
        self.shared.change(State::end_all);
    }

    /// Whether new connections are refused.
    pub fn refuse(&self, is_refusing: bool) {
        self.shared.change(|state| state.is_refusing = is_refusing);
    }

    /// Whether nothing is passed on, in either direction; what comes meanwhile is passed on later.
    pub fn silence(&self, is_silent: bool) {
        self.shared.change(|state| state.is_silent = is_silent);
    }

    /// Cuts at a commit that is to come: with 0 the next, with 1 the one after it.
    pub fn at(&self, moment: Moment, after: u32) {
        self.shared.change(|state| state.next = Some((moment, after)));
    }

    /// Commits that were answered.
    pub fn commits(&self) -> u32 {
        self.shared.state.lock().unwrap().commits
    }

    /// Cuts at commits that were made.
    pub fn cuts(&self) -> u32 {
        self.shared.state.lock().unwrap().cuts
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.shared.change(|state| {
            state.is_over = true;
            state.end_all();
        });
    }
}

impl State {
    fn end_all(&mut self) {
        for line in self.lines.drain(..) {
            let _ = line.shutdown(Shutdown::Both);
        }
    }

    /// Whether it is cut here.
    fn is_cut(&mut self, moment: Moment) -> bool {
        let is_now = matches!(self.next, Some((wanted, 0)) if wanted == moment);
        if is_now {
            self.next = None;
            self.cuts += 1;
            self.end_all();
        }
        is_now
    }

    /// Counts a commit that was answered, and says whether the line is cut after it.
    fn answered(&mut self) -> bool {
        self.commits += 1;
        match &mut self.next {
            Some((moment, 0)) => *moment == Moment::Told,
            Some((_, after)) => {
                *after -= 1;
                false
            }
            None => false,
        }
    }
}

impl Shared {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
        changed
    }

    /// Waits while nothing is to be passed on.
    fn pass(&self) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| state.is_silent && !state.is_over).unwrap());
    }
}

fn listen(port: u16) -> TcpListener {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

fn accept(listener: TcpListener, port: u16, server: u16, shared: &Arc<Shared>) {
    let mut listener = Some(listener);
    loop {
        let (is_over, is_refusing) = shared.change(|state| (state.is_over, state.is_refusing));
        if is_over {
            return;
        }
        if is_refusing {
            listener = None;
        }
        let listening = match &listener {
            Some(listening) => listening,
            None if is_refusing => {
                thread::sleep(Duration::from_millis(5));
                continue;
            }
            None => listener.insert(listen(port)),
        };
        match listening.accept() {
            Ok((program, _)) => connect(&program, server, shared),
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(2)),
            Err(error) => panic!("{error}"),
        }
    }
}

fn connect(program: &TcpStream, server: u16, shared: &Arc<Shared>) {
    // A server that is not there is one that hangs up.
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { return };
    program.set_nonblocking(false).unwrap();
    for line in [program, &server] {
        line.set_nodelay(true).unwrap();
    }
    let clone = |line: &TcpStream| line.try_clone().unwrap();
    shared.change(|state| state.lines.extend([clone(program), clone(&server)]));
    let is_told = Arc::default();
    let up = Direction::new([program, &server], false, shared, &is_told);
    let down = Direction::new([&server, program], true, shared, &is_told);
    thread::spawn(move || up.run(Direction::asked));
    thread::spawn(move || down.run(Direction::answered));
}

/// One of the two directions of a connection.
struct Direction {
    from: TcpStream,
    to: TcpStream,
    shared: Arc<Shared>,
    /// What came and is not passed on yet.
    bytes: Vec<u8>,
    /// Messages have a letter before their length; the program's first one has none.
    is_begun: bool,
    /// The program has been told of the commit after which the line is to be cut; of both directions.
    is_told: Arc<AtomicBool>,
}

impl Direction {
    fn new(lines: [&TcpStream; 2], is_begun: bool, shared: &Arc<Shared>, is_told: &Arc<AtomicBool>) -> Self {
        let [from, to] = lines.map(|line| line.try_clone().unwrap());
        Self { from, to, shared: Arc::clone(shared), bytes: Vec::new(), is_begun, is_told: Arc::clone(is_told) }
    }

    /// Passes messages on until an end; `look` says of each whether it may pass.
    fn run(mut self, look: fn(&mut Self, &[u8]) -> bool) {
        let mut piece = [0; 1 << 14];
        loop {
            while let Some(length) = self.whole() {
                let message: Vec<u8> = self.bytes.drain(..length).collect();
                self.shared.pass();
                if !look(&mut self, &message) {
                    return;
                }
            }
            match self.from.read(&mut piece) {
                Ok(read @ 1..) => self.bytes.extend_from_slice(&piece[..read]),
                _ => break,
            }
        }
        for line in [&self.from, &self.to] {
            let _ = line.shutdown(Shutdown::Both);
        }
    }

    /// The length of the first message, if all of it is there.
    fn whole(&self) -> Option<usize> {
        let letter = usize::from(self.is_begun);
        let length = self.bytes.get(letter..letter + 4)?;
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize + letter;
        (self.bytes.len() >= length).then_some(length)
    }

    fn forward(&mut self, message: &[u8]) -> bool {
        self.to.write_all(message).is_ok()
    }

    /// A message of the program.
    fn asked(&mut self, message: &[u8]) -> bool {
        if !self.is_begun {
            // Neither TLS nor GSS: the line has to be read.
            if matches!(message, [0, 0, 0, 8, 4, 210, 22, 47 | 48]) {
                return self.from.write_all(b"N").is_ok();
            }
            self.is_begun = true;
            return self.forward(message);
        }
        if self.is_told.load(Ordering::SeqCst) {
            self.shared.change(|state| state.is_cut(Moment::Told));
            return false;
        }
        let text = String::from_utf8_lossy(message.get(5..).unwrap_or_default());
        // A statement of its own, or one that is prepared without a name and executed at once.
        let text = if message[0] == b'P' { text.trim_start_matches('\0') } else { &text };
        let is_commit = matches!(message[0], b'Q' | b'P') && text.to_ascii_uppercase().starts_with("COMMIT");
        if is_commit && self.shared.change(|state| state.is_cut(Moment::Asked)) {
            return false;
        }
        self.forward(message)
    }

    /// A message of the server, all of which have a letter.
    fn answered(&mut self, message: &[u8]) -> bool {
        if message[0] == b'C' && &message[5..] == b"COMMIT\0" {
            if self.shared.change(|state| state.is_cut(Moment::Done)) {
                return false;
            }
            // Before the program hears of it, lest it says something at once.
            let is_last = self.shared.change(State::answered);
            self.is_told.store(is_last, Ordering::SeqCst);
        }
        self.forward(message)
    }
}
