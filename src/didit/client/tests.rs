//! Against a raw TCP fake that plays scripted bytes, since what matters here are answers that no proper server gives.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::didit::{Class, Effect, Presence, Status};

const CANARY: &str = "sk_test_canary-of-a-key";
const SESSION: &str = "11111111-2222-3333-4444-555555555555";
const WORKFLOW: &str = "9f9b1234-aaaa-bbbb-cccc-1234567890ab";

/// What the fake does once it has read a whole request.
#[derive(Clone)]
enum Step {
    /// These bytes, and the connection stays open.
    Say(String),
    /// These bytes, and the connection is closed.
    Cut(String),
    /// Nothing, for ever.
    Hang,
    /// These bytes, then one more every 20 ms.
    Drip(String),
}

struct Fake {
    base: Url,
    requests: Arc<Mutex<Vec<String>>>,
}

/// A server that takes one step a request, and the last one again and again.
async fn fake(steps: Vec<Step>) -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, steps.clone(), Arc::clone(&seen)));
        }
    });
    Fake { base, requests }
}

async fn serve(mut stream: TcpStream, steps: Vec<Step>, seen: Arc<Mutex<Vec<String>>>) {
    while let Some(request) = read_request(&mut stream).await {
        let step = {
            let mut seen = seen.lock().unwrap();
            seen.push(request);
            steps[(seen.len() - 1).min(steps.len() - 1)].clone()
        };
        match step {
            Step::Say(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            Step::Cut(text) => {
                stream.write_all(text.as_bytes()).await.unwrap();
                return;
            }
            Step::Hang => std::future::pending().await,
            Step::Drip(text) => {
                stream.write_all(text.as_bytes()).await.unwrap();
                while stream.write_all(b" ").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                return;
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = header(head, "content-length").map_or(0, |value| value.parse().unwrap());
            if body.len() >= length {
                return Some(text);
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(count) if count > 0 => bytes.extend_from_slice(&buffer[..count]),
            _ => return None,
        }
    }
}

fn header(head: &str, name: &str) -> Option<String> {
    let (_, value) =
        head.lines().filter_map(|line| line.split_once(": ")).find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(value.to_owned())
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn answer(status: &str, body: &Value) -> Step {
    Step::Say(http(status, "Content-Type: application/json\r\n", &body.to_string()))
}

fn created() -> Value {
    json!({"session_id": SESSION, "session_kind": "user", "status": "In Review"})
}

fn token() -> ShareToken {
    ShareToken::parse("eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.Y2FuYXJ5").unwrap()
}

fn client(base: &Url) -> Client {
    Client::new(base, ApiKey::parse(CANARY).unwrap(), Duration::from_secs(5)).unwrap()
}

fn impatient(base: &Url) -> Client {
    Client::new(base, ApiKey::parse(CANARY).unwrap(), Duration::from_secs(1)).unwrap()
}

async fn import(client: &Client) -> Answer<Decision> {
    let token = token();
    let request = ImportRequest {
        token: &token,
        trust_review: false,
        workflow_id: WORKFLOW.parse().unwrap(),
        vendor_data: Some("partner-user-42"),
    };
    client.import_shared(&request).await
}

/// The failure of an import against `step`, searched for secrets.
async fn failure(step: Step) -> Failure {
    let fake = fake(vec![step]).await;
    let failure = import(&impatient(&fake.base)).await.result.unwrap_err();
    let printed = format!("{failure:?}");
    assert!(!printed.contains("canary") && !printed.contains("eyJ") && !printed.contains("Carmen"), "{printed}");
    assert_eq!(fake.requests.lock().unwrap().len(), 1, "nothing is sent twice");
    failure
}

#[tokio::test]
async fn an_import_goes_over_the_wire_as_documented() {
    let fake = fake(vec![answer("201 Created", &created())]).await;
    let answer = import(&client(&fake.base)).await;
    assert_eq!(answer.result.unwrap().session_id, SESSION.parse::<Uuid>().unwrap());
    let request = fake.requests.lock().unwrap()[0].clone();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /v3/session/import-shared/ HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(head, "x-api-key").unwrap(), CANARY);
    assert_eq!(header(head, "content-type").unwrap(), "application/json");
    assert_eq!(header(head, "accept").unwrap(), "application/json");
    assert_eq!(header(head, "user-agent").unwrap(), concat!("didit-sync/", env!("CARGO_PKG_VERSION")));
    let sent: Value = serde_json::from_str(body).unwrap();
    let expected = json!({"share_token": token().expose(), "trust_review": false, "workflow_id": WORKFLOW,
        "vendor_data": "partner-user-42"});
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn vendor_data_that_is_not_there_is_not_sent() {
    let fake = fake(vec![answer("200 OK", &created())]).await;
    let token = token();
    let workflow_id = WORKFLOW.parse().unwrap();
    let request = ImportRequest { token: &token, trust_review: true, workflow_id, vendor_data: None };
    client(&fake.base).import_shared(&request).await.result.unwrap();
    let sent = fake.requests.lock().unwrap()[0].clone();
    assert!(sent.contains("\"trust_review\":true") && !sent.contains("vendor_data"), "{sent}");
}

#[tokio::test]
async fn any_2xx_with_a_session_id_is_a_success() {
    for status in ["200 OK", "201 Created", "202 Accepted"] {
        let fake = fake(vec![answer(status, &created())]).await;
        assert_eq!(import(&client(&fake.base)).await.result.unwrap().status, Some(Status::InReview), "{status}");
    }
    for step in [answer("200 OK", &json!({"detail": "Carmen"})), Step::Say("HTTP/1.1 204 No Content\r\n\r\n".into())] {
        let failure = failure(step).await;
        assert_eq!((failure.class, failure.effect), (Class::Protocol, Effect::Unknown), "{failure:?}");
    }
}

#[tokio::test]
async fn promise_8_redirects_are_not_followed() {
    let other = fake(vec![answer("201 Created", &created())]).await;
    for status in
        ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        let failure = failure(Step::Say(http(status, &format!("Location: {}\r\n", other.base), ""))).await;
        assert_eq!((failure.class, failure.effect), (Class::Protocol, Effect::Unknown), "{status}");
        assert!(failure.detail.contains("base_url"), "{failure:?}");
    }
    assert!(other.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn promise_8_what_is_no_whole_answer_is_unknown() {
    let body = created().to_string();
    let length = format!("Content-Length: {}\r\n", body.len());
    let head = "HTTP/1.1 201 Created\r\n";
    for (step, class, status) in [
        (Step::Cut(String::new()), Class::Network, None),
        (Step::Cut("HTTP/1.1 201 Cre".into()), Class::Network, None),
        (Step::Cut(format!("{head}{length}\r\n{}", &body[..body.len() - 1])), Class::Network, Some(201)),
        (Step::Cut(format!("{head}\r\n{}", &body[..40])), Class::Protocol, Some(201)),
        (Step::Cut(format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"ses\r\n")), Class::Network, Some(201)),
        (Step::Cut("220 mail.example.com ESMTP\r\n".into()), Class::Protocol, None),
        (Step::Hang, Class::Timeout, None),
        (Step::Drip(format!("{head}Content-Length: 100000\r\n\r\n{{")), Class::Timeout, Some(201)),
        (Step::Say(http("201 Created", "", "<html>Carmen</html>")), Class::Protocol, Some(201)),
        (Step::Say(http("201 Created", "", "[\"Carmen\"]")), Class::Protocol, Some(201)),
        (Step::Say(http("502 Bad Gateway", "", "<html>Carmen</html>")), Class::Server, Some(502)),
        (Step::Cut("HTTP/1.1 500 Oops\r\nContent-Length: 9\r\n\r\n{".into()), Class::Server, Some(500)),
        (Step::Cut("HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\n{".into()), Class::Network, Some(403)),
        (Step::Say(http("201 Created", "", &"Carmen ".repeat(1_300_000))), Class::Protocol, Some(201)),
    ] {
        let failure = failure(step).await;
        assert_eq!(
            (failure.class, failure.effect, failure.http_status),
            (class, Effect::Unknown, status),
            "{failure:?}"
        );
    }
}

#[tokio::test]
async fn what_was_never_sent_is_not_processed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base: Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let failure = import(&client(&base)).await.result.unwrap_err();
    assert_eq!(failure, Failure::not_sent(Class::Network, "connection refused"));

    // A server that does not speak TLS: nothing was said over the connection but a greeting.
    let plain = fake(vec![Step::Cut("HTTP/1.1 400 Bad Request\r\n\r\n".into())]).await;
    let secure = plain.base.as_str().replace("http://", "https://").parse().unwrap();
    let failure = import(&client(&secure)).await.result.unwrap_err();
    assert_eq!((failure.class, failure.effect), (Class::Network, Effect::NotProcessed), "{failure:?}");
}

#[tokio::test]
async fn a_connection_that_hangs_while_it_is_made_carried_nothing() {
    let silent = fake(vec![Step::Hang]).await;
    let secure = silent.base.as_str().replace("http://", "https://").parse().unwrap();
    // Patient enough that a busy machine can tell the time for a connection from the time for an answer.
    let failure = import(&client(&secure)).await.result.unwrap_err();
    assert_eq!(failure, Failure::not_sent(Class::Network, "no connection came to be in time"));
}

#[tokio::test]
async fn a_connection_that_died_idle_is_replaced_and_nothing_is_sent_twice() {
    let fake = fake(vec![Step::Cut(http("201 Created", "", &created().to_string()))]).await;
    let client = client(&fake.base);
    for sent in 1..=5 {
        // Whether the death was noticed in time or not: one request, one outcome, and never a refusal.
        if let Err(failure) = import(&client).await.result {
            assert_eq!(failure.effect, Effect::Unknown);
        }
        assert!(fake.requests.lock().unwrap().len() <= sent);
    }
}

#[tokio::test]
async fn a_429_is_not_processed_and_says_when_to_come_again() {
    let body = r#"{"detail":"Write request rate limit exceeded. You can make up to 300 requests per minute."}"#;
    let headers =
        "Retry-After: 7\r\nX-RateLimit-Limit: 300\r\nX-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 1763870400\r\n";
    let fake1 = fake(vec![Step::Say(http("429 Too Many Requests", headers, body))]).await;
    let answer = import(&client(&fake1.base)).await;
    let failure = answer.result.unwrap_err();
    assert_eq!((failure.class, failure.effect), (Class::Throttled, Effect::NotProcessed));
    assert_eq!(failure.detail, "HTTP 429: Write request rate limit exceeded.");
    assert_eq!((answer.rate.limit, answer.rate.remaining), (Some(300), Some(0)));
    assert_eq!(answer.rate.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(answer.rate.reset, Timestamp::from_second(1_763_870_400).ok());

    let dates = "Date: Mon, 23 Nov 2026 03:00:00 GMT\r\nRetry-After: Mon, 23 Nov 2026 03:00:09 GMT\r\nServer: didit-sync sandbox\r\n";
    let fake2 = fake(vec![Step::Say(http("429 Too Many Requests", dates, ""))]).await;
    let answer = import(&client(&fake2.base)).await;
    assert_eq!(answer.rate.retry_after, Some(Duration::from_secs(9)));
    assert_eq!(answer.server_date, "2026-11-23T03:00:00Z".parse().ok());
    assert!(answer.sandbox);
}

#[tokio::test]
async fn a_refusal_is_judged_by_the_tokens_claims_too() {
    // The token's exp is 1970.
    let refusal = failure(answer("401 Unauthorized", &json!({"detail": "Share token invalid or expired."}))).await;
    assert_eq!((refusal.class, refusal.effect, refusal.recognised), (Class::TokenExpired, Effect::Refused, true));
    let refusal = failure(answer("403 Forbidden", &json!({"detail": "Carmen says no"}))).await;
    assert_eq!((refusal.class, refusal.recognised), (Class::Credentials, false));
    assert_eq!(refusal.detail, "HTTP 403 with an unrecognised body");
}

#[tokio::test]
async fn connections_are_reused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    // One connection is accepted, so a second one would hang.
    let step = answer("201 Created", &created());
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, vec![step], Arc::default()).await;
    });
    let client = client(&base);
    for _ in 0..3 {
        import(&client).await.result.unwrap();
    }
}

