//! The upstream: where the model API is, what opens it, and what it costs.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use axum::http::{HeaderName, HeaderValue, Uri, header};
use reqwest::Url;

use super::API_KEY;
use crate::{
    config::{self, Price},
    event,
};

/// How long the upstream may be silent; the client gives up after 300 s.
const SILENCE: Duration = Duration::from_secs(330);
/// How long a connection to the upstream may take.
const CONNECT: Duration = Duration::from_secs(15);

/// The upstream, shared by all sessions.
pub struct Upstream {
    pub(super) http: reqwest::Client,
    pub(super) key: Option<Key>,
    base: Url,
    prices: Vec<(String, Price)>,
}

/// The operator's credential, as the header that carries it.
pub(super) struct Key {
    pub(super) name: HeaderName,
    pub(super) value: HeaderValue,
    /// What `anthropic-beta` has to name for it.
    pub(super) beta: Option<&'static str>,
}

/// Why there is no upstream.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The key's file.
    #[error("model.key_file {path}: {problem}")]
    Key {
        /// Where.
        path: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The address.
    #[error("model.url {url}: give a URL such as https://api.anthropic.com")]
    Url {
        /// As it was given.
        url: String,
    },
    /// The HTTP client.
    #[error("model: the HTTP client cannot be made: {0}")]
    Client(#[from] reqwest::Error),
}

impl Upstream {
    /// An upstream as configured. Nothing is connected to yet.
    pub fn new(model: &config::Model) -> Result<Upstream, UpstreamError> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let mut prices: Vec<(String, Price)> = model.prices.clone().into_iter().collect();
        prices.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Ok(Upstream {
            http,
            base: base_url(&model.url)?,
            key: model.key_file.as_deref().map(read_key).transpose()?,
            prices,
        })
    }

    /// Where a request goes. `None` where the URL would name another path than the one that was judged: `..`
    /// and its spellings are resolved when a URL is read.
    pub(super) fn target(&self, uri: &Uri) -> Option<reqwest::Url> {
        let base = self.base.as_str().trim_end_matches('/');
        let target = Url::parse(&format!("{base}{}", uri.path_and_query()?)).ok()?;
        let path = format!("{}{}", self.base.path().trim_end_matches('/'), uri.path());
        (target.path() == path && target.origin() == self.base.origin()).then_some(target)
    }

    /// The price of a call in US dollars: by the longest prefix of the model's name that the list has. A model
    /// that it does not have costs what the dearest does, so that no name is a way around a budget.
    pub(super) fn cost(&self, call: &event::Model) -> f64 {
        let listed = self.prices.iter().find(|(prefix, _)| call.model.starts_with(prefix.as_str()));
        let dearest = || self.prices.iter().max_by(|(_, a), (_, b)| a.output.total_cmp(&b.output));
        let Some((_, price)) = listed.or_else(dearest) else { return 0.0 };
        #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
        let millions = |tokens: u64| tokens as f64 / 1e6;
        millions(call.input_tokens) * price.input
            + millions(call.output_tokens) * price.output
            + millions(call.cache_read_tokens) * price.cache_read
            + millions(call.cache_creation_tokens.saturating_sub(call.cache_creation_1h_tokens))
                * price.cache_write
            + millions(call.cache_creation_1h_tokens) * price.cache_write_1h.unwrap_or(2.0 * price.input)
    }
}

fn base_url(text: &str) -> Result<Url, UpstreamError> {
    let plain = |url: &Url| matches!(url.scheme(), "http" | "https") && url.query().is_none();
    Url::parse(text).ok().filter(plain).ok_or_else(|| UpstreamError::Url { url: text.to_owned() })
}

pub(super) fn read_key(path: &Path) -> Result<Key, UpstreamError> {
    let wrong = |problem: String| UpstreamError::Key { path: path.display().to_string(), problem };
    let mode = fs::metadata(path).map_err(|e| wrong(e.to_string()))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(wrong(format!(
            "its mode is {:o}; nobody but the daemon may read it: chmod 600 it",
            mode & 0o777
        )));
    }
    let text = fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    let text = text.trim();
    if text.is_empty() {
        return Err(wrong("it is empty".to_owned()));
    }
    // A token of an account goes as a bearer, a key of the API in a header of its own.
    let (name, text, beta) = if text.starts_with("sk-ant-oat") {
        (header::AUTHORIZATION, format!("Bearer {text}"), Some("oauth-2025-04-20"))
    } else {
        (API_KEY, text.to_owned(), None)
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| wrong("it holds no key".to_owned()))?;
    value.set_sensitive(true);
    Ok(Key { name, value, beta })
}
