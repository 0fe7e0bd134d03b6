//! No test waits for ever: what does not come is told, with what the program was doing, and the program is ended.

use std::fmt::Write as _;
use std::fs;
use std::process::{Child, Command, ExitStatus, Output};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// For what takes moments unless something is wrong.
const MOMENTS: Duration = Duration::from_secs(60);

/// For a program: the longest that a test runs wait for some windows of the rate limits.
const WINDOWS: Duration = Duration::from_secs(420);

/// Waits until something holds.
#[track_caller]
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + MOMENTS;
    while !holds() {
        assert!(Instant::now() < until, "{what} did not happen");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for a program's end, and gives what it wrote to the pipes that it has.
#[track_caller]
pub fn output_of(child: Child) -> Output {
    let pid = Pid::from_child(&child);
    let (teller, heard) = channel();
    thread::spawn(move || teller.send(child.wait_with_output()));
    if let Ok(output) = heard.recv_timeout(WINDOWS) {
        return output.unwrap();
    }
    let doing = doing(pid);
    let _ = kill_process(pid, Signal::KILL);
    // Whatever it started may still hold the pipes.
    let output = heard.recv_timeout(MOMENTS);
    panic!("a program did not end:\n{doing}\n{output:?}");
}

/// Runs a program that needs no input to its end; an error where there is none such.
#[track_caller]
pub fn run(command: &mut Command) -> std::io::Result<Output> {
    use std::process::Stdio;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map(output_of)
}

/// Waits for the end of a program whose pipes do not fill.
#[track_caller]
pub fn end_of(child: &mut Child) -> ExitStatus {
    let until = Instant::now() + WINDOWS;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > until {
            let doing = doing(Pid::from_child(child));
            child.kill().unwrap();
            panic!("a program did not end:\n{doing}");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// What each thread of a program waits for, as far as the kernel tells.
fn doing(pid: Pid) -> String {
    let folder = format!("/proc/{}", pid.as_raw_nonzero());
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().replace('\0', " ");
    let mut text = read(&format!("{folder}/cmdline"));
    for thread in fs::read_dir(format!("{folder}/task")).into_iter().flatten().flatten() {
        let of = |name: &str| read(&format!("{}/{name}", thread.path().display()));
        let _ = write!(text, "\n{} in {}, {}", of("comm").trim(), of("wchan"), of("syscall").trim());
    }
    text
}
