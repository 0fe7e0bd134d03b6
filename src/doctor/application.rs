//! An application: its base URL, key, workflows, clock and limits, asked as `apply` asks before its first send.

use jiff::{SignedDuration, Timestamp};
use url::Url;

use super::Check;
use crate::didit::{self, Answer, ApiKey, Class, Client, Failure, ListQuery, RateHeaders, clock_skew};
use crate::exit::Condition;
use crate::manifest::{Limits, WorkflowChoice};
use crate::run::{ENDLESS, WORKFLOW_PAGES, Workflows};
use crate::token::{Fingerprint, SessionKind};

/// From here on the clocks differ by more than the network explains, and from here on by more than the shortest life
/// of a token.
const SKEWED: SignedDuration = SignedDuration::from_secs(5);
const BROKEN: SignedDuration = SignedDuration::from_secs(60);

/// Why something can't be had, and what to do about it.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// What an application is asked for.
#[derive(Debug)]
pub enum Role {
    /// It receives: these workflows, for sessions of these kinds.
    Receiver {
        /// Each choice once.
        workflows: Vec<(WorkflowChoice, Option<SessionKind>)>,
    },
    /// Tokens are minted in it.
    Partner,
}

/// An application as one key sees it.
#[derive(Debug)]
pub struct Application {
    /// Whose it is, for people.
    pub subject: String,
    /// Its base URL.
    pub base_url: Url,
    /// Whether a key may be sent there.
    pub allowed: Result<(), Trouble>,
    /// Where the key is to be had, such as `env:DIDIT_API_KEY`.
    pub reference: String,
    /// The key.
    pub key: Result<ApiKey, Trouble>,
    /// Its fingerprint in the ledger, where there is a ledger.
    pub fingerprint: Option<Fingerprint>,
    /// What the manifest says.
    pub limits: Limits,
    /// What it is asked for.
    pub role: Role,
}

/// What answers said besides their contents.
#[derive(Debug, Default)]
struct Heard {
    /// The server's clock less ours, and the round trip that it was measured in.
    skew: Option<(SignedDuration, SignedDuration)>,
    rate: RateHeaders,
    sandbox: bool,
}

impl Heard {
    async fn listen<T>(&mut self, call: impl Future<Output = Answer<T>>) -> Result<T, Failure> {
        let sent = Timestamp::now();
        let answer = call.await;
        let answered = Timestamp::now();
        let trip = answered.duration_since(sent);
        if let Some(date) = answer.server_date
            && self.skew.is_none_or(|(_, best)| trip < best)
        {
            self.skew = Some((clock_skew(sent, answered, date), trip));
        }
        self.sandbox |= answer.sandbox;
        if answer.rate.limit.is_some() {
            self.rate = answer.rate;
        }
        answer.result
    }
}

impl Application {
    fn ok(&self, name: &'static str, message: &str) -> Check {
        Check::ok(name, Some(&self.subject), message)
    }

    fn warning(&self, name: &'static str, message: &str, help: &str) -> Check {
        Check::warning(name, Some(&self.subject), message, help)
    }

    fn error(&self, name: &'static str, condition: Condition, message: &str, help: &str) -> Check {
        Check::error(name, Some(&self.subject), condition, message, help)
    }

    fn skipped(&self, names: &[&'static str], why: &str) -> impl Iterator<Item = Check> {
        names.iter().map(|name| Check::skipped(name, Some(&self.subject), why)).collect::<Vec<_>>().into_iter()
    }

    /// Asks, and judges the answers. At most one healthcheck, one list of sessions and the workflows are requested.
    pub async fn examine(&self) -> Vec<Check> {
        let mut checks = vec![self.key()];
        if let Err(trouble) = &self.allowed {
            checks.push(self.error("base-url", Condition::Manifest, &trouble.message, &trouble.help));
            checks.extend(self.skipped(self.online(), "no request is sent to this base URL"));
            return checks;
        }
        // The healthcheck is sent no key, so that any will do for it.
        let Some(key) = self.key.as_ref().ok().cloned().or_else(|| ApiKey::parse("none").ok()) else { return checks };
        let client = match Client::new(&self.base_url, key, self.limits.timeout) {
            Ok(client) => client,
            Err(error) => {
                let condition = match error {
                    didit::ClientError::BaseUrl(_) => Condition::Manifest,
                    didit::ClientError::Setup(_) => Condition::Internal,
                };
                checks.push(self.error("base-url", condition, &error.to_string(), "correct application.base_url"));
                checks.extend(self.skipped(self.online(), "no request can be sent"));
                return checks;
            }
        };
        checks.push(self.ok("base-url", &format!("a key may be sent to {}", self.base_url)));
        let mut heard = Heard::default();
        let (connection, is_there) = self.connection(&client, &mut heard).await;
        checks.push(connection);
        if !is_there {
            checks.extend(self.skipped(&self.online()[1..], "the server can't be reached"));
            return checks;
        }
        if self.key.is_ok() {
            self.with_key(&client, &mut heard, &mut checks).await;
        } else {
            let names: &[_] = match self.role {
                Role::Receiver { .. } => &["api", "access", "workflows"],
                Role::Partner => &["api", "access"],
            };
            checks.extend(self.skipped(names, "there is no key"));
        }
        checks.push(self.environment(&client, &heard));
        checks.push(self.clock(&heard));
        if matches!(self.role, Role::Receiver { .. }) {
            checks.push(self.rate(&heard));
        }
        checks
    }

    /// The checks that need answers.
    fn online(&self) -> &'static [&'static str] {
        match self.role {
            Role::Receiver { .. } => &["connection", "api", "access", "workflows", "environment", "clock", "limits"],
            // Nothing is read with a partner's key, so that its limit for reads is no matter.
            Role::Partner => &["connection", "api", "access", "environment", "clock"],
        }
    }