#[tokio::test]
async fn promise_8_sessions_are_listed_page_by_page_on_one_host_only() {
    let row = json!({"session_id": SESSION, "session_kind": "user", "status": "IN_REVIEW", "vendor_data": null});
    let relative = "/v3/sessions/?limit=1&offset=1";
    let fake = fake(vec![
        answer("200 OK", &json!({"count": 3, "next": relative, "previous": null, "results": [row]})),
        answer("200 OK", &json!({"count": 3, "next": "http://127.0.0.1:1/v3/sessions/", "results": [row]})),
    ])
    .await;
    let query = ListQuery {
        vendor_data: Some("a&b=ü".into()),
        workflow_id: WORKFLOW.parse().ok(),
        date_from: "2026-11-22".parse().ok(),
        limit: 1,
        ..ListQuery::new(SessionKind::User)
    };
    let client = client(&fake.base);
    let page = client.sessions(&query).await.result.unwrap();
    assert_eq!((page.count, page.rows[0].vendor_data.clone()), (Some(3), Presence::Null));
    let failure = client.sessions_after(&page.next.unwrap()).await.result.unwrap_err();
    assert_eq!(failure.class, Class::Protocol);
    let requests = fake.requests.lock().unwrap().clone();
    let first = format!(
        "GET /v3/sessions/?session_kind=user&vendor_data=a%26b%3D%C3%BC&workflow_id={WORKFLOW}&date_from=2026-11-22&limit=1&offset=0 "
    );
    assert!(requests[0].starts_with(&first), "{}", requests[0]);
    assert!(requests[1].starts_with("GET /v3/sessions/?limit=1&offset=1 "), "{}", requests[1]);
}

