//! Faults on the wire.

use std::time::Duration;

use super::*;

async fn with_faults(faults: &str) -> Running {
    let faults: Faults = faults.parse().unwrap();
    start(Config { faults, ..config() }).await
}

async fn try_import(sandbox: &Running, index: usize) -> Result<Seen, reqwest::Error> {
    let client = client(sandbox);
    let order = client.order(sandbox.world().sources()[index].id, MintOptions::default());
    client.send(Method::POST, "/v3/session/import-shared/", Some(&order)).await
}

/// Everything the server sends before it closes, with how that ended.
async fn raw_import(sandbox: &Running) -> (Vec<u8>, std::io::Result<usize>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let body = client(sandbox).order(sandbox.world().sources()[0].id, MintOptions::default()).to_string();
    let address = sandbox.base_url().replace("http://", "");
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST /v3/session/import-shared/ HTTP/1.1\r\nhost: {address}\r\nx-api-key: {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        sandbox.api_key(),
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer).await;
    (answer, end)
}

#[tokio::test]
async fn lost_after_commits_and_sends_not_a_byte() {
    let sandbox = with_faults("import.lost-after=x1").await;
    let (answer, end) = raw_import(&sandbox).await;
    assert!(answer.is_empty() && end.is_err(), "{end:?}");
    assert_eq!(sandbox.world().imported().len(), 1);
    assert_eq!(sandbox.world().requests()[0].status, Some(201));
    assert_eq!(sandbox.world().requests()[0].fault, Some("lost-after"));
    assert_eq!(try_import(&sandbox, 0).await.unwrap().status, 403);
}

#[tokio::test]
async fn lost_before_and_errors_before_commit_nothing() {
    let sandbox = with_faults("lost-before=x1").await;
    assert!(try_import(&sandbox, 0).await.is_err());
    assert!(sandbox.world().imported().is_empty());
    assert_eq!(sandbox.world().requests()[0].status, None);
    assert_eq!(try_import(&sandbox, 0).await.unwrap().status, 201);
    for (faults, status) in [("error-before=x1", 500), ("html=x1", 502), ("redirect=x1", 307), ("throttle=x1", 429)] {
        let sandbox = with_faults(faults).await;
        let seen = try_import(&sandbox, 0).await.unwrap();
        assert_eq!(seen.status, status, "{faults}");
        assert!(sandbox.world().imported().is_empty(), "{faults}");
        if status == 429 {
            assert_eq!(seen.header("retry-after"), "1");
            assert_eq!(sandbox.world().throttled(), 1);
        }
    }
}

#[tokio::test]
async fn errors_after_and_garbage_commit() {
    let sandbox = with_faults("error-after=x1").await;
    assert_eq!(try_import(&sandbox, 0).await.unwrap().status, 500);
    assert_eq!(sandbox.world().imported().len(), 1);
    let sandbox = with_faults("garbage=x1").await;
    let seen = try_import(&sandbox, 0).await.unwrap();
    assert_eq!(seen.status, 201);
    assert!(serde_json::from_str::<Value>(&seen.text).is_err());
    assert_eq!(sandbox.world().imported().len(), 1);
}

#[tokio::test]
async fn a_cut_answer_announces_its_whole_length() {
    let sandbox = with_faults("cut=x1").await;
    let (answer, _) = raw_import(&sandbox).await;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length: usize = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(|n| n.parse().unwrap()))
        .unwrap();
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");
    assert_eq!(body.len(), length / 2);
    assert_eq!(sandbox.world().imported().len(), 1);
}

#[tokio::test]
async fn a_hanging_request_ends_with_the_sandbox() {
    let sandbox = with_faults("hang-after=100%").await;
    let client = client(&sandbox);
    let order = client.order(sandbox.world().sources()[0].id, MintOptions::default());
    let request = client.request(Method::POST, "/v3/session/import-shared/", Some(&order));
    assert!(request.timeout(Duration::from_millis(100)).send().await.unwrap_err().is_timeout());
    let world = sandbox.world();
    assert_eq!(world.imported().len(), 1);
    let request = client.request(Method::GET, "/v3/sessions/", None);
    let (answer, ()) = tokio::join!(request.send(), async {
        while world.requests().len() < 2 {
            tokio::task::yield_now().await;
        }
        sandbox.stop_now();
    });
    assert!(answer.is_err());
}

#[tokio::test]
async fn the_same_seed_strikes_the_same_requests() {
    let strike = |seed: u64| async move {
        let faults: Faults = "import.error-after=40%,import.error-before=20%".parse().unwrap();
        let sandbox = start(Config { faults, seed, sessions: 20, ..config() }).await;
        let mut statuses = Vec::new();
        for index in 0..20 {
            statuses.push(try_import(&sandbox, index).await.unwrap().status);
        }
        let ids: Vec<Uuid> = sandbox.world().imported().into_iter().map(|session| session.session_id).collect();
        (statuses, ids)
    };
    assert_eq!(strike(3).await, strike(3).await);
    assert_ne!(strike(3).await.0, strike(4).await.0);
}