    fn key(&self) -> Check {
        let key = match &self.key {
            Ok(key) => key,
            Err(trouble) => return self.error("key", Condition::Credentials, &trouble.message, &trouble.help),
        };
        let kind = key.environment().map_or_else(|| "of no said kind".to_owned(), |kind| format!("{kind}"));
        let print = self.fingerprint.map_or_else(String::new, |print| format!(", fingerprint {print}"));
        self.ok("key", &format!("{} gives a key ({kind}{print})", self.reference))
    }

    /// Whether there is a server at all; DNS, connection, TLS and HTTP fail in words of their own.
    async fn connection(&self, client: &Client, heard: &mut Heard) -> (Check, bool) {
        let name = "connection";
        match heard.listen(client.healthcheck()).await {
            Ok(()) => (self.ok(name, "the server answers, and its healthcheck is well"), true),
            Err(failure) if failure.http_status.is_none() => {
                (self.error(name, Condition::Unavailable, &failure.detail, failure.class.advice()), false)
            }
            Err(failure) if failure.class == Class::Server => {
                let message = format!("the server answers, and its healthcheck is not well: {}", failure.detail);
                (self.warning(name, &message, failure.class.advice()), true)
            }
            Err(_) => (self.ok(name, "the server answers, and has no healthcheck"), true),
        }
    }

    async fn with_key(&self, client: &Client, heard: &mut Heard, checks: &mut Vec<Check>) {
        let query = ListQuery { limit: 1, ..ListQuery::new(SessionKind::User) };
        let listed = heard.listen(client.sessions(&query)).await;
        let is_api = "it answers as the API does";
        match listed {
            Ok(_) => {
                let privilege = match self.role {
                    Role::Receiver { .. } => "an import",
                    Role::Partner => "the minting of a token",
                };
                checks.push(self.ok("api", is_api));
                checks.push(self.ok(
                    "access",
                    &format!("the key has read:sessions; whether it has write:sessions only {privilege} tells"),
                ));
                if let Role::Receiver { workflows } = &self.role {
                    checks.extend(self.workflows(client, heard, workflows).await);
                }
                return;
            }
            Err(failure) => match failure.class {
                Class::Credentials => {
                    checks.push(self.ok("api", is_api));
                    let message = format!("the API rejects the key: {}", failure.detail);
                    checks.push(self.error("access", Condition::Credentials, &message, failure.class.advice()));
                }
                Class::NoCredit | Class::Throttled => {
                    checks.push(self.ok("api", is_api));
                    checks.push(self.warning("access", &failure.detail, failure.class.advice()));
                }
                class => {
                    let is_ill = matches!(class, Class::Server | Class::Network | Class::Timeout | Class::Protocol);
                    let advice = if is_ill { class.advice() } else { Class::Protocol.advice() };
                    checks.push(self.error("api", Condition::Unavailable, &failure.detail, advice));
                    checks.extend(self.skipped(&["access"], "the API did not answer"));
                }
            },
        }
        if matches!(self.role, Role::Receiver { .. }) {
            checks.extend(self.skipped(&["workflows"], "the key could not be used"));
        }
    }

    async fn workflows(
        &self,
        client: &Client,
        heard: &mut Heard,
        wanted: &[(WorkflowChoice, Option<SessionKind>)],
    ) -> Vec<Check> {
        let name = "workflows";
        let known = match all_workflows(client, heard).await {
            Ok(known) => known,
            Err(failure) if failure.class == Class::Credentials => {
                return vec![self.warning(
                    name,
                    "the key may not read workflows, so they are not checked before sending",
                    "give the key read rights to workflows, to have a wrong one found before the first import",
                )];
            }
            Err(failure) => {
                let message = format!("the workflows can't be read: {}", failure.detail);
                return vec![self.warning(name, &message, failure.class.advice())];
            }
        };
        let mut checks = Vec::new();
        for (choice, kind) in wanted {
            let refusal = match kind {
                None => known.takes(*choice).err(),
                Some(kind) => choice.resolve(Some(*kind)).and_then(|id| known.refuses(id, Some(*kind))),
            };
            let shown = shown(*choice, *kind);
            if let Some(why) = refusal {
                let message = format!("{shown}: {why}");
                checks.push(self.error(name, Condition::Partial, &message, Class::WorkflowUnknown.advice()));
            } else if ids(*choice, *kind).iter().any(|id| known.find(*id).is_some_and(|it| it.published == Some(false)))
            {
                checks.push(self.warning(name, &format!("{shown}: it is a draft"), "publish it before importing"));
            }
        }
        if checks.is_empty() {
            let message = match wanted.len() {
                0 => "the key may read workflows".to_owned(),
                1 => "the workflow is there, published and of the right kind".to_owned(),
                n => format!("all {n} workflows are there, published and of the right kind"),
            };
            checks.push(self.ok(name, &message));
        }
        checks
    }

