//! The same requests from the same HTTP library with nothing around them: what the wire and the server allow.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, RequestBuilder, StatusCode};
use tokio::runtime::Runtime;

use super::world::World;

/// Imports everything that the world shares, and reads every answer.
pub fn import(runtime: &Runtime, world: &World, concurrency: usize) -> Duration {
    let url = format!("{}/v3/session/import-shared/", world.variable("DIDIT_BASE_URL"));
    let bodies: Vec<Bytes> = world.imports.iter().map(|it| Bytes::from(it.body())).collect();
    let request = move |client: &Client, at: usize| {
        client.post(&url).header(CONTENT_TYPE, "application/json").body(bodies.get(at)?.clone()).into()
    };
    send(runtime, world, concurrency, StatusCode::CREATED, request)
}

/// Fetches the decisions of these sessions.
pub fn fetch(runtime: &Runtime, world: &World, concurrency: usize, sessions: &[String]) -> Duration {
    let base = world.variable("DIDIT_BASE_URL");
    let urls: Vec<String> = sessions.iter().map(|id| format!("{base}/v3/session/{id}/decision/")).collect();
    let request = move |client: &Client, at: usize| client.get(urls.get(at)?).into();
    send(runtime, world, concurrency, StatusCode::OK, request)
}

fn send(
    runtime: &Runtime,
    world: &World,
    concurrency: usize,
    expected: StatusCode,
    request: impl Fn(&Client, usize) -> Option<RequestBuilder> + Send + Sync + 'static,
) -> Duration {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert("x-api-key", world.variable("DIDIT_API_KEY").parse().expect("a key"));
    let client = Client::builder().default_headers(headers).no_proxy().build().expect("a client");
    let (next, request) = (Arc::new(AtomicUsize::new(0)), Arc::new(request));
    let begun = Instant::now();
    runtime.block_on(async {
        let one = |_| {
            let (client, next, request) = (client.clone(), Arc::clone(&next), Arc::clone(&request));
            tokio::spawn(async move {
                while let Some(request) = request(&client, next.fetch_add(1, Ordering::Relaxed)) {
                    let answer = request.send().await.expect("an answer");
                    assert_eq!(answer.status(), expected);
                    answer.bytes().await.expect("its body");
                }
            })
        };
        for task in (0..concurrency).map(one).collect::<Vec<_>>() {
            task.await.expect("its end");
        }
    });
    begun.elapsed()
}
