//! The people and companies of the sandbox: synthetic, and the same for the same id.

use uuid::Uuid;

use super::seed::Seed;

const FIRST: [&str; 20] = [
    "Carmen", "Lucía", "Mateo", "Hugo", "Elena", "Noah", "Amélie", "Jonas", "Sofia", "Liam", "Chiara", "Oskar", "Inês",
    "Maja", "Tomasz", "Freya", "Anton", "Zoë", "Luca", "Nora",
];
const LAST: [&str; 20] = [
    "Española Española",
    "García Ruiz",
    "Lefèvre",
    "Schneider",
    "Rossi",
    "Nowak",
    "Silva",
    "Jansen",
    "Lindqvist",
    "O'Brien",
    "Kovács",
    "Moreau",
    "Fischer",
    "Costa",
    "Novák",
    "Berg",
    "Dubois",
    "Marino",
    "Peeters",
    "Haas",
];
const COMPANY: [&str; 12] = [
    "Almazara",
    "Nordlicht",
    "Vela",
    "Brookfield Lane",
    "Cobalt",
    "Dune",
    "Ember",
    "Fjord",
    "Glasshouse",
    "Halcyon",
    "Indigo",
    "Juniper",
];
const FORM: [(&str, &str, &str); 5] = [
    ("S.L.", "ESP", "Spain"),
    ("GmbH", "DEU", "Germany"),
    ("SAS", "FRA", "France"),
    ("Ltd", "GBR", "United Kingdom"),
    ("S.r.l.", "ITA", "Italy"),
];
const STATE: [(&str, &str, &str); 6] = [
    ("ESP", "Spain", "Madrid"),
    ("FRA", "France", "Lyon"),
    ("DEU", "Germany", "Leipzig"),
    ("ITA", "Italy", "Bologna"),
    ("PRT", "Portugal", "Porto"),
    ("POL", "Poland", "Gdynia"),
];

/// Draws the properties of one person or company.
#[derive(Clone, Copy, Debug)]
pub(super) struct Persona {
    seed: Seed,
    id: Uuid,
}

impl Persona {
    /// The person or company of this id.
    pub(super) fn new(seed: Seed, id: Uuid) -> Self {
        Self { seed, id }
    }

    fn number(self, what: &str) -> u64 {
        self.seed.number(what, &[self.id.as_bytes()])
    }

    fn pick<T: Copy>(self, what: &str, list: &[T]) -> T {
        list[(self.number(what) % list.len() as u64) as usize]
    }

    /// A number in `low..low + span`.
    pub(super) fn between(self, what: &str, low: u64, span: u64) -> u64 {
        low + self.number(what) % span
    }

    /// A score with two decimals in `low..low + span`.
    pub(super) fn score(self, what: &str, low: f64, span: f64) -> f64 {
        let raw = low + span * self.seed.fraction(what, &[self.id.as_bytes()]);
        (raw * 100.0).round() / 100.0
    }

    /// A UUID that belongs to this one.
    pub(super) fn uuid(self, what: &str) -> Uuid {
        self.seed.uuid(what, &[self.id.as_bytes()])
    }

    pub(super) fn first_name(self) -> &'static str {
        self.pick("first", &FIRST)
    }

    pub(super) fn last_name(self) -> &'static str {
        self.pick("last", &LAST)
    }

    pub(super) fn full_name(self) -> String {
        format!("{} {}", self.first_name(), self.last_name())
    }

    pub(super) fn gender(self) -> &'static str {
        self.pick("gender", &["F", "M"])
    }

    /// Code, name and a city of the country that issued the document.
    pub(super) fn state(self) -> (&'static str, &'static str, &'static str) {
        self.pick("state", &STATE)
    }

    pub(super) fn document_number(self) -> String {
        format!("CAA{:06}", self.number("document") % 1_000_000)
    }

    pub(super) fn personal_number(self) -> String {
        format!("{:08}R", self.number("personal") % 100_000_000)
    }

    pub(super) fn birth_year(self) -> u64 {
        self.between("birth", 1955, 50)
    }

    /// Month and day, the day at most 28.
    pub(super) fn day(self, what: &str) -> (u64, u64) {
        let number = self.number(what);
        (1 + number % 12, 1 + number / 12 % 28)
    }

    /// Name, country code and country of the company.
    pub(super) fn company(self) -> (String, &'static str, &'static str) {
        let (form, code, country) = self.pick("form", &FORM);
        (format!("{} {} {form}", self.pick("company", &COMPANY), self.between("suffix", 1, 97)), code, country)
    }

    pub(super) fn registration_number(self) -> String {
        format!("B{:08}", self.number("registration") % 100_000_000)
    }
}