#[tokio::test]
async fn a_decision_is_the_one_asked_for_or_none() {
    let id: Uuid = SESSION.parse().unwrap();
    let decision = |step| async move {
        let fake = fake(vec![step]).await;
        let result = client(&fake.base).decision(id).await.result;
        let request = fake.requests.lock().unwrap()[0].clone();
        assert!(request.starts_with(&format!("GET /v3/session/{SESSION}/decision/ ")), "{request}");
        result.map_err(|failure| failure.class)
    };
    assert_eq!(decision(answer("200 OK", &created())).await.unwrap().unwrap().session_id, id);
    assert_eq!(decision(answer("404 Not Found", &json!({"detail": "Not found."}))).await, Ok(None));
    assert_eq!(decision(answer("404 Not Found", &json!({"detail": "Session not found."}))).await, Ok(None));
    assert_eq!(decision(Step::Say(http("404 Not Found", "", "<html></html>"))).await, Err(Class::Protocol));
    let forbidden = json!({"detail": "Authentication credentials were not provided or are invalid."});
    assert_eq!(decision(answer("403 Forbidden", &forbidden)).await, Err(Class::Credentials));
    let other = json!({"session_id": WORKFLOW, "status": "Approved"});
    assert_eq!(decision(answer("200 OK", &other)).await, Err(Class::Protocol));
}

