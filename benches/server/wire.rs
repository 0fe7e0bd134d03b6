//! The wire to a server, and what passes on it.

use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cluster::Database;

/// What the server answered.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// How often it was ready for the next request.
    pub round_trips: u64,
    /// Commits.
    pub commits: u64,
}

/// A line before a server that counts.
pub struct Wire {
    port: u16,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    round_trips: AtomicU64,
    commits: AtomicU64,
}

impl Wire {
    /// In front of a database's server.
    pub fn new(database: &Database<'_>) -> Self {
        let server = port_of(&database.url());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let counts = Arc::new(Counts::default());
        let of_all = Arc::clone(&counts);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { return };
                // Otherwise small messages wait for each other.
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let (from, to) = (client.try_clone().expect("a line"), server.try_clone().expect("a line"));
                let counts = Arc::clone(&of_all);
                std::thread::spawn(move || pass(from, to));
                std::thread::spawn(move || count(server, client, &counts));
            }
        });
        Self { port, counts }
    }

    /// The database's URL by this line.
    pub fn url(&self, database: &Database<'_>) -> String {
        format!("{}?sslmode=disable", database.url_at(self.port))
    }

    /// What has passed.
    pub fn counted(&self) -> Counted {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counted { round_trips: of(&self.counts.round_trips), commits: of(&self.counts.commits) }
    }
}

fn port_of(url: &str) -> u16 {
    let digits = url.rsplit_once(':').expect("a port").1.split('/').next().expect("a port");
    digits.parse().expect("a port")
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// Passes on what the server says, message by message: a letter, a length that counts itself, and the rest.
fn count(mut from: TcpStream, mut to: TcpStream, counts: &Counts) {
    let mut head = [0; 5];
    while from.read_exact(&mut head).is_ok() {
        let [kind, length @ ..] = head;
        let mut message = head.to_vec();
        message.resize(1 + u32::from_be_bytes(length) as usize, 0);
        if from.read_exact(&mut message[head.len()..]).is_err() {
            break;
        }
        match kind {
            b'Z' => drop(counts.round_trips.fetch_add(1, Ordering::Relaxed)),
            b'C' if message[head.len()..].starts_with(b"COMMIT") => {
                counts.commits.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        if to.write_all(&message).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
