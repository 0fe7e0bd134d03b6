//! The sandbox over real loopback HTTP.

mod bodies;
mod faults;
mod limits;
mod world;

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Change, Config, Dialect, Faults, MintOptions, Privilege, Privileges, Running, Sandbox, Status};
use crate::token::SessionKind;

/// An answer, read whole.
struct Seen {
    status: u16,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Seen {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn is(&self, status: u16, body: &Value) {
        assert_eq!((self.status, &self.json()), (status, body));
    }
}

struct Client<'a> {
    sandbox: &'a Running,
    http: reqwest::Client,
    key: String,
}

fn config() -> Config {
    Config { listen: "127.0.0.1:0".parse().unwrap(), sessions: 8, record_requests: true, ..Config::default() }
}

async fn start(config: Config) -> Running {
    Sandbox::start(config).await.unwrap()
}

fn client(sandbox: &Running) -> Client<'_> {
    let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    Client { sandbox, http, key: sandbox.api_key() }
}

impl Client<'_> {
    fn with_key(&self, key: &str) -> Self {
        Client { sandbox: self.sandbox, http: self.http.clone(), key: key.to_owned() }
    }

    fn request(&self, method: Method, path: &str, body: Option<&Value>) -> reqwest::RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.sandbox.base_url()));
        if !self.key.is_empty() {
            request = request.header("x-api-key", &self.key);
        }
        match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        }
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Seen, reqwest::Error> {
        let response = self.request(method, path, body).send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Seen { status, headers, text: response.text().await? })
    }

    async fn get(&self, path: &str) -> Seen {
        self.send(Method::GET, path, None).await.unwrap()
    }

    async fn post(&self, path: &str, body: &Value) -> Seen {
        self.send(Method::POST, path, Some(body)).await.unwrap()
    }

    /// The body of an import of this source.
    fn order(&self, source: Uuid, options: MintOptions) -> Value {
        let world = self.sandbox.world();
        let kind = world.sources().into_iter().find(|known| known.id == source).map_or(SessionKind::User, |s| s.kind);
        json!({
            "share_token": world.mint(source, options).unwrap(),
            "trust_review": false,
            "workflow_id": self.sandbox.workflow(kind),
            "vendor_data": format!("acme-{source}"),
        })
    }

    async fn import(&self, body: &Value) -> Seen {
        self.post("/v3/session/import-shared/", body).await
    }
}