#[tokio::test]
async fn workflows_are_read_to_the_end_but_not_for_ever() {
    let row = json!({"workflow_id": WORKFLOW, "workflow_type": "kyc", "status": "published"});
    let bare = fake(vec![answer("200 OK", &json!([row]))]).await;
    let found = client(&bare.base).workflows().await;
    assert_eq!((found.result.unwrap().len(), found.requests), (1, 1));
    let page = |next: Option<&str>| answer("200 OK", &json!({"count": 2, "next": next, "results": [row]}));
    let two = fake(vec![page(Some("/v3/workflows/?limit=100&offset=100")), page(None)]).await;
    let found = client(&two.base).workflows().await;
    assert_eq!((found.result.unwrap().len(), found.requests), (2, 2));
    let endless = fake(vec![page(Some("/v3/workflows/?offset=1"))]).await;
    let found = client(&endless.base).workflows().await;
    assert_eq!((found.result.unwrap_err().class, found.requests), (Class::Protocol, MAX_WORKFLOW_PAGES));
}

#[tokio::test]
async fn deleting_what_is_gone_is_done() {
    let delete = |step| async move {
        let fake = fake(vec![step]).await;
        let result = client(&fake.base).delete_session(SESSION.parse().unwrap()).await.result;
        let request = fake.requests.lock().unwrap()[0].clone();
        assert!(request.starts_with(&format!("DELETE /v3/session/{SESSION}/delete/ ")), "{request}");
        result.map_err(|failure| failure.class)
    };
    assert_eq!(delete(answer("200 OK", &json!({"session_id": SESSION}))).await, Ok(()));
    assert_eq!(delete(Step::Say("HTTP/1.1 204 No Content\r\n\r\n".into())).await, Ok(()));
    assert_eq!(delete(answer("404 Not Found", &json!({"detail": "Not found."}))).await, Ok(()));
    assert_eq!(delete(Step::Say(http("404 Not Found", "", "<html></html>"))).await, Err(Class::Protocol));
    assert_eq!(delete(answer("503 Service Unavailable", &json!({"detail": "later"}))).await, Err(Class::Server));
}

