//! A series that sessions share: what it is called, and how it is written.

use std::sync::Arc;

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum, metric::Data,
        number_data_point::Value,
    },
    resource::v1,
};
use prost::Message;
use serde::{Deserialize, Serialize};

use super::Amount;
use crate::{metrics::otlp::SERVICE, summary::attributes};

/// What of a resource stays: of these there are as many as there are people, teams and profiles.
const RESOURCE: [&str; 6] =
    ["service.name", "service.version", "sandbox.profile", "user.name", "user.email", "team"];
/// What of a point goes, in the spelling that backends fold names to: what is of one session,
const OF_A_SESSION: [&str; 9] = [
    "session_id",
    "user_id",
    "user_account_uuid",
    "user_account_id",
    "organization_id",
    "prompt_id",
    "gen_ai_conversation_id",
    "process_pid",
    "host_id",
];
/// and what the resource says with authority, of which a point's own label would take the place.
const OF_THE_RESOURCE: [&str; 8] = [
    "user_name",
    "user_email",
    "team",
    "service_name",
    "service_version",
    "service_instance_id",
    "job",
    "instance",
];
/// How all names begin that are the daemon's to give.
const OURS: &str = "sandbox";
/// Longest value of an attribute; labels are no place for texts.
const VALUE: usize = 256; // characters
/// Longest name of a metric or an attribute.
const NAME: usize = 256; // bytes
/// Most attributes of a point,
const ATTRIBUTES: usize = 64;
/// and most of their bytes.
const POINT: usize = 4 << 10;
/// Most buckets of a histogram.
const BOUNDS: usize = 256;

/// A series' name: what it is of, which metric, which attributes. They sort so that what belongs together stands
/// together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(in crate::forwarder) struct Key {
    resource: u64,
    metric: u64,
    attributes: u64,
}

impl Key {
    pub(super) fn same_resource(&self, other: &Key) -> bool {
        self.resource == other.resource
    }

    pub(super) fn same_metric(&self, other: &Key) -> bool {
        self.same_resource(other) && self.metric == other.metric
    }
}

impl From<Key> for String {
    fn from(key: Key) -> String {
        format!("{:016x}{:016x}{:016x}", key.resource, key.metric, key.attributes)
    }
}

impl TryFrom<String> for Key {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Key, &'static str> {
        let part = |n: usize| {
            text.get(16 * n..16 * (n + 1))
                .and_then(|hex| u64::from_str_radix(hex, 16).ok())
                .ok_or("no key of a series")
        };
        Ok(Key { resource: part(0)?, metric: part(1)?, attributes: part(2)? })
    }
}

/// A series and how far it has counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::forwarder) struct Series {
    pub(super) of: Descriptor,
    pub(super) amount: Amount,
    /// Since when it counts, in µs since the epoch; 0 while nobody has heard of it.
    pub(super) since: u64,
    /// When it last changed.
    #[serde(default)]
    pub(super) at: u64,
}

/// What is the same of all points of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Descriptor {
    pub resource: Resource,
    /// Name and version.
    pub scope: (String, String),
    pub name: String,
    pub unit: String,
    pub description: String,
    pub shape: Shape,
    /// Sorted by key.
    pub attributes: Vec<KeyValue>,
    /// What tells the processes of a session apart: the resource as it came. No part of the series.
    #[serde(skip)]
    pub origin: u64,
}

/// The resource of a series; the sessions of one person share it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Resource(Arc<Vec<KeyValue>>);

/// A person in a profile. What else a resource has its session chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Person(u64);

impl Resource {
    /// Whose it is.
    pub fn person(&self) -> Person {
        let mut hasher = blake3::Hasher::new();
        let of_whom = self.0.iter().filter(|attribute| !attribute.key.starts_with("service."));
        of_whom.for_each(|attribute| hash(&mut hasher, &attribute.encode_to_vec()));
        Person(short(&hasher))
    }

    pub fn to_proto(&self) -> v1::Resource {
        v1::Resource { attributes: self.0.to_vec(), ..v1::Resource::default() }
    }
}

/// What kind of series it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Shape {
    /// It only grows.
    Counter,
    /// It goes up and down; a session's part is gone with the session.
    Level,
    /// Counts by bucket.
    Histogram {
        /// Their upper bounds.
        bounds: Vec<f64>,
    },
}

/// The resource as sessions share it, of the daemon `instance`.
pub(super) fn resource(resource: v1::Resource, instance: &str) -> Resource {
    let mut kept = resource.attributes;
    kept.retain(|attribute| {
        RESOURCE.contains(&attribute.key.as_str())
            && attribute.value.as_ref().is_some_and(|v| text(v).is_some())
    });
    kept.push(attributes::text("service.instance.id", instance));
    Resource(Arc::new(sorted(kept)))
}