    fn environment(&self, client: &Client, heard: &Heard) -> Check {
        use crate::didit::Environment::{Live, Sandbox};
        let name = "environment";
        let key = self.key.as_ref().ok().and(client.environment());
        match (key, heard.sandbox) {
            (Some(Live), true) => self.warning(
                name,
                "a live key, and a stand-in for the API answers",
                "keep live keys for Didit: use the key that `didit-sync sandbox` prints",
            ),
            (_, true) => self.ok(name, "a stand-in for the API answers: nothing here is real"),
            (Some(Live), false) => self.ok(name, "a live key: sessions are real"),
            (Some(Sandbox), false) => self.ok(name, "a sandbox key: sessions are simulated"),
            (None, false) => self.ok(name, "neither key nor server says whether sessions are real"),
        }
    }

    fn clock(&self, heard: &Heard) -> Check {
        let name = "clock";
        let Some((skew, _)) = heard.skew else {
            return Check::skipped(name, Some(&self.subject), "no answer had a Date");
        };
        let seconds = skew.abs().as_secs();
        let way = if skew.is_negative() { "ahead of" } else { "behind" };
        let message = format!("the clock here is {} {way} the server's", spelled(seconds));
        let help = "set this machine's clock (NTP): by it is judged which tokens have expired";
        match skew.abs() {
            skew if skew >= BROKEN => self.error(name, Condition::Internal, &message, help),
            skew if skew >= SKEWED => self.warning(name, &message, help),
            _ if seconds == 0 => self.ok(name, "the clock here is the server's"),
            _ => self.ok(name, &message),
        }
    }

    fn rate(&self, heard: &Heard) -> Check {
        let name = "limits";
        let ours = self.limits.reads_per_minute;
        match heard.rate.limit {
            None => Check::skipped(name, Some(&self.subject), "no answer states a limit; it is learnt from a 429"),
            Some(theirs) if theirs < ours => self.warning(
                name,
                &format!("the server allows {theirs} reads a minute, and the manifest asks for {ours}"),
                &format!("write `limits: {{reads_per_minute: {theirs}}}`"),
            ),
            Some(theirs) => self.ok(name, &format!("{ours} reads a minute, of {theirs} that the server allows")),
        }
    }
}

/// Partners whose key is that of a receiving application, by whatever names both are referred to.
#[must_use]
pub fn own_partners(applications: &[Application]) -> Vec<Check> {
    let is_receiver = |other: &&Application| matches!(other.role, Role::Receiver { .. });
    let own = |partner: &&Application| {
        let is_same = |other: &Application| {
            other.base_url == partner.base_url && matches!((&other.key, &partner.key), (Ok(a), Ok(b)) if a == b)
        };
        matches!(partner.role, Role::Partner) && applications.iter().filter(is_receiver).any(is_same)
    };
    let told = "the key is that of the receiving application, which can't share with itself";
    let help = "refer to the key of the source application under `partners`";
    let partners = applications.iter().filter(own);
    partners.map(|partner| partner.error("key", Condition::Partial, told, help)).collect()
}

/// Every workflow of the application.
async fn all_workflows(client: &Client, heard: &mut Heard) -> Result<Workflows, Failure> {
    let mut page = heard.listen(client.workflows()).await?;
    let mut all = std::mem::take(&mut page.rows);
    for _ in 1..WORKFLOW_PAGES {
        let Some(next) = page.next.take() else { break };
        page = heard.listen(client.workflows_after(&next)).await?;
        all.append(&mut page.rows);
    }
    match page.next {
        None => Ok(Workflows::new(all)),
        Some(_) => Err(Failure::protocol(200, ENDLESS)),
    }
}

fn ids(choice: WorkflowChoice, kind: Option<SessionKind>) -> Vec<uuid::Uuid> {
    let kinds = kind.map_or_else(|| vec![SessionKind::User, SessionKind::Business], |kind| vec![kind]);
    let mut ids: Vec<_> = kinds.into_iter().filter_map(|kind| choice.resolve(Some(kind))).collect();
    ids.dedup();
    ids
}

fn shown(choice: WorkflowChoice, kind: Option<SessionKind>) -> String {
    let ids: Vec<String> = ids(choice, kind).iter().map(ToString::to_string).collect();
    kind.map_or_else(|| ids.join(", "), |kind| format!("{} for {} sessions", ids.join(", "), kind.as_str()))
}

fn spelled(seconds: i64) -> String {
    if seconds < 60 { format!("{seconds} s") } else { format!("{:#}", SignedDuration::from_secs(seconds)) }
}