#[tokio::test]
async fn the_healthcheck_is_at_the_root_and_without_the_key() {
    let fake = fake(vec![answer("200 OK", &json!({"status": "ok", "timestamp": "2026-11-23T03:00:00Z"}))]).await;
    let with_v3 = format!("{}v3/", fake.base).parse().unwrap();
    client(&with_v3).healthcheck().await.result.unwrap();
    let request = fake.requests.lock().unwrap()[0].clone();
    assert!(request.starts_with("GET /system/healthcheck ") && !request.contains("canary"), "{request}");
}

#[tokio::test]
async fn a_token_is_minted() {
    let body = json!({"share_token": token().expose(), "for_application_id": WORKFLOW, "session_kind": "user"});
    let fake = fake(vec![answer("200 OK", &body), answer("200 OK", &json!({"share_token": 3}))]).await;
    let client = client(&fake.base);
    let ttl = Some(Duration::from_mins(15));
    let request =
        ShareRequest { session_id: SESSION.parse().unwrap(), for_application_id: WORKFLOW.parse().unwrap(), ttl };
    assert_eq!(client.share(&request).await.result.unwrap(), token());
    assert_eq!(client.share(&request).await.result.unwrap_err().class, Class::Protocol);
    let sent = fake.requests.lock().unwrap()[0].clone();
    assert!(sent.starts_with(&format!("POST /v3/session/{SESSION}/share/ ")), "{sent}");
    assert!(sent.ends_with(&json!({"for_application_id": WORKFLOW, "ttl_in_seconds": 900}).to_string()), "{sent}");
}

#[test]
fn nothing_printable_carries_the_key() {
    let client = client(&"https://verification.didit.me".parse().unwrap());
    assert!(!format!("{client:?}").contains("canary"));
    assert_eq!(client.environment(), Some(Environment::Sandbox));
}