/// Name and version of a scope, cut where they are no names.
pub(super) fn scope(scope: Option<InstrumentationScope>) -> (String, String) {
    let InstrumentationScope { mut name, mut version, .. } = scope.unwrap_or_default();
    for text in [&mut name, &mut version] {
        text.truncate(text.floor_char_boundary(NAME));
    }
    (name, version)
}

/// A point's attributes without those of the session alone.
pub(super) fn shared(mut attributes: Vec<KeyValue>) -> Vec<KeyValue> {
    attributes.retain(|attribute| {
        !OF_A_SESSION.contains(&folded(&attribute.key).as_str()) && !is_of_the_resource(&attribute.key)
    });
    sorted(attributes)
}

/// Whether a name is one that only the resource may say.
pub(super) fn is_of_the_resource(key: &str) -> bool {
    let key = folded(key);
    OF_THE_RESOURCE.contains(&key.as_str())
        || key.strip_prefix(OURS).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

/// A name as backends fold it that know letters, digits and `_` only.
fn folded(key: &str) -> String {
    let words: Vec<&str> =
        key.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.join("_").to_ascii_lowercase()
}

/// Whether a metric calls itself one of the daemon's, or of the rules made of them, in whatever spelling: no session's is.
pub(in crate::forwarder) fn is_ours(name: &str) -> bool {
    let letters: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    letters.to_ascii_lowercase().contains(SERVICE)
}

/// Whether a resource calls itself the daemon.
pub(in crate::forwarder) fn is_daemons(resource: &v1::Resource) -> bool {
    let service = resource.attributes.iter().filter(|attribute| attribute.key == "service.name");
    let mut names = service.filter_map(|attribute| text(attribute.value.as_ref()?));
    names.any(|name| name.eq_ignore_ascii_case(SERVICE))
}

fn text(value: &AnyValue) -> Option<&str> {
    if let Some(any_value::Value::StringValue(text)) = &value.value { Some(text) } else { None }
}

/// Whether a metric's name, unit and description are such as a backend takes.
pub(super) fn is_fit(metric: &Metric) -> bool {
    !is_ours(&metric.name)
        && (1..=NAME).contains(&metric.name.len())
        && metric.unit.len() <= NAME
        && metric.description.len() <= 4 * NAME
}

/// The same of a point's attributes: few plain values under short names.
pub(super) fn are_fit(attributes: &[KeyValue]) -> bool {
    attributes.len() <= ATTRIBUTES
        && attributes.iter().map(Message::encoded_len).sum::<usize>() <= POINT
        && attributes.iter().all(|attribute| {
            let plain = match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
                Some(any_value::Value::DoubleValue(value)) => value.is_finite(),
                Some(any_value::Value::ArrayValue(_) | any_value::Value::KvlistValue(_)) => false,
                _ => true,
            };
            plain && (1..=NAME).contains(&attribute.key.len())
        })
}

/// Whether a histogram's point is one: bounds that ascend, and a bucket more than there are.
pub(super) fn is_whole(point: &HistogramDataPoint) -> bool {
    let bounds = &point.explicit_bounds;
    bounds.len() <= BOUNDS
        && bounds.iter().all(|bound| bound.is_finite())
        && bounds.is_sorted_by(|a, b| a < b)
        && (point.bucket_counts.len() == bounds.len() + 1
            || (point.bucket_counts.is_empty() && bounds.is_empty()))
}

/// A resource as it came, in a number.
pub(super) fn origin(resource: &v1::Resource) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hash(&mut hasher, &resource.encode_to_vec());
    short(&hasher)
}

fn sorted(mut attributes: Vec<KeyValue>) -> Vec<KeyValue> {
    for attribute in &mut attributes {
        if let Some(AnyValue { value: Some(any_value::Value::StringValue(text)) }) = &mut attribute.value
            && let Some((cut, _)) = text.char_indices().nth(VALUE)
        {
            text.truncate(cut);
        }
    }
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
    attributes.dedup_by(|a, b| a.key == b.key);
    attributes
}

impl Descriptor {
    /// Its name among the series that leave.
    pub fn key(&self) -> Key {
        let mut resource = blake3::Hasher::new();
        self.resource.0.iter().for_each(|attribute| hash(&mut resource, &attribute.encode_to_vec()));
        let mut metric = blake3::Hasher::new();
        for text in [&self.scope.0, &self.scope.1, &self.name, &self.unit] {
            hash(&mut metric, text.as_bytes());
        }
        match &self.shape {
            Shape::Counter => hash(&mut metric, b"counter"),
            Shape::Level => hash(&mut metric, b"level"),
            Shape::Histogram { bounds } => {
                bounds.iter().for_each(|bound| hash(&mut metric, &bound.to_le_bytes()));
            }
        }
        let mut attributes = blake3::Hasher::new();
        self.attributes.iter().for_each(|attribute| hash(&mut attributes, &attribute.encode_to_vec()));
        Key { resource: short(&resource), metric: short(&metric), attributes: short(&attributes) }
    }

