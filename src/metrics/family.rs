//! A family of samples, and Prometheus' text form of them.

use std::fmt::Write;

/// Samples that share a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The name as Prometheus has it, with unit and `_total`.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// What kind of samples they are.
    pub data: Data,
    /// One for each set of label values.
    pub samples: Vec<Sample>,
}

/// What kind of samples a family has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Data {
    /// Only grows while the daemon runs.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by bucket.
    Histogram {
        /// Their upper bounds.
        bounds: &'static [f64],
    },
}

/// A value under its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Names and values.
    pub labels: Vec<(&'static str, String)>,
    /// The value; of a histogram the sum of what it saw.
    pub value: f64,
    /// Of a histogram the counts of the buckets, the last for what is above all bounds.
    pub buckets: Vec<u64>,
}

impl Sample {
    /// A whole number.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub fn new(labels: &[(&'static str, &str)], value: u64) -> Sample {
        Sample::real(labels, value as f64)
    }

    /// Any number.
    pub fn real(labels: &[(&'static str, &str)], value: f64) -> Sample {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Sample { labels, value, buckets: Vec::new() }
    }

    /// Counts by bucket, and the sum of what was seen.
    pub fn histogram(labels: &[(&'static str, &str)], buckets: &[u64], sum: f64) -> Sample {
        Sample { buckets: buckets.to_vec(), ..Sample::real(labels, sum) }
    }
}

impl Family {
    /// A family of counters.
    pub fn counter(name: &'static str, help: &'static str, samples: Vec<Sample>) -> Family {
        Family { name, help, data: Data::Counter, samples }
    }

    /// A family of gauges.
    pub fn gauge(name: &'static str, help: &'static str, samples: Vec<Sample>) -> Family {
        Family { name, help, data: Data::Gauge, samples }
    }
}

/// The families in Prometheus' text format 0.0.4.
pub fn text(families: &[Family]) -> String {
    let mut out = String::new();
    for family in families {
        let kind = match family.data {
            Data::Counter => "counter",
            Data::Gauge => "gauge",
            Data::Histogram { .. } => "histogram",
        };
        write(&mut out, format_args!("# HELP {0} {1}\n# TYPE {0} {kind}\n", family.name, family.help));
        for sample in &family.samples {
            match family.data {
                Data::Histogram { bounds } => histogram(&mut out, family.name, bounds, sample),
                _ => line(&mut out, family.name, "", &sample.labels, sample.value),
            }
        }
    }
    out
}

fn histogram(out: &mut String, name: &str, bounds: &[f64], sample: &Sample) {
    let mut below = 0;
    let ends = bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
    for (end, count) in ends.zip(&sample.buckets) {
        below += count;
        let mut labels = sample.labels.clone();
        labels.push(("le", end));
        line(out, name, "_bucket", &labels, whole(below));
    }
    line(out, name, "_sum", &sample.labels, sample.value);
    line(out, name, "_count", &sample.labels, whole(below));
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn whole(count: u64) -> f64 {
    count as f64
}

fn line(out: &mut String, name: &str, suffix: &str, labels: &[(&'static str, String)], value: f64) {
    // The configuration's names may hold what the format gives a meaning to.
    let escaped = |v: &str| v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escaped(v))).collect();
    let braces = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    write(out, format_args!("{name}{suffix}{braces} {value}\n"));
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
}
