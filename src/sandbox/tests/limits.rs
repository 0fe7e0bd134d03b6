//! Rate limits on the wire.

use super::*;

#[tokio::test]
async fn writes_and_reads_have_windows_of_their_own() {
    let sandbox = start(Config { writes_per_minute: 2, reads_per_minute: 1, ..config() }).await;
    let client = client(&sandbox);
    let sources = sandbox.world().sources();
    let order = |index: usize| client.order(sources[index].id, MintOptions::default());
    let first = client.import(&order(0)).await;
    assert_eq!((first.header("x-ratelimit-limit"), first.header("x-ratelimit-remaining")), ("2", "1"));
    let reset: i64 = first.header("x-ratelimit-reset").parse().unwrap();
    let until = reset - jiff::Timestamp::now().as_second();
    assert!((58..=61).contains(&until), "{until}");
    assert_eq!(client.import(&order(1)).await.header("x-ratelimit-remaining"), "0");
    let refused = client.import(&order(2)).await;
    let text = "Write request rate limit exceeded. You can make up to 2 requests per minute.";
    refused.is(429, &json!({ "detail": text }));
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((55..=60).contains(&wait), "{wait}");

    assert_eq!(client.get("/v3/sessions/").await.status, 200);
    let text = "GET request rate limit exceeded. You can make up to 1 requests per minute.";
    client.get("/v3/sessions/").await.is(429, &json!({ "detail": text }));
    assert_eq!(client.get("/system/healthcheck").await.status, 200);
    let other = client.with_key(&sandbox.world().add_key(Privileges::ALL));
    assert_eq!(other.import(&order(2)).await.status, 201);
    let counts = sandbox.world().counts();
    assert_eq!((counts.writes, counts.reads, counts.throttled), (4, 2, 2));
}

#[tokio::test]
async fn zero_is_no_limit() {
    let sandbox = start(Config { reads_per_minute: 0, ..config() }).await;
    let seen = client(&sandbox).get("/v3/sessions/").await;
    assert_eq!((seen.status, seen.header("x-ratelimit-limit")), (200, ""));
}