    /// The name of where a point comes from: everything that its session says of it.
    pub fn source(&self, attributes: &[KeyValue], start: Option<u64>) -> String {
        let mut hasher = blake3::Hasher::new();
        for text in [&self.scope.0, &self.name, &self.unit] {
            hash(&mut hasher, text.as_bytes());
        }
        hash(&mut hasher, &self.origin.to_le_bytes());
        let mut each: Vec<Vec<u8>> = attributes.iter().map(Message::encode_to_vec).collect();
        each.sort_unstable();
        each.iter().for_each(|attribute| hash(&mut hasher, attribute));
        hash(&mut hasher, &start.unwrap_or(u64::MAX).to_le_bytes());
        format!("{:016x}", short(&hasher))
    }

    /// The series in place of all those for which there is no room, of each shape one.
    pub fn overflow(self) -> Option<Descriptor> {
        if matches!(self.shape, Shape::Histogram { .. }) {
            return None;
        }
        let mut resource = self.resource.0.to_vec();
        resource.retain(|attribute| attribute.key == "service.instance.id");
        Some(Descriptor {
            resource: Resource(Arc::new(resource)),
            scope: (String::new(), String::new()),
            name: "sandbox.metrics.overflow".to_owned(),
            unit: String::new(),
            description: "Series for which there was no room.".to_owned(),
            shape: self.shape,
            attributes: vec![attributes::pair("otel.metric.overflow", any_value::Value::BoolValue(true))],
            origin: 0,
        })
    }

    pub fn scope(&self) -> InstrumentationScope {
        let (name, version) = self.scope.clone();
        InstrumentationScope { name, version, ..InstrumentationScope::default() }
    }

    /// The metric without a point.
    pub fn metric(&self) -> Metric {
        let aggregation_temporality = AggregationTemporality::Cumulative as i32;
        let data = match &self.shape {
            Shape::Counter => {
                Data::Sum(Sum { aggregation_temporality, is_monotonic: true, data_points: Vec::new() })
            }
            Shape::Level => Data::Sum(Sum { aggregation_temporality, ..Sum::default() }),
            Shape::Histogram { .. } => {
                Data::Histogram(Histogram { aggregation_temporality, data_points: Vec::new() })
            }
        };
        Metric {
            name: self.name.clone(),
            unit: self.unit.clone(),
            description: self.description.clone(),
            data: Some(data),
            ..Metric::default()
        }
    }
}

impl Series {
    pub(super) fn new(of: Descriptor) -> Series {
        Series { of, amount: Amount::default(), since: 0, at: 0 }
    }

    /// About how many bytes its point takes.
    pub(super) fn weight(&self) -> usize {
        let attributes: usize = self.of.attributes.iter().map(Message::encoded_len).sum();
        attributes + 8 * (self.amount.buckets.len() + 8)
    }

    /// The series at its beginning; a level has none.
    pub(super) fn zero(&self) -> Option<Series> {
        let amount = Amount { value: 0.0, buckets: vec![0; self.amount.buckets.len()] };
        (self.of.shape != Shape::Level).then(|| Series { amount, ..self.clone() })
    }

    /// Appends the series' point as of `now` (µs) to its metric.
    pub(super) fn point(&self, metric: &mut Metric, now: u64) {
        let attributes = self.of.attributes.clone();
        let start_time_unix_nano = self.since.saturating_mul(1000);
        let time_unix_nano = now.saturating_mul(1000);
        match &mut metric.data {
            Some(Data::Sum(sum)) => sum.data_points.push(NumberDataPoint {
                attributes,
                start_time_unix_nano,
                time_unix_nano,
                value: Some(Value::AsDouble(self.amount.value)),
                ..NumberDataPoint::default()
            }),
            Some(Data::Histogram(all)) => {
                let Shape::Histogram { bounds } = &self.of.shape else { return };
                let mut counts = self.amount.buckets.iter().copied();
                all.data_points.push(HistogramDataPoint {
                    attributes,
                    start_time_unix_nano,
                    time_unix_nano,
                    count: counts.next().unwrap_or(0),
                    sum: Some(self.amount.value),
                    bucket_counts: counts.collect(),
                    explicit_bounds: bounds.clone(),
                    ..HistogramDataPoint::default()
                });
            }
            _ => {}
        }
    }
}

/// Each piece with its length, so that no two lists of pieces read alike.
fn hash(hasher: &mut blake3::Hasher, piece: &[u8]) {
    hasher.update(&(piece.len() as u64).to_le_bytes());
    hasher.update(piece);
}

fn short(hasher: &blake3::Hasher) -> u64 {
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_le_bytes(first)
}
